"""How long devices take to answer, and whether their answers are read: what the overview and the
page Health show of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from django.db import connection

from commands.models import Reply
from mdm.health import readings, things
from mdm.health.pulse import Pulse
from mdm.health.things import Thing

ANSWER_TIMES = "answer times"
# A reply is looked at with its entry: that many lookups take a worker a tenth of a second, however
# many replies there are in all.
MOST = 10_000


def register() -> None:
    readings.register(ANSWER_TIMES, answer_times, timedelta(minutes=1))
    things.add(lag, 41)


def answer_times() -> Mapping[str, Any]:
    """In how many seconds, counted from when they were asked for, commands were answered within the
    last 24 hours: half of them, and 95 of 100. Of the last MOST answers, by the key, which follows
    the time of arrival; NotNow is no answer.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TIMES, {"most": MOST})
        count, half, most = cursor.fetchone() or (0, None, None)
    return {"count": count, "half": half, "p95": most}


def lag(now: Pulse | None) -> Iterable[Thing]:
    """Answers of devices that nobody has read yet."""
    oldest = Reply.objects.filter(drained_at=None).order_by("pk").values_list("received_at").first()
    yield things.lag(
        "Answers", oldest[0] if oldest else None, "answer", "the worker of the queue celery"
    )


_TIMES = """
WITH latest AS MATERIALIZED (
    SELECT enrollment_id, command_uuid, received_at FROM commands_reply ORDER BY id DESC
    LIMIT %(most)s
), took AS (
    SELECT extract(epoch FROM r.received_at - (
        SELECT q.created_at FROM commands_queueentry q
        WHERE q.enrollment_id = r.enrollment_id AND q.command_uuid = r.command_uuid
    ))::float AS seconds
    FROM latest r WHERE r.received_at > now() - interval '24 hours'
)
SELECT count(seconds), percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds)
FROM took
"""
