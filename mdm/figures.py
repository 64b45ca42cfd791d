"""The figures of the overview that take a look at every device. Where devices are many, a worker
takes them once a minute, and the page shows what it found last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, F, Func, IntegerField
from django.db.models.functions import Extract
from django.urls import reverse
from django.utils import timezone

from mdm import navigation, scope, standing
from mdm.accounts.rights import EVERYWHERE, Where
from mdm.health import readings
from mdm.models import Device, EnrollmentPeriod
from mdm.navigation import Attention, Number

# Of what is kept: figures of another shape are kept under another name.
NAME = "overview"
# With more devices than these, a page does not count them.
MANY = 10_000
DAYS = 30
EVERY = timedelta(minutes=1)

# Zones differ by hours, some by half hours and quarters: days are made of these.
_QUARTER = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """How many devices stand how, by the word of `mdm/standing.py`; completed enrollments by the
    quarter of an hour since 1970; and what other apps count. As of `at`, or of now.
    """

    standings: dict[str, int]
    completed: list[tuple[int, int]]
    numbers: list[Number] = field(default_factory=list)
    attention: list[Attention] = field(default_factory=list)
    at: datetime | None = None

    def by_day(self) -> dict[date, int]:
        """Completed enrollments of the last thirty days, as the viewer's zone has them."""
        zone = timezone.get_current_timezone()
        counts: Counter[date] = Counter()
        for quarter, count in self.completed:
            counts[datetime.fromtimestamp(quarter * _QUARTER, zone).date()] += count
        first = timezone.localdate() - timedelta(days=DAYS - 1)
        days = [first + timedelta(days=number) for number in range(DAYS)]
        return {day: counts[day] for day in days}


def register() -> None:
    readings.register(NAME, take, EVERY)


def of(seen: Where, *, whole: bool) -> Figures:
    """The figures of the devices that someone sees, with those of other apps for who sees the
    `whole` server.
    """
    reading = readings.last(NAME) if seen.everywhere else None
    if reading is None or reading.data["devices"] <= MANY:
        return _now(seen, whole=whole)
    data = reading.data
    return Figures(
        standings=data["standings"],
        completed=data["completed"],
        numbers=[Number(**each) for each in data["numbers"]],
        attention=[Attention(**each) for each in data["attention"]],
        at=reading.at,
    )


def take() -> Mapping[str, Any]:
    """The figures of all devices, to be kept."""
    found = _now(EVERYWHERE, whole=True)
    return {
        "devices": Device.objects.count(),
        "standings": found.standings,
        "completed": found.completed,
        "numbers": [asdict(each) for each in found.numbers],
        "attention": [asdict(each) for each in found.attention],
    }


def _now(seen: Where, *, whole: bool) -> Figures:
    return Figures(
        standings=_standings(seen),
        completed=_completed(seen),
        numbers=navigation.numbers() if whole else [],
        attention=navigation.counted_attention() if whole else [],
    )


def _standings(seen: Where) -> dict[str, int]:
    now = timezone.now()
    rows = scope.within(Device.objects.all(), seen, "serial_number")
    return rows.aggregate(
        **{
            word: Count("pk", filter=standing.condition(word, now))
            for word in ("managed", "quiet", "suspect", "awaiting")
        }
    )


def _completed(seen: Where) -> list[tuple[int, int]]:
    # A day more, as the viewer's zone may be behind.
    first = datetime.combine(timezone.localdate() - timedelta(days=DAYS), time.min)
    periods = EnrollmentPeriod.objects.filter(
        completed_at__gte=timezone.make_aware(first), enrollment__parent__isnull=True
    )
    quarter = Func(
        Extract(F("completed_at"), "epoch") / _QUARTER,
        function="floor",
        output_field=IntegerField(),
    )
    rows = scope.within(periods, seen, "enrollment__device__serial_number")
    return list(rows.values_list(quarter).annotate(count=Count("id")))


def numbers(figures: Figures, *, whole: bool) -> list[Number]:
    """Four of them: for who sees the whole server with what other apps count, else with the devices
    that are about to come.
    """
    count = figures.standings
    coming = f"; {count['awaiting']:,} more on the way" if whole and count["awaiting"] else ""
    own = [
        Number(label, count[word], icon, words, f"{reverse('devices')}?state={word}")
        for word, label, icon, words in (
            ("managed", "Managed", "circle-check", f"enrolled now{coming}"),
            ("quiet", "Quiet", "zzz", "no contact for 7 days"),
            ("suspect", "Suspect", "alert-triangle", "push problem or quarantine"),
            ("awaiting", "Awaiting", "hourglass", "enrollment not complete"),
        )
    ]
    return [*own[:3], *figures.numbers] if whole else own


def attention(figures: Figures) -> list[Attention]:
    """Everything that needs an admin now, the gravest first."""
    found = [*navigation.attention(), *figures.attention]
    return sorted(found, key=lambda item: item.tone != "danger")
