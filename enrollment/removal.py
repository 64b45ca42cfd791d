"""Asking a device to leave management: it removes our enrollment profile and then checks out.

Ending it here alone, without the device, is `mdm.devices.release`.
"""

from __future__ import annotations

from commands.models import QueueEntry
from commands.queue import Enqueued, enqueue
from enrollment.wire.profile import PROFILE_IDENTIFIER
from mdm.audit.actor import Actor
from mdm.audit.record import allow
from mdm.models import Enrollment

_COMMAND = "RemoveProfile"


def ask(actor: Actor, enrollment: Enrollment) -> Enqueued:
    """Send the removal. Raises NotAllowed, and QueueError where the device cannot take it."""
    allow(actor, "enrollment.release", device=enrollment.device)
    return enqueue(
        actor,
        request_type=_COMMAND,
        parameters={"Identifier": PROFILE_IDENTIFIER},
        enrollments=[enrollment.pk],
    )


def waiting(enrollment: Enrollment | None) -> QueueEntry | None:
    """The removal that this enrollment has not answered yet."""
    if enrollment is None:
        return None
    return QueueEntry.objects.filter(
        enrollment=enrollment,
        finished_at__isnull=True,
        command__request_type=_COMMAND,
        command__parameters__Identifier=PROFILE_IDENTIFIER,
    ).first()
