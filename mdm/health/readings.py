"""Figures that would cost a page too much: apps say how each is taken, a worker takes it when its
time has come, and pages read what it was last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from django.db.models import Count, F, Max, Q
from django.utils import timezone

from mdm.health.models import Reading
from mdm.models import Enrollment, Identity

log = structlog.get_logger(__name__)

IDENTITIES_ENDING = "identities ending"
PUSHES = "pushes"
# Devices' identities that end within it are worth a line.
SOON = timedelta(days=30)

# The beat comes once a minute, and a reading is of a moment after that: without this, what is to be
# taken once a minute would be taken every other time.
_EARLY = timedelta(seconds=10)

Take = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Kind:
    take: Take
    every: timedelta


_kinds: dict[str, _Kind] = {}


def register(name: str, take: Take, every: timedelta) -> None:
    """Have `take()` called by a worker that often; what it returns is kept as JSON."""
    _kinds[name] = _Kind(take, every)


def last(name: str) -> Reading | None:
    """What it was last, and when."""
    return Reading.objects.filter(name=name).first()


def take_due() -> int:
    """Take those whose time has come; returns how many. One that fails keeps none of the others
    from being taken, and is tried again the next time.
    """
    now = timezone.now()
    known = dict(Reading.objects.values_list("name", "at"))
    due = {
        name: kind
        for name, kind in _kinds.items()
        if name not in known or now - known[name] >= kind.every - _EARLY
    }
    taken = 0
    for name, kind in due.items():
        try:
            found = {"at": timezone.now(), "data": dict(kind.take())}
            Reading.objects.update_or_create(name=name, defaults=found)
        except Exception:
            log.exception("reading_failed", reading=name)
        else:
            taken += 1
    return taken


def register_own() -> None:
    register(IDENTITIES_ENDING, identities_ending, timedelta(hours=1))
    register(PUSHES, pushes, timedelta(minutes=1))


def identities_ending() -> Mapping[str, Any]:
    """How many devices that are enrolled have an identity that ends soon, and when the first does.
    A device keeps speaking with one that has ended; it cannot enroll with it.
    """
    rows = Identity.objects.filter(
        expires_at__lt=timezone.now() + SOON,
        revoked_at=None,
        enrollment__state=Enrollment.State.ENROLLED,
        enrollment__identity_sha256=F("sha256"),
    )
    first = rows.order_by("expires_at").values_list("expires_at", "enrollment__device_id").first()
    if first is None:
        return {"count": 0}
    return {"count": rows.count(), "first": first[0].isoformat(), "device": first[1]}


def pushes() -> Mapping[str, Any]:
    """When a push was accepted last, and of how many enrollments the last one was not."""
    found = Enrollment.objects.filter(state=Enrollment.State.ENROLLED).aggregate(
        last=Max("pushed_at", filter=Q(push_problem="")),
        refused=Count("pk", filter=~Q(push_problem="")),
    )
    return {**found, "last": found["last"].isoformat() if found["last"] else None}
