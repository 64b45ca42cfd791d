"""The chain over the audit log: each row gets a number, and a hash over itself and the hash before
it. `seal` does that in the background; `verify` proves that nothing was changed, taken out or put
in since.

The hash is an HMAC. Its key is random and kept sealed (`ChainKey`), so whoever can write to the
database, but does not have the server's environment, cannot make a chain that holds. Whoever has
both can; that is what heads are for that were written down elsewhere (docs/audit.md).
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast

from mdm import secrets
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent, ChainKey
from mdm.audit.record import allow

log = structlog.get_logger(__name__)

# Rows of one step, which is one transaction, and of one run.
STEP = 500
MOST = 20_000
# What stands before the first row's hash.
BEGINNING = bytes(32)
# Breaks that are told one by one; the others are counted.
TOLD = 20

Row = tuple[Any, ...]

_LOCK = 0x41554454
_PURPOSE = "audit_chain"
# How a row becomes bytes. Another way of doing it needs another number.
_FORMAT = 1
_TEXTS = (
    *("actor_kind", "actor_id", "actor_name", "address", "request_id"),
    *("action", "subject_kind", "subject_id"),
)


class ChainError(Exception):
    """The chain can be neither sealed nor checked; the message says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """A place in the chain: a row's number and its hash. As text `812:9f3a…`."""

    number: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.number}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Raises ValueError."""
        number, _, digits = text.strip().partition(":")
        found = cls(int(number), bytes.fromhex(digits))
        if found.number < 1 or len(found.hash) != 32:
            raise ValueError(text)
        return found


NOTHING = Head(0, BEGINNING)


# --- Sealing --------------------------------------------------------------------------------------


def seal(rows: int = STEP) -> int:
    """Seal what is not sealed yet, up to `MOST` rows; returns how many. Raises ChainError.

    Ids are no order to go by: a row may be committed after one with a higher id was sealed. It
    then comes at the end of the chain. Each step takes effect as a whole or not at all, and two
    who do this at once take turns.
    """
    sealed = 0
    while sealed < MOST:
        step = _step(rows)
        sealed += step
        if step < rows:
            break
    if sealed:
        # With a log that is kept elsewhere, so is the head.
        log.info("audit_sealed", rows=sealed, head=str(head()))
    return sealed


def head() -> Head:
    """The end of the chain."""
    chain = AuditEvent.objects.filter(sealed_as__isnull=False).order_by("-sealed_as")
    found = chain.values_list("sealed_as", "sealed_hash").first()
    return Head(found[0] or 0, bytes(found[1] or b"")) if found else NOTHING


@transaction.atomic
def _step(rows: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if cursor.fetchone() != (True,):
            return 0
        waiting = _rows(AuditEvent.objects.filter(sealed_as__isnull=True).order_by("pk"))[:rows]
        found = [(row[2], _content(row[2:])) for row in waiting]
        if not found:
            return 0
        end = head()
        key = _key(make=end == NOTHING)
        numbers, hashes, last = [], [], end.hash
        for number, (_, content) in enumerate(found, end.number + 1):
            last = _hash(key, last, content)
            numbers.append(number)
            hashes.append(last)
        cursor.execute(
            """
            UPDATE audit_auditevent e SET sealed_as = s.number, sealed_hash = s.hash
            FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[]) AS s (id, number, hash)
            WHERE e.id = s.id
            """,
            [[pk for pk, _ in found], numbers, hashes],
        )
    return len(found)


def _key(*, make: bool = False) -> bytes:
    """The chain's key; a new one where there is none and no chain yet. Raises ChainError."""
    kept = ChainKey.objects.order_by("pk").first()
    if kept is None:
        if not make:
            raise ChainError(
                "The key of the audit log's chain is gone from the database (audit_chainkey)."
                " Restore that table from a backup: without it the chain proves nothing."
            )
        key = os.urandom(32)
        ChainKey.objects.create(sealed_key=secrets.seal(_PURPOSE, key))
        return key
    try:
        return secrets.unseal(_PURPOSE, kept.sealed_key)
    except secrets.Unsealable as error:
        raise ChainError(f"The key of the audit log's chain cannot be opened: {error}.") from None


# --- Checking -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Break:
    """A place where the chain does not hold: its number, the row's id, and what is wrong."""

    number: int
    event: int | None
    what: str


@dataclass(slots=True)
class Report:
    """What a check of the chain found: how many rows it read, up to which place, whether that is
    the end; of many breaks the first are told.
    """

    sealed: int = 0
    waiting: int = 0
    head: Head = NOTHING
    ended: bool = True
    broken: int = 0
    breaks: list[Break] = field(default_factory=list)

    def add(self, found: Break) -> None:
        self.broken += 1
        if self.broken <= TOLD:
            self.breaks.append(found)


def verify(actor: Actor, *known: Head | None) -> Report:
    """Read every row and check that it is as it was sealed, in its place. `known` are heads that
    were written down elsewhere: the chain has to lead through each, which proves that its end was
    not cut off and made anew. Raises NotAllowed, ChainError.
    """
    allow(actor, "audit.read")
    report = walk(NOTHING, {head for head in known if head is not None})
    report.waiting = AuditEvent.objects.filter(sealed_as__isnull=True).count()
    return report


def walk(start: Head, known: Set[Head], most: int | None = None) -> Report:
    """Check, of `most` rows at most, that they follow `start`, a place that was checked before; and
    that the chain still leads through `start` and `known`. Raises ChainError.
    """
    report = Report(head=start)
    chain = AuditEvent.objects.filter(sealed_as__isnull=False).order_by("sealed_as")
    if start != NOTHING:
        chain = chain.filter(sealed_as__gt=start.number)
    # A transaction, so that rows are fetched as they are read and not all beforehand.
    with transaction.atomic():
        key = _key() if chain.exists() else b""
        rows = _rows(chain)[:most].iterator(chunk_size=2_000)
        for found in _left(start, known):
            report.add(found)
        for found in _breaks(key, rows, report):
            report.add(found)
        report.ended = most is None or report.sealed < most
    return report


def holds(event: AuditEvent) -> bool:
    """Whether a sealed row is as it was sealed, after the one before it. Raises ChainError."""
    one = AuditEvent.objects.filter(sealed_as__in=[(event.sealed_as or 0) - 1, event.sealed_as])
    *before, (_, stored, *columns) = _rows(one.order_by("sealed_as"))
    if not before and event.sealed_as != 1:
        return False
    follows = bytes(before[0][1]) if before else BEGINNING
    return hmac.compare_digest(_hash(_key(), follows, _content(columns)), bytes(stored))


@dataclass(frozen=True, slots=True)
class _Suspect:
    """A row whose hash does not fit; the row after it tells what was done to it."""

    number: int
    event: int
    # The hash that it follows, and the one that it should have.
    follows: bytes
    expected: bytes

    def was(self, what: str) -> Break:
        return Break(self.number, self.event, what)


def _left(start: Head, known: Set[Head]) -> Iterator[Break]:
    """Tell which of these places the chain does not lead through any more. What was cut off grows
    again as new rows get its numbers, and the walk may not come by there.
    """
    end = head().number
    places = sorted({start, *known} - {NOTHING}, key=lambda place: place.number)
    for place in places:
        there = AuditEvent.objects.filter(sealed_as=place.number).order_by("pk")
        rows = [(pk, bytes(stored or b"")) for pk, stored in there.values_list("pk", "sealed_hash")]
        if place.number > end:
            if place == places[-1]:
                yield Break(place.number, None, "is missing: the end of the chain was cut off")
        elif rows and all(stored != place.hash for _, stored in rows):
            when = "when it was checked" if place == start else "was written down elsewhere"
            yield Break(place.number, rows[0][0], f"has another hash than {when}")
        elif place == start and len(rows) != 1:
            # The walk begins behind it.
            what = "has the number of another row: it was put in" if rows else "is missing"
            yield Break(place.number, rows[-1][0] if rows else None, what)


def _breaks(key: bytes, rows: Iterator[Row], report: Report) -> Iterator[Break]:
    """Walk the chain, counting in `report`, and tell where it does not hold."""
    suspect: _Suspect | None = None
    for number, stored, *columns in rows:
        end, content, event = report.head, _content(columns), columns[0]
        report.sealed += 1
        if number <= end.number:
            yield Break(number, event, "has the number of another row: it was put in")
            continue
        here = report.head = Head(number, bytes(stored))
        if number > end.number + 1:
            if suspect is not None:
                yield suspect.was(_CHANGED)
            # What this row follows is not there, so nothing can be said of the row itself.
            yield Break(end.number + 1, None, f"is missing{_up_to(end.number + 1, number - 1)}")
            suspect = None
            continue
        expected = _hash(key, end.hash, content)
        fits = expected == here.hash
        if suspect is not None:
            what = _CHANGED
            if not fits and _hash(key, suspect.follows, content) == here.hash:
                fits, what = True, "was put in when the others had been sealed"
            elif not fits and _hash(key, suspect.expected, content) == here.hash:
                fits, what = True, "is as it was, but its hash was changed"
            yield suspect.was(what)
        suspect = None if fits else _Suspect(number, event, end.hash, expected)
    if suspect is not None:
        yield suspect.was("is not what was sealed: it was changed or put in")


def _up_to(first: int, last: int) -> str:
    return f", and so are all up to number {last}" if last > first else ""


_CHANGED = "is not what was sealed: it was changed, or rows before it were taken out"


# --- The hash of a row ----------------------------------------------------------------------------


def _rows(events: QuerySet[AuditEvent]) -> QuerySet[AuditEvent, Row]:
    """Number, hash, and all that the hash is over. JSON as Postgres writes it, which is the same
    for the same value, and exact where Python's numbers are not.
    """
    return events.annotate(
        before_text=Cast("before", TextField()), after_text=Cast("after", TextField())
    ).values_list("sealed_as", "sealed_hash", "pk", "at", *_TEXTS, "before_text", "after_text")


def _content(columns: Sequence[Any]) -> bytes:
    """The row in one way that can be read in no other: its columns as a list in JSON."""
    event, at, *texts = columns
    moment: datetime = at
    listed = [_FORMAT, event, moment.astimezone(UTC).isoformat(timespec="microseconds"), *texts]
    return json.dumps(listed, separators=(",", ":")).encode()


def _hash(key: bytes, follows: bytes, content: bytes) -> bytes:
    return hmac.digest(key, follows + content, "sha256")
