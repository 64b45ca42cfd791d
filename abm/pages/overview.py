"""What ABM adds to the overview: what needs someone, when tokens end."""

from __future__ import annotations

from collections.abc import Iterable

from django.urls import reverse

from abm import servers, state
from abm.models import Server
from mdm.navigation import Attention, Expiry


def attention() -> Iterable[Attention]:
    """Servers that do not sync as they should, or soon will not."""
    for server in servers.with_counts():
        stands = state.of(server)
        if stands.tone in {"bad", "warning"}:
            count = server.device_count  # type: ignore[attr-defined]
            devices = "1 device" if count == 1 else f"{count:,} devices"
            yield Attention(
                what=f"ABM server {server}: {stands.word.lower()} ({devices}).",
                why=" ".join(filter(None, (stands.why, stands.stops))),
                button="Open the server",
                url=_url(server),
                tone="danger" if stands.tone == "bad" else "warning",
            )


def expiries() -> Iterable[Expiry]:
    """When each server's token ends."""
    for server in servers.connected():
        if server.token_expires_at is not None:
            yield Expiry(
                what=f"Server token of {server}",
                at=server.token_expires_at,
                stops="New devices do not appear and do not enroll by themselves. Enrolled devices"
                " are not affected.",
                button="Renew",
                url=_url(server),
            )


def _url(server: Server) -> str:
    return reverse("abm:server", args=[server.pk])
