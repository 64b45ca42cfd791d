"""How far commands have come: counts by state, how long answers took, and what devices said where
they failed; as `commands/tally.py` has it where a command is large, and someone sees all of it.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, QuerySet
from django.utils import timezone

from commands import tally
from commands.models import Command, QueueEntry, Reply, Tally
from commands.queue import TO_THE_SERIAL_NUMBER
from commands.tally import Counted
from mdm.accounts.rights import EVERYWHERE, Where
from mdm.scope import within

REFUSED = (QueueEntry.State.ERROR, QueueEntry.State.COMMAND_FORMAT_ERROR)

_NOTHING = timedelta(0)
_LATELY = timedelta(days=1)


def states(commands: Iterable[Command], where: Where = EVERYWHERE) -> dict[int, dict[str, int]]:
    """How many entries of each command are in each state, by the command's id, of those that are
    for devices that `where` covers.
    """
    ids = [command.pk for command in commands]
    tallies = tally.of(ids) if where.everywhere else {}
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    counts |= {command: each.states for command, each in tallies.items()}
    small = [command for command in ids if command not in tallies]
    rows = (
        _entries(where)
        .filter(command__in=small)
        .values_list("command_id", "state")
        .annotate(count=Count("id"))
    )
    for command, state, count in rows if small else ():
        counts[command][state] = count
    return counts


def going_on(where: Where) -> dict[int, int]:
    """How many unfinished entries the commands have that someone asked for within a day, by the
    command's id; found from these commands, as unfinished entries may be many and old.
    """
    lately = Command.objects.filter(created_at__gte=timezone.now() - _LATELY)
    if not where.everywhere:
        return _unfinished(lately, where)
    large = Tally.objects.filter(command__in=lately)
    return dict(large.filter(unfinished__gt=0).values_list("command", "unfinished")) | _unfinished(
        lately.filter(tally=None), where
    )


def _unfinished(commands: QuerySet[Command], where: Where) -> dict[int, int]:
    entries = _entries(where).filter(command__in=commands, finished_at__isnull=True)
    return dict(entries.values_list("command").annotate(count=Count("*")))


def _entries(where: Where) -> QuerySet[QueueEntry]:
    return within(QueueEntry.objects.all(), where, TO_THE_SERIAL_NUMBER)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long answers took, from when the command was there to be had. `slowest` are the three
    entries that were answered last, each with how long it `took`.
    """

    median: timedelta
    slowest: list[QueueEntry]


@dataclass(frozen=True, slots=True)
class Summary:
    """How far a command has come: how many entries are in each state, how fast the answers came
    (None before the first), and why devices refused it, in words, with how often, the most frequent
    first. It is as of `counted_at`, or of now.
    """

    states: dict[str, int]
    pace: Pace | None
    reasons: list[tuple[str, int]]
    counted_at: datetime | None = None


def summary(command: Command, where: Where) -> Summary:
    """How far it has come on the devices that `where` covers."""
    kept = tally.of([command.pk]).get(command.pk) if where.everywhere else None
    found = kept or tally.count(command.pk, where)
    return Summary(
        states=found.states,
        pace=_pace(command, found),
        reasons=_in_order(found.errors),
        counted_at=kept.counted_at if kept else None,
    )


def _pace(command: Command, found: Tally | Counted) -> Pace | None:
    if found.median_at is None:
        return None
    began = max(filter(None, (command.created_at, command.starts_at)))
    rows = QueueEntry.objects.filter(pk__in=found.slowest).order_by("-finished_at")
    slowest = list(rows.select_related("enrollment__device").defer("sealed_payload"))
    for entry in slowest:
        answered_at = entry.finished_at or began
        entry.took = max(answered_at - began, _NOTHING)  # type: ignore[attr-defined]
    return Pace(max(found.median_at - began, _NOTHING), slowest)


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


def _in_order(errors: Iterable[Sequence[Any]]) -> list[tuple[str, int]]:
    """The first errors of devices, with how often each was given, in words."""
    counts: Counter[str] = Counter()
    for first, count in errors:
        counts[_in_words([first]) or "The device gave no reason."] += count
    return counts.most_common()


def _in_words(chain: object) -> str:
    """Apple's English description of the outermost error, or where it comes from."""
    first = chain[0] if isinstance(chain, list) and chain else None
    if not isinstance(first, dict):
        return ""
    words = first.get("us_english_description") or first.get("localized_description")
    return str(words or f"{first.get('domain')} {first.get('code')}")[:200]
