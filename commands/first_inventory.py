"""The first questions to a device that has just enrolled, asked for many devices at once."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from commands import consequences
from mdm import signals
from mdm.models import Device, Enrollment
from mdm.push.wake import wake

QUESTIONS = (
    "DeviceInformation",
    "SecurityInfo",
    "ProfileList",
    "InstalledApplicationList",
    "CertificateList",
)


def ask(limit: int = 500) -> int:
    """Queue the questions for up to `limit` enrollments not asked yet; returns for how many."""
    with transaction.atomic():
        due = list(
            Enrollment.objects.select_for_update(skip_locked=True)
            .filter(state=Enrollment.State.ENROLLED, inventory_asked_at__isnull=True)
            .order_by("pk")
            .values_list("pk", flat=True)[:limit]
        )
        if due:
            for question in QUESTIONS:
                consequences.ask(question, due, wakes=False)
            wake(due)
            devices = Device.objects.filter(enrollments__in=due).values_list("pk", flat=True)
            signals.devices_heard.send(Device, device_ids=sorted(set(devices)))
            Enrollment.objects.filter(pk__in=due).update(inventory_asked_at=timezone.now())
    return len(due)
