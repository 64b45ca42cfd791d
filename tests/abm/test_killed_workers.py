"""A worker that is killed within a step of a page, and two at once: no device is lost, none comes
twice, and the cursor is never ahead of the data. The workers are processes of their own.
"""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager

import pytest
from django.db import connection

from abm import conversation, runs, sync
from abm.models import LedgerEntry, Server, SyncRun
from lab.dep.cursors import Kind
from mdm.webhooks.models import Event
from tests.abm.apple import Apple
from tests.abm.patience import PATIENT
from tests.abm.steps import WITHIN
from tests.abm.worker import RECONNECT, STEPS, Stop, Worker, worker
from tests.e2e.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = 4
# Which question is a second page's: the session and the account are asked for before the first.
SECOND_PAGE = {"ask": 4, "asked": 4}
# The session of the sync before goes on.
SECOND_CHANGES = {"ask": 3, "asked": 3}


@pytest.fixture
def server(lab_apple: Apple) -> Server:
    """A server that has ten devices, in three pages, and was never synced."""
    ours, remote = lab_apple.link("Office", page_size=PAGE)
    remote.maximum = PAGE
    lab_apple.portal.assign(lab_apple.portal.buy(10), "Office")
    return ours


def at_work(apple: Apple, server: Server, *stops: Stop) -> AbstractContextManager[Worker]:
    return worker(apple.url, server.pk, *stops)


def listed(server: Server) -> set[str]:
    rows = server.devices.filter(removed_at=None)
    return set(rows.values_list("serial_number", flat=True))


def behind_the_cursor(apple: Apple, server: Server) -> set[str]:
    """What the place that we keep says was read."""
    remote = apple.portal.server(server.name)
    if not server.cursor:
        return set()
    cursor = apple.portal.cursors.read(server.cursor, remote.uuid, apple.clock.now())
    if cursor.kind is Kind.LIST:
        return {serial for number, serial in remote.order if number <= cursor.place}
    there: set[str] = set()
    for operation in remote.log[: cursor.place]:
        serial = operation.record.serial_number
        there.discard(serial) if operation.op_type == "deleted" else there.add(serial)
    return there


def came(server: Server) -> dict[str, int]:
    """How often the ledger says of each serial number that it was added."""
    rows = LedgerEntry.objects.filter(server=server, decision="added")
    return dict(Counter(rows.values_list("serial_number", flat=True)))


def told(server: Server) -> dict[str, int]:
    """How often the events say of each serial number that it came."""
    events = Event.objects.filter(kind="abm.devices.added", subject=str(server.pk))
    return dict(Counter(serial for event in events for serial in event.data["serial_numbers"]))


def finish(server: Server) -> SyncRun:
    """The next run; the dead worker's connection goes when Postgres sees that it is gone."""
    until(lambda: not conversation.taken(server.pk))
    run = sync.sync(server.pk, PATIENT)
    assert run is not None
    assert run.state == SyncRun.State.FINISHED, run.sentence
    server.refresh_from_db()
    return run


def dead(apple: Apple, server: Server, step: str, number: int) -> SyncRun:
    """The run of a worker that was killed at a step, once Postgres sees that it is gone."""
    with at_work(apple, server, (step, number)) as started:
        assert started.says() == "here"
        started.kill()
    until(lambda: not conversation.taken(server.pk))
    server.refresh_from_db()
    return SyncRun.objects.latest("pk")


def take_connection(server: Server) -> None:
    """The worker that is at this server loses its connection, and with it the lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"
            " AND classid = %s AND objid = %s AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
            [conversation._LOCK, server.pk],
        )


def written(server: Server) -> tuple[object, ...]:
    """All that a worker writes while it is at it."""
    server.refresh_from_db()
    return (
        server.phase,
        server.cursor,
        list(server.devices.order_by("pk").values_list()),
        list(LedgerEntry.objects.order_by("pk").values_list()),
        list(Event.objects.order_by("pk").values_list()),
    )


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_killed_within_a_page_of_the_list(
    lab_apple: Apple, server: Server, step: str
) -> None:
    run = dead(lab_apple, server, step, SECOND_PAGE.get(step, 2))

    pages = 2 if step == "committed" else 1
    assert (run.state, run.pages, run.devices) == (SyncRun.State.RUNNING, pages, pages * PAGE)
    assert not runs.alive(run)
    assert len(listed(server)) == pages * PAGE
    assert listed(server) == behind_the_cursor(lab_apple, server) == set(came(server))
    assert told(server) == came(server)

    finish(server)

    assert listed(server) == lab_apple.listed("Office")
    assert set(came(server).values()) == {1}
    assert told(server) == came(server)
    run.refresh_from_db()
    assert run.state == SyncRun.State.INTERRUPTED


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_killed_within_a_page_of_changes(
    lab_apple: Apple, server: Server, step: str
) -> None:
    finish(server)
    lab_apple.clock.move(1)
    more = lab_apple.portal.buy(6)
    lab_apple.portal.assign(more, "Office")
    lab_apple.portal.unassign(more[1:3])

    run = dead(lab_apple, server, step, SECOND_CHANGES.get(step, 2))

    assert run.pages == (2 if step == "committed" else 1)
    assert listed(server) == behind_the_cursor(lab_apple, server)

    finish(server)

    assert listed(server) == lab_apple.listed("Office")
    assert set(came(server).values()) == {1}
    assert told(server) == came(server)
    run.refresh_from_db()
    assert run.state == SyncRun.State.INTERRUPTED


def test_while_one_worker_is_at_it_another_leaves(lab_apple: Apple, server: Server) -> None:
    with at_work(lab_apple, server, ("asked", 3)) as first:
        assert first.says() == "here"
        with at_work(lab_apple, server) as second:
            assert second.says() == "left"
        first.tell()
        assert first.says() == "ran"
    assert listed(server) == lab_apple.listed("Office")
    assert set(came(server).values()) == {1}
    assert SyncRun.objects.count() == 1


def test_of_two_workers_that_start_at_once_one_runs_and_one_leaves(
    lab_apple: Apple, server: Server
) -> None:
    stops = ("begin", 1), ("asked", 1)
    for number in range(1, 7):
        with (
            at_work(lab_apple, server, *stops) as one,
            at_work(lab_apple, server, *stops) as other,
        ):
            assert [one.says(), other.says()] == ["here", "here"]
            one.tell()
            other.tell()
            # Whoever has the lock stops at Apple's first answer; the other finds it taken.
            words = {one.says(): one, other.says(): other}
            assert words.keys() == {"here", "left"}
            words["here"].tell()
            assert words["here"].says() == "ran"
        assert SyncRun.objects.count() == number
        assert listed(server) == lab_apple.listed("Office")
        assert set(came(server).values()) == {1}
        lab_apple.clock.move(1)
        lab_apple.portal.assign(lab_apple.portal.buy(3), "Office")


@pytest.mark.parametrize("step", ["asked", *WITHIN])
def test_a_frozen_worker_whose_connection_was_taken_writes_nothing_more(
    lab_apple: Apple, server: Server, step: str
) -> None:
    with at_work(lab_apple, server, (step, SECOND_PAGE.get(step, 2))) as slow:
        assert slow.says() == "here"
        slow.freeze()
        slow.tell()
        take_connection(server)
        finish(server)
        before = written(server)
        slow.thaw()
        assert slow.says() == ""
        assert slow.ended() == 1
    assert written(server) == before
    assert listed(server) == lab_apple.listed("Office")
    assert set(came(server).values()) == {1}


@pytest.mark.parametrize("number", [3, 4, 5])
def test_a_frozen_worker_that_connects_again_finds_that_it_was_overtaken(
    lab_apple: Apple, server: Server, number: int
) -> None:
    """The lock does not protect whoever lost it unseen: the server's row does."""
    with at_work(lab_apple, server, ("asked", number)) as slow:
        assert slow.says() == "here"
        slow.freeze()
        slow.tell(RECONNECT)
        take_connection(server)
        finish(server)
        before = written(server)
        slow.thaw()
        assert slow.says() == "ran"
        assert slow.ended() == 0
    assert written(server) == before
    assert set(came(server).values()) == {1}
    states = SyncRun.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == [SyncRun.State.INTERRUPTED, SyncRun.State.FINISHED]


def test_a_worker_that_comes_back_while_another_reads_the_same_page(
    lab_apple: Apple, server: Server
) -> None:
    """Both stand at the same place: only the run that the server belongs to writes."""
    with at_work(lab_apple, server, ("asked", 4)) as slow:
        assert slow.says() == "here"
        slow.freeze()
        slow.tell(RECONNECT)
        take_connection(server)
        until(lambda: not conversation.taken(server.pk))
        with at_work(lab_apple, server, ("asked", 2)) as fast:
            assert fast.says() == "here"
            before = written(server)
            slow.thaw()
            assert slow.says() == "ran"
            assert written(server) == before
            fast.tell()
            assert fast.says() == "ran"
    assert listed(server) == lab_apple.listed("Office")
    assert set(came(server).values()) == {1}
    states = SyncRun.objects.order_by("pk").values_list("state", flat=True)
    assert list(states) == [SyncRun.State.INTERRUPTED, SyncRun.State.FINISHED]
