"""What admins do to devices as rows here: wake, retire, bring back, release, delete.

What the device itself shall do is a command (`commands/queue.py`).
"""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from mdm import checkin, signals
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.models import Device, Enrollment, Identity
from mdm.push import wake as push
from mdm.webhooks.outbox import emit


class StillEnrolled(Exception):
    """A device with a live enrollment is not deleted: it would come back as a stranger."""


class NotEnrolled(Exception):
    """Who is not enrolled now cannot be woken."""


@transaction.atomic
def wake(actor: Actor, enrollment: Enrollment) -> None:
    """Ask Apple to tell the device to connect, also where a push was refused before.

    Raises NotAllowed and NotEnrolled.
    """
    allow(actor, "enrollment.wake", device=enrollment.device)
    if not push.wake([enrollment.pk], refused_too=True):
        raise NotEnrolled("This device is not enrolled now, so it cannot be woken.")
    record(actor, "enrollment.wake", subject_kind="enrollment", subject_id=enrollment.key)


@transaction.atomic
def release(actor: Actor, enrollment: Enrollment) -> None:
    """End management here. Whatever the device says afterwards is refused, and the next identity
    that enrolls it is let in. Raises NotAllowed."""
    allow(actor, "enrollment.release", device=enrollment.device)
    checkin.end(enrollment.pk, Enrollment.State.RELEASED, at=timezone.now(), record=None)
    record(
        actor,
        "enrollment.release",
        subject_kind="enrollment",
        subject_id=enrollment.key,
        before={"state": enrollment.state},
        after={"state": Enrollment.State.RELEASED},
    )
    enrollment.refresh_from_db()


@transaction.atomic
def retire(actor: Actor, device: Device) -> None:
    """Take a device out of service: it leaves the lists, its enrollments are released, its
    history stays. Enrolling it again brings it back. Raises NotAllowed."""
    allow(actor, "device.retire", device=device)
    for enrollment in _live(device):
        release(actor, enrollment)
    device.retired_at = timezone.now()
    device.save(update_fields=["retired_at"])
    signals.devices_heard.send(Device, device_ids=[device.pk])
    record(actor, "device.retire", subject_kind="device", subject_id=device.pk, after=_name(device))
    emit("device.retired", str(device.pk), _name(device))


@transaction.atomic
def unretire(actor: Actor, device: Device) -> None:
    """Put a retired device back on the lists. Raises NotAllowed."""
    allow(actor, "device.retire", device=device)
    device.retired_at = None
    device.save(update_fields=["retired_at"])
    signals.devices_heard.send(Device, device_ids=[device.pk])
    record(
        actor, "device.unretire", subject_kind="device", subject_id=device.pk, after=_name(device)
    )


@transaction.atomic
def delete(actor: Actor, device: Device) -> None:
    """Delete a device with all its history. Raises NotAllowed and StillEnrolled."""
    allow(actor, "device.delete")
    locked = Device.objects.select_for_update().get(pk=device.pk)
    if _live(locked).exists():
        raise StillEnrolled("This device is enrolled. Retire it first, then delete it.")
    record(
        actor, "device.delete", subject_kind="device", subject_id=locked.pk, before=_name(locked)
    )
    emit("device.deleted", str(locked.pk), _name(locked))
    # Its identities outlive it, and would enroll any device as if they had never been used.
    Identity.objects.filter(enrollment__device=locked, revoked_at=None).update(
        revoked_at=timezone.now()
    )
    signals.devices_heard.send(Device, device_ids=[locked.pk])
    locked.delete()


def _live(device: Device):  # type: ignore[no-untyped-def]
    return Enrollment.objects.filter(
        device=device,
        parent__isnull=True,
        state__in=[Enrollment.State.ENROLLED, Enrollment.State.AUTHENTICATED],
    )


def _name(device: Device) -> dict[str, object]:
    return {"serial_number": device.serial_number, "udid": device.udid, "name": device.device_name}
