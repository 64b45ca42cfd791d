"""What the entries of a large command add up to.

Counting 100,000 entries takes a tenth of a second; no page should wait for that, still less a list
of fifty commands. A worker counts them instead, every ten seconds at first and more rarely the
older the command is. Commands with few entries have no tally: they are counted when someone looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from commands.models import Command, Tally

# Commands with more entries have a tally.
LARGE = 1000
_FIRST = timedelta(seconds=10)


def begin(command: Command, state: str, entries: int) -> None:
    """Start counting a command that was just given so many entries in this state, if many."""
    if entries > LARGE:
        Tally.objects.create(
            command=command,
            states={state: entries},
            unfinished=entries,
            due_at=timezone.now() + _FIRST,
        )


def again(command_id: int) -> None:
    """Count now, after an act that moved many entries, so that whoever acted sees what it did."""
    if Tally.objects.filter(pk=command_id).exists():
        _count(command_id)


def soon(commands: QuerySet[Command]) -> None:
    """Have a worker count these at once, after an act that moved entries of many commands."""
    Tally.objects.filter(command__in=commands, unfinished__gt=0).update(due_at=timezone.now())


def count_due() -> int:
    """Count those whose time has come, one after the other; returns how many."""
    due = list(
        Tally.objects.filter(due_at__lte=timezone.now())
        .order_by("due_at")
        .values_list("pk", flat=True)
    )
    for command_id in due:
        _count(command_id)
    return len(due)


def of(commands: Iterable[int]) -> dict[int, Tally]:
    """The tallies of those that have one, by the command's id."""
    return Tally.objects.in_bulk(list(commands))


def _count(command_id: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_COUNT, {"command": command_id})


# A late answer still moves an entry that expired, so that commands without unfinished entries are
# counted too, once in a while.
_COUNT = """
WITH entries AS MATERIALIZED (
    SELECT id, enrollment_id, command_uuid, state, finished_at
    FROM commands_queueentry WHERE command_id = %(command)s
), answered AS (
    SELECT id, finished_at FROM entries
    WHERE state IN ('Acknowledged', 'Error', 'CommandFormatError')
), counted AS (
    SELECT coalesce(jsonb_object_agg(state, count), '{}') AS states,
           coalesce(sum(count) FILTER (
               WHERE state IN ('Held', 'Queued', 'Sent', 'NotNow')), 0) AS unfinished
    FROM (SELECT state, count(*) FROM entries GROUP BY state) each
), errors AS (
    SELECT r.error_chain -> 0 AS first, count(*) AS count
    FROM entries e
    LEFT JOIN commands_reply r USING (enrollment_id, command_uuid)
    WHERE e.state IN ('Error', 'CommandFormatError')
    GROUP BY 1 ORDER BY 2 DESC LIMIT 20
)
INSERT INTO commands_tally
    (command_id, states, unfinished, median_at, slowest, errors, counted_at, due_at)
SELECT
    c.id, n.states, n.unfinished,
    (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY finished_at) FROM answered),
    (SELECT coalesce(jsonb_agg(id), '[]') FROM (
        SELECT id FROM answered ORDER BY finished_at DESC LIMIT 3) last),
    (SELECT coalesce(jsonb_agg(jsonb_build_array(first, count) ORDER BY count DESC), '[]')
     FROM errors),
    clock_timestamp(),
    CASE WHEN n.unfinished > 0 OR clock_timestamp() - c.created_at < interval '100 days' THEN
        clock_timestamp() + LEAST(
            GREATEST((clock_timestamp() - c.created_at) / 100, interval '10 seconds'),
            CASE WHEN n.unfinished > 0 THEN interval '5 minutes' ELSE interval '1 day' END
        )
    END
FROM commands_command c, counted n
WHERE c.id = %(command)s
ON CONFLICT (command_id) DO UPDATE SET
    states = EXCLUDED.states, unfinished = EXCLUDED.unfinished,
    median_at = EXCLUDED.median_at, slowest = EXCLUDED.slowest, errors = EXCLUDED.errors,
    counted_at = EXCLUDED.counted_at, due_at = EXCLUDED.due_at
"""
