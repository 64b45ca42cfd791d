"""Moments as people read them, in the zone of whoever looks and never without its name.

The zone is the one that Django has active: a page's viewer's (mdm/pages/zone.py), UTC everywhere
else, so that the API, the command line and tasks say the same sentences in UTC.
"""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone


def clock(at: datetime, *, seconds: bool = False) -> str:
    """`10:02 UTC`."""
    return f"{timezone.localtime(at):{'%H:%M:%S' if seconds else '%H:%M'} %Z}"


def day(at: datetime) -> str:
    """`November 3, 2026`."""
    local = timezone.localtime(at)
    return f"{local:%B} {local.day}, {local:%Y}"


def moment(at: datetime, *, seconds: bool = False) -> str:
    """`November 3, 2026, 10:01 UTC`."""
    return f"{day(at)}, {clock(at, seconds=seconds)}"


def exact(at: datetime) -> str:
    """`2026-11-03 11:01:40 CET (Europe/Berlin)`: to the second, and with the zone's whole name."""
    local = timezone.localtime(at)
    name = timezone.get_current_timezone_name()
    short = f"{local:%Y-%m-%d %H:%M:%S %Z}"
    return short if name == local.tzname() else f"{short} ({name})"
