"""Whatever happens in the portal, on the way and to the worker, in whatever order: after the last
sync the database is Apple's list, and the ledger says how it became that.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from unittest.mock import patch

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from abm import runs, sync
from abm.models import AbmDevice, LedgerEntry, Server, SyncRun
from abm.wire.records import FACTS, read_device
from lab.dep import Clock
from lab.dep.catalog import Family
from lab.dep.faults import OF_A_REQUEST, FaultKind
from mdm.models import Device
from mdm.webhooks.models import Event
from tests.abm import steps
from tests.abm.apple import ADMIN, Apple, apple
from tests.abm.patience import PATIENT

pytestmark = pytest.mark.django_db(transaction=True)

# So many stories that nobody has played yet, in place of those that are always played.
EXPLORE = int(os.environ.get("STORMS", "0"))
SERVERS = ("Office", "School")
PAGE = 3
PASSING = (
    *(FaultKind.RESET, FaultKind.AFTER, FaultKind.CUT, FaultKind.NONSENSE, FaultKind.WRONG_SHAPE),
    *(FaultKind.HTML, FaultKind.UNAVAILABLE, FaultKind.TOO_MANY_REQUESTS, FaultKind.STALE_SESSION),
    *(FaultKind.FORBIDDEN, FaultKind.STUCK_CURSOR, FaultKind.DUPLICATES, FaultKind.FAILED),
)
# None is whatever comes next.
PATHS = (None, None, "/session", "/account", "/server/devices", "/devices/sync", "/devices")
RESETTING = (FaultKind.EXPIRED_CURSOR, FaultKind.INVALID_CURSOR, FaultKind.EXHAUSTED_CURSOR)


class Crash(BaseException):
    """The worker is gone: nothing of ours handles it."""


_some = st.integers(0, 50)
_server = st.sampled_from(SERVERS)
_in_portal = st.one_of(
    st.tuples(st.just("buy"), st.integers(1, 5), st.one_of(_server, st.just(""))),
    st.tuples(st.just("default"), st.sampled_from(Family), st.one_of(_server, st.just(""))),
    st.tuples(st.just("assign"), _some, _server),
    st.tuples(st.just("unassign"), _some),
    st.tuples(st.just("release"), _some),
    st.tuples(st.just("change"), _some, st.sampled_from(("CART-1", "CART-2", ""))),
    st.tuples(st.just("tick")),
)
_crash = st.tuples(
    st.just("crash"), st.sampled_from((*steps.PLACES, *steps.AFTER)), st.integers(1, 4)
)
_meanwhile = st.tuples(
    st.just("meanwhile"), st.integers(1, 5), st.lists(_in_portal, min_size=1, max_size=3)
)
_sync = st.tuples(st.just("sync"), _server, st.one_of(st.none(), _crash, _meanwhile))


def _steps(faults: tuple[FaultKind, ...], *more: Any) -> Any:
    fault = st.tuples(
        st.just("fault"), st.sampled_from(faults), st.integers(1, 3), st.sampled_from(PATHS)
    )
    # Named more than once: what is drawn more often.
    return st.lists(
        st.one_of(_in_portal, _in_portal, _sync, _sync, fault, *more), min_size=8, max_size=40
    )


def facts_of(row: Any) -> dict[str, Any]:
    """The facts of a row, or of a record that Apple sent, as JSON has them."""
    facts = {name: getattr(row, name) for name in FACTS}
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in facts.items()
    }


class Book:
    """A server's ledger, replayed from run to run: what it adds leads from what we held before to
    what we hold now. What a device was when it came is not written there, but from then on each
    change of it is.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._read = self._events = 0
        self.listed: set[str] = set()
        self.told: set[str] = set()
        self._facts: dict[str, dict[str, Any]] = {}

    def compare(self) -> None:
        came: dict[str, dict[str, Any]] = {}
        for entry in LedgerEntry.objects.filter(server=self._server, pk__gt=self._read).order_by(
            "pk"
        ):
            self._read = entry.pk
            self._replay(entry, came)
        rows = {
            row.serial_number: facts_of(row) for row in self._server.devices.filter(removed_at=None)
        }
        assert self.listed == rows.keys()
        for serial, facts in rows.items():
            known = came[serial] if serial in came else self._facts[serial]
            assert {name: facts[name] for name in known} == known
        self._facts = rows
        self._hear_events()

    def _replay(self, entry: LedgerEntry, came: dict[str, dict[str, Any]]) -> None:
        serial = entry.serial_number
        there = serial in self.listed
        if entry.decision in ("added", "returned"):
            assert not there, f"{serial} came twice"
            self.listed.add(serial)
            came[serial] = {}
        elif entry.decision == "removed":
            assert there, f"{serial} went without having come"
            self.listed.remove(serial)
        elif entry.decision == "changed":
            assert there, f"{serial} changed without being there"
            assert entry.changes
            known = came[serial] if serial in came else self._facts[serial]
            for name, (before, after) in entry.changes.items():
                assert known.get(name, before) == before
                known[name] = after

    def _hear_events(self) -> None:
        """Whoever listens to the webhooks knows the same."""
        for event in Event.objects.filter(
            subject=str(self._server.pk), pk__gt=self._events, kind__startswith="abm.devices."
        ).order_by("pk"):
            self._events = event.pk
            serials = set(event.data["serial_numbers"])
            if event.kind == "abm.devices.added":
                assert not serials & self.told, "told twice that they came"
                self.told |= serials
            else:
                assert serials <= self.told, "told that they went, not that they came"
                self.told -= serials


@dataclass
class Storm:
    """Two servers of ours and Apple; `play` takes one step."""

    apple: Apple
    servers: dict[str, Server]
    books: dict[str, Book]

    def play(self, step: tuple[Any, ...]) -> None:
        getattr(self, f"_{step[0]}")(*step[1:])

    def settle(self, *, full: bool) -> None:
        """What an admin and the beat do once everything works again."""
        self.apple.stand_in.faults.clear()
        # A pause that Apple asked for is over.
        Server.objects.update(retry_at=timezone.now())
        for server in self.servers.values():
            if full:
                runs.ask(ADMIN, Server.objects.get(pk=server.pk), full=True)
            for _ in range(2):
                run = sync.sync(server.pk, PATIENT)
                assert run is not None
                assert run.state == SyncRun.State.FINISHED, run.sentence
                self.compare_books()

    def compare_books(self) -> None:
        for book in self.books.values():
            book.compare()
        # Also between two runs a device that is listed twice belongs to one server.
        rows = AbmDevice.objects.filter(removed_at=None)
        listed = set(rows.values_list("serial_number", flat=True))
        belong = AbmDevice.objects.filter(current=True).values_list("serial_number", flat=True)
        assert sorted(belong) == sorted(listed)

    def _buy(self, count: int, name: str) -> None:
        serials = self.apple.portal.buy(count)
        if name:
            self.apple.portal.assign(serials, name)

    def _default(self, family: Family, name: str) -> None:
        self.apple.portal.set_default(family, name)

    def _assign(self, which: int, name: str) -> None:
        self.apple.portal.assign(self._pick(which), name)

    def _unassign(self, which: int) -> None:
        self.apple.portal.unassign(self._pick(which))

    def _release(self, which: int) -> None:
        self.apple.portal.release(self._pick(which))

    def _change(self, which: int, tag: str) -> None:
        for serial in self._pick(which):
            self.apple.portal.change(serial, asset_tag=tag)

    def _tick(self) -> None:
        self.apple.clock.move(1)

    def _fault(self, kind: FaultKind, count: int, path: str | None) -> None:
        self.apple.order(kind, count=count, endpoint=path if kind in OF_A_REQUEST else None)

    def _full(self, name: str) -> None:
        """Refused during a pause that Apple asked for."""
        with suppress(runs.CannotSync):
            runs.ask(ADMIN, Server.objects.get(pk=self.servers[name].pk), full=True)

    def _sync(self, name: str, within: tuple[Any, ...] | None) -> None:
        with ExitStack() as stack:
            if within is not None and within[0] == "crash":
                stack.enter_context(_crashing(within[1], within[2]))
            elif within is not None:
                stack.enter_context(self._meanwhile(within[1], within[2]))
            stack.enter_context(suppress(Crash))
            sync.sync(self.servers[name].pk, PATIENT)
        self.compare_books()

    @contextmanager
    def _meanwhile(self, number: int, happening: list[tuple[Any, ...]]) -> Iterator[None]:
        """Something happens in the portal before Apple's `number`th answer."""

        def play() -> None:
            for step in happening:
                self.play(step)

        service = self.apple.stand_in.service
        with patch.object(service, "answer", steps.at("answer", number, play, service.answer)):
            yield

    def _pick(self, which: int) -> list[str]:
        serials = list(self.apple.portal.devices)
        return [serials[which % len(serials)]] if serials else []


@contextmanager
def _crashing(step: str, number: int) -> Iterator[None]:
    """The worker is gone at the `number`th time that it comes to this step."""

    def crash() -> None:
        raise Crash

    with patch.object(*steps.place_of(step), steps.at(step, number, crash)):
        yield


@contextmanager
def _storm(configured: Any) -> Iterator[Storm]:
    for model in (Event, LedgerEntry, Server, Device):
        model.objects.all().delete()
    # It stands still until it is moved: what happens between two ticks shares a second.
    with apple(Clock(timezone.now())) as played:
        configured.ENV = dataclasses.replace(configured.ENV, dep_url=played.url)
        ours, books = {}, {}
        for name in SERVERS:
            ours[name], remote = played.link(name, page_size=PAGE)
            remote.maximum = PAGE
            books[name] = Book(ours[name])
        yield Storm(played, ours, books)


def check(storm: Storm) -> None:
    """The database is Apple's list, and the ledger leads to it."""
    everywhere: list[str] = []
    for name, server in storm.servers.items():
        truth = {serial: read_device(said) for serial, said in storm.apple.truth(name).items()}
        rows = list(server.devices.filter(removed_at=None).select_related("device"))
        assert {row.serial_number: facts_of(row) for row in rows} == {
            serial: facts_of(record) for serial, record in truth.items()
        }
        for row in rows:
            assert row.device is not None
            assert row.device.serial_number == row.serial_number
            assert row.current
            assert not row.doubtful
        assert storm.books[name].told == storm.books[name].listed == truth.keys()
        everywhere += truth
    assert AbmDevice.objects.filter(current=True).count() == len(everywhere)
    over = (SyncRun.State.FINISHED, SyncRun.State.FAILED, SyncRun.State.INTERRUPTED)
    assert not SyncRun.objects.exclude(state__in=over).exists()


_SETTINGS = settings(
    deadline=None,
    derandomize=not EXPLORE,
    max_examples=EXPLORE or 50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_SETTINGS
@given(story=_steps((*PASSING, *RESETTING, FaultKind.LOSSY), st.tuples(st.just("full"), _server)))
def test_after_a_full_sync_the_database_is_apples_list(settings: Any, story: list[Any]) -> None:
    with _storm(settings) as storm:
        for step in story:
            storm.play(step)
        storm.settle(full=True)
        check(storm)


# Two operations of one second, told again in the other order: only asking Apple helps.
_TOLD_BACKWARDS = [
    ("buy", 1, "Office"),
    ("sync", "Office", None),
    ("tick",),
    ("change", 0, "CART-1"),
    ("unassign", 0),
    ("fault", FaultKind.DUPLICATES, 1, None),
    ("sync", "Office", None),
]

# Apple, asked about a device that is new here, says neither yes nor no.
_NOT_DECIDED = [
    ("sync", "Office", None),
    ("buy", 1, "Office"),
    ("change", 0, "CART-1"),
    ("fault", FaultKind.FAILED, 1, None),
    ("sync", "Office", None),
]


@_SETTINGS
@given(story=_steps(PASSING))
@example(story=_TOLD_BACKWARDS)
@example(story=_NOT_DECIDED)
def test_the_feed_alone_is_enough_while_apple_leaves_nothing_out(
    settings: Any, story: list[Any]
) -> None:
    with _storm(settings) as storm:
        for step in story:
            storm.play(step)
        storm.settle(full=False)
        check(storm)
