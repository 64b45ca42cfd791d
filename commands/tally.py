"""What the entries of a command add up to: how many are in which state, how fast the answers came,
and what devices said where it failed. `progress.py` puts it in words.

Counting 100,000 entries takes a tenth of a second; no page should wait for that, still less a list
of fifty commands. A worker counts them instead, every ten seconds at first and more rarely the
older the command is. Commands with few entries have no tally: they are counted when someone looks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from commands.models import Command, Tally
from mdm.accounts.rights import EVERYWHERE, Where

log = structlog.get_logger(__name__)

# Commands with more entries have a tally.
LARGE = 1000
# How soon it is counted again: at a hundredth of its age, within these.
_FIRST = timedelta(seconds=10)
_OPEN = timedelta(minutes=5)
_OVER = timedelta(days=1)
# Nothing moves any more what is over and as old as this.
_FOR_GOOD = timedelta(days=100)


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
    with transaction.atomic():
        _keep(Tally.objects.select_for_update(of=("self",)).filter(pk=command_id))


def soon(commands: QuerySet[Command]) -> None:
    """Have a worker count these at once, after an act that moved entries of many commands."""
    Tally.objects.filter(command__in=commands, unfinished__gt=0).update(due_at=timezone.now())


def count_due() -> int:
    """Count those whose time has come, one after the other; returns how many there were. What
    another is at is left to it, and one that fails keeps none of the others from being counted.
    """
    due = Tally.objects.filter(due_at__lte=timezone.now())
    ids = list(due.order_by("due_at").values_list("pk", flat=True))
    for command_id in ids:
        try:
            with transaction.atomic():
                rows = due.select_for_update(of=("self",), skip_locked=True)
                _keep(rows.filter(pk=command_id))
        except DatabaseError:
            log.exception("count_failed", command=command_id)
    return len(ids)


def of(commands: Iterable[int]) -> dict[int, Tally]:
    """The tallies of those that have one, by the command's id."""
    return Tally.objects.in_bulk(list(commands))


@dataclass(frozen=True, slots=True)
class Counted:
    """What entries add up to: how many are in each state, and how many of these are not finished;
    when half of the answers were there; the ids of the three that were answered last; the first
    errors that devices gave (None for no reason), with how often, the most frequent twenty. As of
    `counted_at`.
    """

    states: dict[str, int]
    unfinished: int
    median_at: datetime | None
    slowest: list[int]
    errors: list[tuple[Any, int]]
    counted_at: datetime


def count(command_id: int, where: Where = EVERYWHERE) -> Counted:
    """Count the entries for devices that `where` covers, all in one pass."""
    with connection.cursor() as cursor:
        cursor.execute(
            _COUNT if where.everywhere else _COUNT_WITHIN,
            {"command": command_id, "groups": list(where.groups)},
        )
        [(states, unfinished, median_at, slowest, errors, counted_at)] = cursor.fetchall()
    return Counted(
        states=json.loads(states),
        unfinished=unfinished,
        median_at=median_at,
        slowest=json.loads(slowest),
        errors=json.loads(errors),
        counted_at=counted_at,
    )


def _keep(locked: QuerySet[Tally]) -> None:
    """Count again, if it is still there (commands/retention.py). It is locked before it is counted:
    otherwise what a worker counted before an act could be written after what the act counted.
    """
    found = locked.select_related("command").first()
    if found is None:
        return
    counted = asdict(count(found.pk))
    age = counted["counted_at"] - found.command.created_at
    # A late answer still moves an entry that expired, so that commands without unfinished entries
    # are counted too, once in a while.
    most = _OPEN if counted["unfinished"] else _OVER
    over = not counted["unfinished"] and age > _FOR_GOOD
    due_at = None if over else counted["counted_at"] + min(max(age / 100, _FIRST), most)
    Tally.objects.filter(pk=found.pk).update(**counted, due_at=due_at)


_COUNTING = """
WITH entries AS MATERIALIZED (
    SELECT q.id, q.enrollment_id, q.command_uuid, q.state, q.finished_at
    FROM commands_queueentry q WHERE q.command_id = %(command)s {scope}
), answered AS (
    SELECT id, finished_at FROM entries
    WHERE state IN ('Acknowledged', 'Error', 'CommandFormatError')
), errors AS (
    SELECT r.error_chain -> 0 AS first, count(*) AS count
    FROM entries e
    LEFT JOIN commands_reply r USING (enrollment_id, command_uuid)
    WHERE e.state IN ('Error', 'CommandFormatError')
    GROUP BY 1 ORDER BY 2 DESC LIMIT 20
)
SELECT
    coalesce(jsonb_object_agg(state, count), '{{}}'),
    coalesce(sum(count) FILTER (WHERE state IN ('Held', 'Queued', 'Sent', 'NotNow')), 0)::int,
    (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY finished_at) FROM answered),
    (SELECT coalesce(jsonb_agg(id), '[]') FROM (
        SELECT id FROM answered ORDER BY finished_at DESC LIMIT 3) last),
    (SELECT coalesce(jsonb_agg(jsonb_build_array(first, count) ORDER BY count DESC), '[]')
     FROM errors),
    clock_timestamp()
FROM (SELECT state, count(*) FROM entries GROUP BY state) each
"""
_COUNT = _COUNTING.format(scope="")
_COUNT_WITHIN = _COUNTING.format(
    scope="""AND EXISTS (
        SELECT 1
        FROM mdm_enrollment e
        JOIN mdm_device d ON d.id = e.device_id
        JOIN mdm_groupmember m ON m.serial_number = d.serial_number
        WHERE e.id = q.enrollment_id AND m.group_id = ANY (%(groups)s))"""
)
