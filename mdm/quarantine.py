"""Devices that turned up with an identity not issued for them: what an admin decides.

Accepting a case lets the next Authenticate of the same enrollment with the same identity in, once;
what it replaces then stops working. How cases come here is `mdm/checkin/`.
"""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.models import Quarantine
from mdm.webhooks.outbox import emit


class AlreadyDecided(Exception):
    """Someone decided this case before; the message says what."""


def accept(actor: Actor, case_id: int) -> Quarantine:
    """Let the next attempt in. Raises NotAllowed and AlreadyDecided."""
    return _decide(actor, case_id, Quarantine.State.ACCEPTED)


def reject(actor: Actor, case_id: int) -> Quarantine:
    """Keep it out. Raises NotAllowed and AlreadyDecided."""
    return _decide(actor, case_id, Quarantine.State.REJECTED)


@transaction.atomic
def _decide(actor: Actor, case_id: int, state: Quarantine.State) -> Quarantine:
    allow(actor, "quarantine.decide")
    case = Quarantine.objects.select_for_update().get(pk=case_id)
    if case.state == state or case.state == Quarantine.State.USED:
        raise AlreadyDecided(f"This case is decided already: {case.get_state_display()}.")
    before = case.state
    case.state, case.decided_at, case.decided_by = state, timezone.now(), actor.name
    case.save(update_fields=["state", "decided_at", "decided_by"])
    record(
        actor,
        "quarantine.decide",
        subject_kind="enrollment",
        subject_id=case.enrollment_key,
        before={"state": before},
        after={"state": state, "identity": bytes(case.identity_sha256).hex()},
    )
    emit(
        "quarantine.decided",
        str(case.pk),
        {
            "enrollment": case.enrollment_key,
            "serial_number": case.serial_number,
            "decision": state.value,
            "by": actor.name,
        },
    )
    return case
