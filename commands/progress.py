"""How far commands have come: counts by state, how long answers took, and what devices said where
they failed.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.db.models import Aggregate, Count, DateTimeField, QuerySet

from commands.models import Command, QueueEntry, Reply
from commands.queue import ANSWERED
from mdm.accounts.rights import Where

_NOTHING = timedelta(0)


class _Median(Aggregate):
    """The value in the middle."""

    template = "percentile_disc(0.5) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = DateTimeField()


def states(
    commands: Iterable[Command], seen: QuerySet[QueueEntry] | None = None
) -> dict[int, dict[str, int]]:
    """How many entries of each command are in each state, by the command's id; of those entries
    alone that `seen` holds, where someone may not see all.
    """
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    entries = QueueEntry.objects.all() if seen is None else seen
    rows = (
        entries.filter(command__in=[command.pk for command in commands])
        .values_list("command_id", "state")
        .annotate(count=Count("id"))
    )
    for command, state, count in rows:
        counts[command][state] = count
    return counts


@dataclass(frozen=True, slots=True)
class Pace:
    """How long answers took, from when the command was there to be had. `slowest` are the three
    entries that were answered last, each with how long it `took`.
    """

    median: timedelta
    slowest: list[QueueEntry]


def pace(command: Command, seen: QuerySet[QueueEntry]) -> Pace | None:
    """How fast the answers came that `seen` holds; None before the first one."""
    answered = seen.filter(command=command, state__in=ANSWERED)
    middle = answered.aggregate(at=_Median("finished_at"))["at"]
    if middle is None:
        return None
    began = max(filter(None, (command.created_at, command.starts_at)))
    last = answered.select_related("enrollment__device").order_by("-finished_at")
    slowest = list(last.defer("sealed_payload")[:3])
    for entry in slowest:
        answered_at = entry.finished_at or began
        entry.took = max(answered_at - began, _NOTHING)  # type: ignore[attr-defined]
    return Pace(max(middle - began, _NOTHING), slowest)


def errors(entries: Iterable[QueueEntry]) -> dict[tuple[int, uuid.UUID], str]:
    """The first error that devices gave, in words, by enrollment id and CommandUUID."""
    pairs = {(entry.enrollment_id, entry.command_uuid) for entry in entries}
    replies = Reply.objects.filter(
        enrollment__in={enrollment for enrollment, _ in pairs},
        command_uuid__in={command_uuid for _, command_uuid in pairs},
        error_chain__isnull=False,
    )
    return {
        (reply.enrollment_id, reply.command_uuid): _in_words(reply.error_chain)
        for reply in replies.only("enrollment_id", "command_uuid", "error_chain")
        if (reply.enrollment_id, reply.command_uuid) in pairs
    }


def reasons(command: Command, where: Where) -> list[tuple[str, int]]:
    """Why the devices that `where` covers refused a command, in words, with how often; the most
    frequent twenty.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT r.error_chain -> 0, count(*)
            FROM commands_queueentry q
            LEFT JOIN commands_reply r USING (enrollment_id, command_uuid)
            WHERE q.command_id = %s AND q.state IN ('Error', 'CommandFormatError')
                  AND (%s OR EXISTS (
                      SELECT 1
                      FROM mdm_enrollment e
                      JOIN mdm_device d ON d.id = e.device_id
                      JOIN mdm_groupmember m ON m.serial_number = d.serial_number
                      WHERE e.id = q.enrollment_id AND m.group_id = ANY (%s)))
            GROUP BY 1 ORDER BY 2 DESC LIMIT 20
            """,
            [command.pk, where.everywhere, list(where.groups)],
        )
        rows = cursor.fetchall()
    counts: Counter[str] = Counter()
    for first, count in rows:
        link = json.loads(first) if isinstance(first, str) else first
        counts[_in_words([link]) or "The device gave no reason."] += count
    return counts.most_common()


def _in_words(chain: object) -> str:
    """Apple's English description of the outermost error, or where it comes from."""
    first = chain[0] if isinstance(chain, list) and chain else None
    if not isinstance(first, dict):
        return ""
    words = first.get("us_english_description") or first.get("localized_description")
    return str(words or f"{first.get('domain')} {first.get('code')}")[:200]
