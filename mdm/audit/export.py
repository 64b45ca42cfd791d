"""Taking the audit log out of the server: which rows, and how a row reads elsewhere. Taking it out
is recorded itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import allow, record


def between(since: datetime | None, until: datetime | None) -> QuerySet[AuditEvent]:
    """Events from `since` on and before `until`, the oldest first."""
    events = AuditEvent.objects.order_by("pk")
    if since is not None:
        events = events.filter(at__gte=since)
    if until is not None:
        events = events.filter(at__lt=until)
    return events


def note(actor: Actor, what: str, narrowed: Mapping[str, str]) -> None:
    """Record that `actor` takes out events or refused requests, and which. Raises NotAllowed."""
    allow(actor, "audit.read")
    # Postgres stores no NUL.
    after = {key.replace("\0", ""): text.replace("\0", "") for key, text in narrowed.items()}
    record(actor, "audit.export", subject_kind="audit", subject_id=what, after=after)


def note_hourly(actor: Actor, what: str, narrowed: Mapping[str, str]) -> None:
    """As `note`, for programs, which take out page after page: once an hour for each of them."""
    noted = AuditEvent.objects.filter(
        actor_kind=actor.kind or "",
        actor_id=actor.id,
        at__gt=timezone.now() - timedelta(hours=1),
        action="audit.export",
        subject_id=what,
    )
    if not noted.exists():
        note(actor, what, narrowed)


def plain(event: AuditEvent) -> dict[str, Any]:
    """All of an event, ready for JSON."""
    return {
        "id": event.pk,
        "at": event.at.isoformat(),
        **{name: getattr(event, name) for name in _TEXTS},
        "before": event.before,
        "after": event.after,
        "sealed_as": event.sealed_as,
        "sealed_hash": bytes(event.sealed_hash).hex() if event.sealed_hash else None,
    }


_TEXTS = (
    *("actor_kind", "actor_id", "actor_name", "address", "request_id"),
    *("action", "subject_kind", "subject_id"),
)
