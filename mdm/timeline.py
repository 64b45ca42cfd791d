"""What happened to a device, newest first, and the way back through it. Each app adds its events
with `navigation.add_events`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from mdm import navigation
from mdm.models import Device
from mdm.navigation import Event

_MOST_AT_ONCE = 10_000
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a walk goes on: behind the first `shown` of the events of that very moment."""

    at: datetime
    shown: int = 0

    def __str__(self) -> str:
        return f"{self.at.isoformat()}~{self.shown}"

    @classmethod
    def read(cls, text: str) -> Place:
        """The place that `str` wrote. Raises ValueError for what is none."""
        moment, _, shown = text.partition("~")
        at = parse_datetime(moment)
        if at is None or at.tzinfo is None or not 1 < at.year < 9999:
            raise ValueError("no moment")
        if not (shown.isascii() and shown.isdigit() and len(shown) < 6):
            raise ValueError("no number")
        return cls(at, min(int(shown), _MOST_AT_ONCE))


def read(device: Device, place: Place | None, limit: int) -> tuple[list[Event], Place | None]:
    """At most so many events from a place on, or the newest, and where the next ones are: None
    where there are none.
    """
    shown = place.shown if place else 0
    # A device's clock may be ahead of ours.
    before = place.at + _INSTANT if place else timezone.now() + timedelta(days=1)
    found = navigation.events(device, before, shown + limit + 1)[shown:]
    events = found[:limit]
    if len(found) <= limit:
        return events, None
    last = events[-1].at
    there = sum(event.at == last for event in events)
    if place and place.at == last:
        there += shown
    return events, Place(last, there)
