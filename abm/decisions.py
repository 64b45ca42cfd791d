"""What Apple's word about a device means for what we hold of it. Pure: no database, no clock.

Three sources, in the order in which they are believed: an answer about this very device, the full
list, the feed of changes. The feed is a hint: it repeats itself, comes late and leaves things out,
so an operation counts only when it is newer than all that is known of its serial number. One that
is not newer and says something else than we hold is in doubt, and Apple is asked (`Doubt`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

from abm.models import LedgerEntry
from abm.wire.records import FACTS, DeviceRecord, OpType

Decision = LedgerEntry.Decision
Source = LedgerEntry.Source

_FACTS_OF = attrgetter(*FACTS)
_OP_TYPES = frozenset(OpType)
_NO_DATE = datetime.min.replace(tzinfo=UTC)
# Apple's statuses in answers about single devices.
_OURS = "SUCCESS"
_NOT_OURS = frozenset({"NOT_ACCESSIBLE", "NOT_FOUND"})


@dataclass(slots=True, kw_only=True)
class Held:
    """What we hold of a serial number on one server. `facts` are the record's FACTS."""

    serial_number: str
    listed: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    op_date: datetime | None = None
    as_of: datetime | None = None
    doubtful: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the ledger to be."""

    serial_number: str
    source: LedgerEntry.Source
    decision: LedgerEntry.Decision
    op_type: str = ""
    op_date: datetime | None = None
    changes: dict[str, Any] | None = None


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What is to be written: `held` by serial number as it will be, `entries` for the ledger.
    About what is in `doubts`, with the operation that raised it, Apple must be asked first.
    """

    held: dict[str, Held] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    doubts: dict[str, DeviceRecord] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """How many serial numbers came, changed, went, and how many operations were left aside."""
        by = {"added": 0, "changed": 0, "removed": 0, "ignored": 0}
        for entry in self.entries:
            column = _COLUMNS.get(entry.decision)
            if column:
                by[column] += 1
        return by

    def of(self, *decisions: LedgerEntry.Decision) -> list[str]:
        """The serial numbers about which one of these was decided."""
        return [entry.serial_number for entry in self.entries if entry.decision in decisions]


_COLUMNS = {
    Decision.ADDED: "added",
    Decision.RETURNED: "added",
    Decision.CHANGED: "changed",
    Decision.REMOVED: "removed",
    Decision.STALE: "ignored",
    Decision.REPEATED: "ignored",
    Decision.SUPERSEDED: "ignored",
}


def from_list(
    records: Iterable[DeviceRecord], held: Mapping[str, Held], as_of: datetime | None
) -> Outcome:
    """A page of the full list, which was begun at `as_of`: each of its devices is ours."""
    outcome = Outcome()
    for record in records:
        if record.serial_number in outcome.held:
            outcome.entries.append(_entry(record, Source.LIST, Decision.REPEATED))
        known = outcome.held.get(record.serial_number) or held.get(record.serial_number)
        _present(outcome, record, known, Source.LIST, as_of)
    return outcome


def from_feed(
    records: Sequence[DeviceRecord], held: Mapping[str, Held], list_as_of: datetime | None
) -> Outcome:
    """A page of the feed: per serial number the newest operation counts, if it is news. The last
    full list was begun at `list_as_of`; what it did not contain was not ours then.
    """
    outcome = Outcome()
    for serial, operations in _by_serial(records).items():
        *earlier, newest = operations
        _set_aside(outcome, earlier, newest)
        tied = any(each.op_date == newest.op_date and not _same(each, newest) for each in earlier)
        known = held.get(serial) or Held(serial_number=serial)
        _operation(outcome, newest, known, tied, list_as_of)
    return outcome


def from_details(
    asked: Mapping[str, DeviceRecord | None],
    answers: Mapping[str, DeviceRecord],
    held: Mapping[str, Held],
    as_of: datetime | None,
) -> Outcome:
    """Apple's answers, given at `as_of`, about devices that were in doubt. `asked` has the
    operation that raised the doubt, where it was one.
    """
    outcome = Outcome()
    for serial, operation in asked.items():
        answer = answers.get(serial)
        known = held.get(serial) or Held(serial_number=serial)
        status = answer.response_status if answer else ""
        if answer is not None and status == _OURS:
            _present(outcome, answer, known, Source.DETAILS, as_of, kept=True)
        elif status in _NOT_OURS:
            _absent(outcome, known, Source.DETAILS, as_of)
        else:
            _undecided(outcome, known, operation)
        outcome.held[serial].op_date = _latest(
            known.op_date, operation.op_date if operation else None
        )
    return outcome


# --- Presence and absence ------------------------------------------------------------------------


def _present(
    outcome: Outcome,
    record: DeviceRecord,
    known: Held | None,
    source: LedgerEntry.Source,
    as_of: datetime | None,
    *,
    kept: bool = False,
) -> None:
    facts = facts_of(record)
    if known is None or not known.listed:
        decision = Decision.ADDED if known is None or not known.facts else Decision.RETURNED
        outcome.entries.append(_entry(record, source, decision))
    elif changes := differences(known.facts, facts):
        outcome.entries.append(_entry(record, source, Decision.CHANGED, changes))
    elif kept:
        outcome.entries.append(_entry(record, source, Decision.KEPT))
    outcome.held[record.serial_number] = Held(
        serial_number=record.serial_number,
        listed=True,
        facts=facts,
        op_date=_latest(known.op_date if known else None, record.op_date),
        as_of=_latest(known.as_of if known else None, as_of),
    )


def _absent(
    outcome: Outcome,
    known: Held,
    source: LedgerEntry.Source,
    as_of: datetime | None,
    record: DeviceRecord | None = None,
) -> None:
    decision = Decision.REMOVED if known.listed else Decision.REPEATED
    outcome.entries.append(
        Entry(
            serial_number=known.serial_number,
            source=source,
            decision=decision,
            op_type=record.op_type if record else "",
            op_date=record.op_date if record else None,
        )
    )
    outcome.held[known.serial_number] = Held(
        serial_number=known.serial_number,
        listed=False,
        facts=known.facts,
        op_date=_latest(known.op_date, record.op_date if record else None),
        as_of=_latest(known.as_of, as_of),
    )


def _undecided(outcome: Outcome, known: Held, operation: DeviceRecord | None) -> None:
    """Apple did not say. What we hold stays; of a device that we do not know its word is taken
    for the time being."""
    new = operation is not None and not known.facts and operation.op_type != OpType.DELETED
    if new and operation:
        outcome.entries.append(_entry(operation, Source.FEED, Decision.ADDED))
    outcome.entries.append(
        Entry(
            serial_number=known.serial_number,
            source=Source.DETAILS,
            decision=Decision.UNDECIDED,
            op_type=operation.op_type if operation else "",
            op_date=operation.op_date if operation else None,
        )
    )
    outcome.held[known.serial_number] = Held(
        serial_number=known.serial_number,
        listed=known.listed or new,
        facts=facts_of(operation) if new and operation else known.facts,
        op_date=known.op_date,
        as_of=known.as_of,
        doubtful=True,
    )


# --- The feed ------------------------------------------------------------------------------------


def _operation(
    outcome: Outcome,
    record: DeviceRecord,
    known: Held,
    tied: bool,
    list_as_of: datetime | None,
) -> None:
    if tied or record.op_date is None or record.op_type not in _OP_TYPES:
        _doubt(outcome, record)
        return
    if _newer(record.op_date, known.op_date, known.as_of, list_as_of):
        _apply(outcome, record, known)
    elif known.op_date is not None and record.op_date < known.op_date:
        outcome.entries.append(_entry(record, Source.FEED, Decision.STALE))
    elif _says_the_same(record, known):
        outcome.entries.append(_entry(record, Source.FEED, Decision.REPEATED))
        outcome.held[record.serial_number] = _dated(known, record.op_date)
    else:
        _doubt(outcome, record)


def _doubt(outcome: Outcome, record: DeviceRecord) -> None:
    outcome.entries.append(_entry(record, Source.FEED, Decision.ASKED))
    outcome.doubts[record.serial_number] = record


def _apply(outcome: Outcome, record: DeviceRecord, known: Held) -> None:
    if record.op_type == OpType.DELETED:
        _absent(outcome, known, Source.FEED, None, record)
    elif _says_the_same(record, known):
        outcome.entries.append(_entry(record, Source.FEED, Decision.REPEATED))
        outcome.held[record.serial_number] = _dated(known, record.op_date)
    else:
        _present(outcome, record, known, Source.FEED, None)


def _newer(op_date: datetime, *moments: datetime | None) -> bool:
    return all(moment is None or op_date > moment for moment in moments)


def _says_the_same(record: DeviceRecord, known: Held) -> bool:
    if record.op_type == OpType.DELETED:
        return not known.listed
    return known.listed and not differences(known.facts, facts_of(record))


def _by_serial(records: Iterable[DeviceRecord]) -> dict[str, list[DeviceRecord]]:
    """The operations on each serial number, the newest last, in Apple's order where they are as
    old as one another."""
    found: dict[str, list[DeviceRecord]] = {}
    for record in records:
        found.setdefault(record.serial_number, []).append(record)
    for operations in found.values():
        if len(operations) > 1:
            operations.sort(key=_age)
    return found


def _age(record: DeviceRecord) -> tuple[bool, datetime]:
    """What has no date comes last: it may be the newest, and Apple is asked."""
    return record.op_date is None, record.op_date or _NO_DATE


def _set_aside(outcome: Outcome, earlier: Sequence[DeviceRecord], newest: DeviceRecord) -> None:
    for record in earlier:
        decision = Decision.REPEATED if _same(record, newest) else Decision.SUPERSEDED
        outcome.entries.append(_entry(record, Source.FEED, decision))


def _same(one: DeviceRecord, other: DeviceRecord) -> bool:
    return (one.op_date, one.op_type) == (other.op_date, other.op_type) and not differences(
        facts_of(one), facts_of(other)
    )


# --- Small words ---------------------------------------------------------------------------------


def facts_of(record: DeviceRecord) -> dict[str, Any]:
    """What of a record is kept and compared."""
    return dict(zip(FACTS, _FACTS_OF(record), strict=True))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """field: [before, after], as JSON has it."""
    if before == after:
        return {}
    return {
        name: [_plain(before.get(name)), _plain(after[name])]
        for name in FACTS
        if before.get(name) != after[name]
    }


def _entry(
    record: DeviceRecord,
    source: LedgerEntry.Source,
    decision: LedgerEntry.Decision,
    changes: dict[str, Any] | None = None,
) -> Entry:
    return Entry(
        serial_number=record.serial_number,
        source=source,
        decision=decision,
        op_type=record.op_type,
        op_date=record.op_date,
        changes=changes,
    )


def _dated(known: Held, op_date: datetime | None) -> Held:
    return Held(
        serial_number=known.serial_number,
        listed=known.listed,
        facts=known.facts,
        op_date=_latest(known.op_date, op_date),
        as_of=known.as_of,
        doubtful=known.doubtful,
    )


def _latest(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
