"""Whatever happens in the portal, on the way and to the worker, in whatever order: after the last
sync the database is Apple's list, and the ledger says how it became that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abm import client as clients
from abm import runs, store, sync
from abm.models import AbmDevice, LedgerEntry, Server, SyncRun
from abm.wire.records import FACTS, read_device
from lab.dep.faults import FaultKind
from mdm.models import Device
from tests.abm.apple import ADMIN, Apple, apple
from tests.abm.patience import PATIENT

pytestmark = pytest.mark.django_db(transaction=True)

SERVERS = ("Office", "School")
PAGE = 3
# What a page is written with, in order; a crash may come before each of them and after the last.
STEPS = ("_write_devices", "_mark_listed", "_write_ledger", "_tell", "_count")
PASSING = (
    *(FaultKind.RESET, FaultKind.AFTER, FaultKind.CUT, FaultKind.NONSENSE, FaultKind.WRONG_SHAPE),
    *(FaultKind.HTML, FaultKind.UNAVAILABLE, FaultKind.TOO_MANY_REQUESTS, FaultKind.STALE_SESSION),
    *(FaultKind.FORBIDDEN, FaultKind.STUCK_CURSOR, FaultKind.DUPLICATES),
)
RESETTING = (FaultKind.EXPIRED_CURSOR, FaultKind.INVALID_CURSOR, FaultKind.EXHAUSTED_CURSOR)


class Crash(BaseException):
    """The worker is gone: nothing of ours handles it."""


_some = st.integers(0, 50)
_server = st.sampled_from(SERVERS)
_in_portal = st.one_of(
    st.tuples(st.just("buy"), st.integers(1, 5), _server),
    st.tuples(st.just("assign"), _some, _server),
    st.tuples(st.just("unassign"), _some),
    st.tuples(st.just("release"), _some),
    st.tuples(st.just("change"), _some, st.sampled_from(("CART-1", "CART-2", ""))),
    st.tuples(st.just("tick")),
)
_crash = st.tuples(st.just("crash"), st.sampled_from((*STEPS, "ask", "asked")), st.integers(1, 4))
_meanwhile = st.tuples(st.just("meanwhile"), st.integers(1, 5), _in_portal)
_sync = st.tuples(st.just("sync"), _server, st.one_of(st.none(), _crash, _meanwhile))


def _steps(faults: tuple[FaultKind, ...], *more: Any) -> Any:
    fault = st.tuples(st.just("fault"), st.sampled_from(faults), st.integers(1, 3))
    # Named more than once: what is drawn more often.
    return st.lists(st.one_of(_in_portal, _in_portal, _sync, _sync, fault, *more), max_size=30)


@dataclass
class Storm:
    """Two servers of ours and Apple; `play` takes one step."""

    apple: Apple
    servers: dict[str, Server]

    def play(self, step: tuple[Any, ...]) -> None:
        getattr(self, f"_{step[0]}")(*step[1:])

    def settle(self, *, full: bool) -> None:
        """What an admin and the beat do once everything works again."""
        self.apple.stand_in.faults.clear()
        for server in self.servers.values():
            if full:
                runs.ask(ADMIN, Server.objects.get(pk=server.pk), full=True)
            for _ in range(2):
                run = sync.sync(server.pk, PATIENT)
                assert run is not None
                assert run.state == SyncRun.State.FINISHED, run.sentence

    def _buy(self, count: int, name: str) -> None:
        self.apple.portal.assign(self.apple.portal.buy(count), name)

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

    def _fault(self, kind: FaultKind, count: int) -> None:
        self.apple.order(kind, count=count)

    def _full(self, name: str) -> None:
        runs.ask(ADMIN, Server.objects.get(pk=self.servers[name].pk), full=True)

    def _sync(self, name: str, within: tuple[Any, ...] | None) -> None:
        with ExitStack() as stack:
            if within is not None and within[0] == "crash":
                stack.enter_context(_crashing(within[1], within[2]))
            elif within is not None:
                stack.enter_context(self._meanwhile(within[1], within[2]))
            stack.enter_context(suppress(Crash))
            sync.sync(self.servers[name].pk, PATIENT)

    @contextmanager
    def _meanwhile(self, number: int, step: tuple[Any, ...]) -> Iterator[None]:
        """Something happens in the portal before Apple's `number`th answer."""
        service = self.apple.stand_in.service
        with patch.object(
            service, "answer", _at(number, service.answer, before=lambda: self.play(step))
        ):
            yield

    def _pick(self, which: int) -> list[str]:
        serials = list(self.apple.portal.devices)
        return [serials[which % len(serials)]] if serials else []


def _at(number: int, call: Callable[..., Any], *, before: Callable[[], None]) -> Any:
    calls = iter(range(1, 1_000_000))

    def wrapped(*given: Any, **more: Any) -> Any:
        if next(calls) == number:
            before()
        return call(*given, **more)

    return wrapped


@contextmanager
def _crashing(step: str, number: int) -> Iterator[None]:
    """The worker is gone at the `number`th time that it comes to this step."""

    def crash() -> None:
        raise Crash

    if step in STEPS:
        with patch.object(store, step, _at(number, getattr(store, step), before=crash)):
            yield
        return
    send = clients.Client._send
    asks = _at(number, send, before=crash)
    if step == "ask":
        with patch.object(clients.Client, "_send", lambda *given: asks(*given)):
            yield
        return
    answered = iter(range(1, 1_000_000))

    def asked(*given: Any) -> Any:
        answer = send(*given)
        if next(answered) == number:
            raise Crash
        return answer

    with patch.object(clients.Client, "_send", asked):
        yield


@contextmanager
def _storm(configured: Any) -> Iterator[Storm]:
    for model in (LedgerEntry, Server, Device):
        model.objects.all().delete()
    with apple() as played:
        configured.ENV = dataclasses.replace(configured.ENV, dep_url=played.url)
        ours = {}
        for name in SERVERS:
            ours[name], remote = played.link(name, page_size=PAGE)
            remote.maximum = PAGE
        yield Storm(played, ours)


def check(storm: Storm) -> None:
    """The database is Apple's list, and the ledger leads to it."""
    everywhere: list[str] = []
    for name, server in storm.servers.items():
        truth = storm.apple.truth(name)
        rows = {row.serial_number: row for row in server.devices.filter(removed_at=None)}
        assert rows.keys() == truth.keys()
        for serial, row in rows.items():
            expected = read_device(truth[serial])
            assert {key: getattr(row, key) for key in FACTS} == {
                key: getattr(expected, key) for key in FACTS
            }
            assert row.device is not None
            assert row.current
        _check_ledger(server, rows)
        everywhere += rows
    assert len(everywhere) == len(set(everywhere))
    assert AbmDevice.objects.filter(current=True).count() == len(everywhere)


def _check_ledger(server: Server, rows: dict[str, AbmDevice]) -> None:
    listed: dict[str, bool] = {}
    said: dict[tuple[str, str], Any] = {}
    for entry in LedgerEntry.objects.filter(server=server).order_by("pk"):
        serial = entry.serial_number
        if entry.decision in ("added", "returned"):
            assert not listed.get(serial), f"{serial} came twice"
            listed[serial] = True
            said = {key: value for key, value in said.items() if key[0] != serial}
        elif entry.decision == "removed":
            assert listed.get(serial), f"{serial} went without having come"
            listed[serial] = False
        elif entry.decision == "changed":
            assert listed.get(serial), f"{serial} changed without being there"
            for key, (before, after) in (entry.changes or {}).items():
                assert said.get((serial, key), before) == before
                said[serial, key] = after
    assert {serial for serial, there in listed.items() if there} == rows.keys()
    for (serial, key), value in said.items():
        if listed[serial]:
            held = getattr(rows[serial], key, None)
            assert value == (held.isoformat() if hasattr(held, "isoformat") else held)


_SETTINGS = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_SETTINGS
@given(steps=_steps((*PASSING, *RESETTING, FaultKind.LOSSY), st.tuples(st.just("full"), _server)))
def test_after_a_full_sync_the_database_is_apples_list(settings: Any, steps: list[Any]) -> None:
    with _storm(settings) as storm:
        for step in steps:
            storm.play(step)
        storm.settle(full=True)
        check(storm)


@_SETTINGS
@given(steps=_steps(PASSING))
def test_the_feed_alone_is_enough_while_apple_leaves_nothing_out(
    settings: Any, steps: list[Any]
) -> None:
    with _storm(settings) as storm:
        for step in steps:
            storm.play(step)
        storm.settle(full=False)
        check(storm)
