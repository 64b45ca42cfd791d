"""Devices that wait in Setup Assistant for their configuration: held until all that was asked of
them is answered, then let go by DeviceConfigured. A time limit lets them go in any case: someone
sits before a device that does nothing.
"""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from commands.models import QueueEntry
from commands.queue import Enqueued, NobodyCanRunIt, enqueue
from enrollment.models import Arrival, Holding
from mdm.audit.actor import Actor
from mdm.audit.record import allow
from mdm.models import Enrollment
from profiles.models import Version

USUAL = timedelta(minutes=30)
DONE = "all that was asked was answered"
LIMIT = "the time limit"
_RELEASE = "DeviceConfigured"
_STEP = 500

_log = structlog.get_logger(__name__)


def follow(limit: int = _STEP) -> int:
    """Begin to hold devices that have just enrolled and await their configuration, and let those
    go whose time has come; how many were let go.
    """
    _begin(limit)
    return _let_go(limit)


def release(actor: Actor, enrollment: Enrollment) -> Enqueued:
    """Let a device go now. Raises NotAllowed, and QueueError where it cannot take the command."""
    allow(actor, "enrollment.configured", device=enrollment.device)
    with transaction.atomic():
        sent = enqueue(actor, request_type=_RELEASE, parameters={}, enrollments=[enrollment.pk])
        Holding.objects.filter(pk=enrollment.pk, released_at=None).update(
            released_at=timezone.now(), released_by=actor.name
        )
    return sent


def _awaiting() -> Q:
    return Q(state=Enrollment.State.ENROLLED, awaiting_configuration=True)


def _begin(limit: int) -> None:
    with transaction.atomic():
        held = Holding.objects.filter(enrollment=OuterRef("pk"), period_id=OuterRef("period_id"))
        found = (
            Enrollment.objects.select_for_update(of=("self",), skip_locked=True)
            .filter(_awaiting(), channel=Enrollment.Channel.DEVICE)
            .exclude(Exists(held))
            .select_related("device")
            .order_by("pk")[:limit]
        )
        now = timezone.now()
        for each in found:
            began = {
                "period_id": each.period_id,
                "began_at": now,
                "limit_at": now + _limit(each.device.serial_number or ""),
                "released_at": None,
                "released_by": "",
            }
            Holding.objects.update_or_create(enrollment=each, defaults=began)


def _limit(serial_number: str) -> timedelta:
    """As long as the profile says that it came with."""
    version = (
        Version.objects.filter(
            pk__in=Arrival.objects.filter(serial_number=serial_number)
            .order_by("-pk")
            .values("version")[:1]
        )
        .only("await_minutes")
        .first()
    )
    return timedelta(minutes=version.await_minutes) if version else USUAL


def _let_go(limit: int) -> int:
    now = timezone.now()
    open_ones = Holding.objects.filter(
        released_at=None,
        enrollment__state=Enrollment.State.ENROLLED,
        enrollment__awaiting_configuration=True,
        period_id=F("enrollment__period_id"),
    )
    unanswered = QueueEntry.objects.filter(
        enrollment=OuterRef("pk"), finished_at__isnull=True
    ).exclude(command__request_type=_RELEASE)
    asked = Q(enrollment__inventory_asked_at__isnull=False) & ~Exists(unanswered)
    gone = 0
    for why, rows in (
        (LIMIT, open_ones.filter(limit_at__lte=now)),
        (DONE, open_ones.filter(asked, limit_at__gt=now)),
    ):
        with transaction.atomic():
            ids = list(
                rows.select_for_update(of=("self",), skip_locked=True)
                .order_by("pk")
                .values_list("pk", flat=True)[:limit]
            )
            if ids:
                _enqueue(ids)
                Holding.objects.filter(pk__in=ids).update(released_at=now, released_by=why)
        gone += len(ids)
    return gone


def _enqueue(ids: list[int]) -> None:
    try:
        enqueue(
            Actor.system("await configuration"),
            request_type=_RELEASE,
            parameters={},
            enrollments=ids,
        )
    except NobodyCanRunIt as error:
        _log.warning("device_not_released", reason=str(error), enrollments=ids[:20])
