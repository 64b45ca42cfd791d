"""What commands add to the overview: how many are in flight, how long answers take, and the jobs
asked for last.
"""

from __future__ import annotations

from django.db.models import Count

from commands.models import Command, QueueEntry
from commands.pages.jobs import add_counts
from commands.pages.states import UNFINISHED
from commands.times import ANSWER_TIMES
from mdm.health import readings

_RECENT = 5


def in_flight(nothing: None) -> dict[str, object]:
    waiting = (
        QueueEntry.objects.filter(finished_at__isnull=True)
        .values_list("state")
        .annotate(count=Count("id"))
    )
    found = dict(waiting)
    recent = list(Command.objects.order_by("-id")[:_RECENT])
    add_counts(recent)
    reading = readings.last(ANSWER_TIMES)
    return {
        "waiting": [(state, found.get(state, 0)) for state in UNFINISHED],
        "in_flight": sum(found.values()),
        "recent": recent,
        "times": reading.data if reading else {},
        "times_at": reading.at if reading else None,
    }
