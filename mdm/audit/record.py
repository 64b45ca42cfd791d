"""Rights and their record: may this actor do this, and the row that says that it did.

Every domain function that someone can trigger calls `allow` before it changes anything and
`record` in the same transaction as the change.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.utils import timezone

from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent


class NotAllowed(Exception):
    """This actor may not do this; the message says what would be needed."""


def allow(actor: Actor, action: str) -> None:
    """Raise NotAllowed unless `actor` may do `action` (such as "command.send").

    There is one role so far: whoever is active may do everything.
    """
    if not actor.active:
        raise NotAllowed(f"{actor.name} is switched off and may not do this ({action}).")


def record(
    actor: Actor,
    action: str,
    *,
    subject_kind: str,
    subject_id: object,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> AuditEvent:
    """Write the audit row. Secrets must be masked by the caller, who knows which they are."""
    return AuditEvent.objects.create(
        at=timezone.now(),
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_name=actor.name,
        address=actor.address,
        request_id=actor.request_id,
        action=action,
        subject_kind=subject_kind,
        subject_id=str(subject_id)[:300],
        before=before,
        after=after,
    )
