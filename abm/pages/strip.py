"""The last 24 hours of syncs as a strip of half hours for each server, on the overview."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.urls import reverse
from django.utils import timezone

SLOT = timedelta(minutes=30)
SLOTS = 48
# Of each server the newest so many runs are looked at, by the index that leads to them: one every
# 5 minutes makes 288.
_MOST = 600


@dataclass(frozen=True, slots=True)
class Slot:
    """Half an hour: how many runs finished and did not, and those in words."""

    at: datetime
    finished: int
    failed: int

    @property
    def tone(self) -> str:
        return "bad" if self.failed else "good" if self.finished else "none"

    @property
    def words(self) -> str:
        until = self.at + SLOT
        if not (self.finished or self.failed):
            said = "no sync"
        else:
            said = f"{self.finished} fine" + (f", {self.failed} failed" if self.failed else "")
        return f"{self.at:%H:%M} to {until:%H:%M} UTC: {said}"


@dataclass(frozen=True, slots=True)
class Strip:
    """One server's day, the oldest half hour first."""

    pk: int
    name: str
    slots: list[Slot]

    @property
    def finished(self) -> int:
        return sum(slot.finished for slot in self.slots)

    @property
    def failed(self) -> int:
        return sum(slot.failed for slot in self.slots)

    @property
    def bars(self) -> list[tuple[int, Slot]]:
        return list(enumerate(self.slots))

    @property
    def url(self) -> str:
        """Its runs: those that failed or brought something, as that page has it by itself."""
        return f"{reverse('abm:runs')}?server={self.pk}"


def context(nothing: None) -> dict[str, object]:
    """A strip for each server that is connected; one statement."""
    last = _slot(timezone.now())
    first = last - SLOT * (SLOTS - 1)
    with connection.cursor() as cursor:
        cursor.execute(_RUNS, {"first": first, "most": _MOST})
        rows = cursor.fetchall()
    names: dict[int, str] = {}
    counts: dict[tuple[int, datetime], tuple[int, int]] = {}
    for pk, name, at, finished, failed in rows:
        names[pk] = name
        if at is not None:
            counts[pk, at] = finished, failed
    moments = [first + SLOT * number for number in range(SLOTS)]
    strips = [
        Strip(pk, name, [Slot(at, *counts.get((pk, at), (0, 0))) for at in moments])
        for pk, name in names.items()
    ]
    table = list(zip(*(strip.slots for strip in strips), strict=True))
    return {"strips": strips, "slots": SLOTS, "table": table}


def _slot(moment: datetime) -> datetime:
    return moment.replace(minute=moment.minute // 30 * 30, second=0, microsecond=0)


# A run that is under way counts as neither.
_RUNS = """
SELECT s.id, COALESCE(NULLIF(s.name, ''), NULLIF(s.server_name, ''), 'ABM server ' || s.id),
       date_bin('30 minutes', r.asked_at, '2000-01-01 00:00Z'),
       count(*) FILTER (WHERE r.state = 'Finished'),
       count(*) FILTER (WHERE r.state IN ('Failed', 'Interrupted'))
FROM abm_server s
LEFT JOIN LATERAL (
    SELECT asked_at, state FROM (
        SELECT asked_at, state FROM abm_syncrun WHERE server_id = s.id ORDER BY id DESC
        LIMIT %(most)s
    ) newest WHERE asked_at >= %(first)s
) r ON true
WHERE s.disconnected_at IS NULL AND s.sealed_token IS NOT NULL
GROUP BY 1, 2, 3 ORDER BY 1
"""
