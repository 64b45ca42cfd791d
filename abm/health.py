"""What ABM adds to health: whether Apple's device enrollment service answers for each server,
whether syncs come in time, and the probe that asks Apple.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.utils import timezone

from abm import conversation, servers, state
from abm.client import AbmError, Patience
from abm.conversation import Busy
from abm.models import Server
from mdm import secrets
from mdm.health import probes, things
from mdm.health.probes import Found, Probe
from mdm.health.pulse import Pulse
from mdm.health.things import Thing

QUEUE = "abm"
# A sync every 5 minutes: after two that did not come something is wrong.
_LATE = timedelta(minutes=10)


def register() -> None:
    things.add(apple, 75)
    things.add(lag, 42)
    probes.register(
        Probe(
            name="abm_server",
            label="Apple Business Manager",
            why="Connected to it, this server knows your devices before they are unpacked.",
            look=look,
            order=40,
            queue=QUEUE,
            button="Connect",
            url_name="abm:servers",
            right="abm.connect",
        )
    )


def look(asked_by: int | None) -> Found:
    """Ask Apple about the account of each server that is connected."""
    found = list(servers.connected().filter(sealed_token__isnull=False))
    if not found:
        return Found(False, "No server of Apple Business Manager is connected yet.")
    said = [_ask(server) for server in found]
    bad = [words for good, words in said if not good]
    return Found(not bad, " ".join(bad or [words for _, words in said]))


def apple(now: Pulse | None) -> Iterable[Thing]:
    """How it stands with each server, as its last conversation with Apple left it."""
    for server in servers.connected():
        stands = state.of(server)
        synced = server.synced_at
        last = f" Synced last at {synced:%B %d, %H:%M} UTC." if synced else " Not synced yet."
        yield Thing(
            group=things.APPLE,
            name=f"Device enrollment service, {server}",
            tone=stands.tone,
            word=stands.word,
            evidence=f"{stands.why}{last}",
            since=stands.since,
            fix=stands.fix,
            url="abm:servers",
        )


def lag(now: Pulse | None) -> Iterable[Thing]:
    """Syncs that should have been."""
    moment = timezone.now()
    due = servers.connected().filter(pk__in=servers.due(moment), synced_at__lt=moment - _LATE)
    oldest = due.order_by("synced_at").values_list("synced_at", flat=True).first()
    at = oldest + timedelta(minutes=5) if oldest else None
    yield things.lag(
        "Syncs with ABM", at, "sync", "the worker of the queue abm and Apple's service"
    )


def _ask(server: Server) -> tuple[bool, str]:
    stands = state.of(server)
    if not stands.syncs:
        return False, f"{server}: {stands.why} {stands.fix}"
    try:
        with (
            conversation.alone(server.pk),
            conversation.with_apple(server, Patience(attempts=1)) as client,
        ):
            account = client.account()
    except Busy:
        # Whoever talks with Apple now says afterwards how it went.
        return not server.problem, f"{server}: a sync is under way. {stands.why}"
    except (AbmError, secrets.Unsealable) as error:
        return False, f"{server}: {error}"
    organization = account.org_name or "your organization"
    return True, f"Apple answers for {server}, as {account.server_name} of {organization}."
