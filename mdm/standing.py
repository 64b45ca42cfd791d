"""How a device stands with this server, in one word and one sentence; the same in list and detail.

The words for a command's state live in `commands/models.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.db.models import Q, QuerySet

from mdm.models import Device, Enrollment, Quarantine

QUIET_AFTER = timedelta(days=7)

Tone = Literal["good", "busy", "warning", "bad", "off"]
_State = Enrollment.State


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`word` for the badge, `why` for the line below it, `since` where a moment is known."""

    word: str
    tone: Tone
    icon: str
    why: str
    since: datetime | None = None


def of(device: Device, now: datetime) -> Standing:
    """The standing of a device whose `enrollment` was selected with it."""
    enrollment = device.enrollment
    if device.retired_at is not None:
        return Standing(
            word="Retired",
            tone="off",
            icon="archive",
            why="An admin retired it; it is kept for the record.",
            since=device.retired_at,
        )
    if enrollment is None:
        return Standing(
            word="Not enrolled",
            tone="off",
            icon="circle-off",
            why="It has never completed an enrollment with this server.",
        )
    if enrollment.state == _State.ENROLLED:
        return _enrolled(enrollment, now)
    return _OTHERWISE[_State(enrollment.state)](enrollment)


def _enrolled(enrollment: Enrollment, now: datetime) -> Standing:
    if enrollment.push_problem:
        return Standing(
            word="Push problem",
            tone="bad",
            icon="alert-triangle",
            why=f"Apple answered the last wake-up with {enrollment.push_problem}; commands wait"
            " until the device connects by itself or sends a new token.",
            since=enrollment.push_problem_at,
        )
    seen = enrollment.last_seen_at
    if seen is None or now - seen > QUIET_AFTER:
        return Standing(
            word="Quiet",
            tone="warning",
            icon="zzz",
            why="It has not been in contact for more than 7 days: switched off, offline, or no"
            " longer managed.",
            since=seen,
        )
    return Standing(
        word="Enrolled",
        tone="good",
        icon="circle-check",
        why="It is managed and answers.",
        since=enrollment.enrolled_at,
    )


def _awaiting(enrollment: Enrollment) -> Standing:
    return Standing(
        word="Awaiting TokenUpdate",
        tone="busy",
        icon="hourglass",
        why="The device has authenticated and has yet to send its push token; until then nothing"
        " can be sent to it.",
        since=enrollment.authenticated_at,
    )


def _checked_out(enrollment: Enrollment) -> Standing:
    return Standing(
        word="Checked out",
        tone="off",
        icon="logout",
        why="The enrollment profile was removed from the device.",
        since=enrollment.checked_out_at,
    )


def _erased(enrollment: Enrollment) -> Standing:
    return Standing(
        word="Erased",
        tone="off",
        icon="eraser",
        why="The device acknowledged an erase; it may enroll again.",
        since=enrollment.erased_at,
    )


def _released(enrollment: Enrollment) -> Standing:
    return Standing(
        word="Released",
        tone="off",
        icon="plug-connected-x",
        why="An admin released it; it may enroll again with any link.",
        since=enrollment.released_at,
    )


_OTHERWISE: dict[_State, Callable[[Enrollment], Standing]] = {
    _State.AUTHENTICATED: _awaiting,
    _State.CHECKED_OUT: _checked_out,
    _State.ERASED: _erased,
    _State.RELEASED: _released,
}


# --- The same words as filters -------------------------------------------------------------------

CHOICES = (
    ("managed", "Managed"),
    ("quiet", "Quiet"),
    ("suspect", "Suspect"),
    ("awaiting", "Awaiting"),
    ("ended", "Management ended"),
    ("none", "Not enrolled"),
    ("retired", "Retired"),
)

_MANAGED = Q(retired_at=None, enrollment__state=_State.ENROLLED)


def condition(choice: str, now: datetime) -> Q:
    """The devices of one of CHOICES. Raises KeyError for another word."""
    return {
        "managed": _MANAGED,
        "quiet": _MANAGED
        & (Q(enrollment__last_seen_at=None) | Q(enrollment__last_seen_at__lt=now - QUIET_AFTER)),
        "suspect": (_MANAGED & ~Q(enrollment__push_problem="")) | Q(enrollment__key__in=_waiting()),
        "awaiting": Q(retired_at=None, enrollment__state=_State.AUTHENTICATED),
        "ended": Q(
            retired_at=None,
            enrollment__state__in=[_State.CHECKED_OUT, _State.ERASED, _State.RELEASED],
        ),
        "none": Q(retired_at=None, enrollment=None),
        "retired": Q(retired_at__isnull=False),
    }[choice]


def _waiting() -> QuerySet[Quarantine, str]:
    return Quarantine.objects.filter(state=Quarantine.State.WAITING).values_list(
        "enrollment_key", flat=True
    )
