"""A worker that is killed within a step of a page, and two at once: no device is lost, none comes
twice, and the cursor is never ahead of the data. The workers are processes of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from abm import conversation, sync
from abm.models import LedgerEntry, Server, SyncRun
from lab.dep.cursors import Kind
from mdm.local.environment import ROOT
from tests.abm.apple import Apple
from tests.abm.patience import PATIENT
from tests.abm.worker import STEPS
from tests.e2e.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = 4
# The session and the account are asked for before the first page.
SECOND_PAGE = {"ask": 4, "asked": 4}


@pytest.fixture
def server(lab_apple: Apple) -> Server:
    """A server that has ten devices, in three pages, and was never synced."""
    ours, remote = lab_apple.link("Office", page_size=PAGE)
    remote.maximum = PAGE
    lab_apple.portal.assign(lab_apple.portal.buy(10), "Office")
    return ours


@contextmanager
def worker(apple: Apple, server: Server, step: str, number: int = 1) -> Iterator[subprocess.Popen]:
    started = subprocess.Popen(
        (sys.executable, "-m", "tests.abm.worker", str(server.pk), step, str(number)),
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": _database(), "GUARD_DEP_URL": apple.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def says(started: subprocess.Popen) -> str:
    assert started.stdout is not None
    return str(started.stdout.readline().strip())


def go_on(started: subprocess.Popen) -> None:
    assert started.stdin is not None
    started.stdin.write("\n")
    started.stdin.flush()


def _database() -> str:
    where = connection.settings_dict
    return f"postgresql://{where['USER']}@/{where['NAME']}?host={where['HOST']}"


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


def finish(server: Server) -> SyncRun:
    """The next run; the dead worker's connection goes when Postgres sees that it is gone."""
    until(lambda: not conversation.taken(server.pk))
    run = sync.sync(server.pk, PATIENT)
    assert run is not None
    assert run.state == SyncRun.State.FINISHED, run.sentence
    server.refresh_from_db()
    return run


@pytest.mark.parametrize("step", [*STEPS, "committed"])
def test_a_worker_killed_within_a_page_of_the_list(
    lab_apple: Apple, server: Server, step: str
) -> None:
    with worker(lab_apple, server, step, SECOND_PAGE.get(step, 2)) as started:
        assert says(started) == "here"
        started.kill()
        started.wait()
    until(lambda: not conversation.taken(server.pk))
    server.refresh_from_db()
    assert listed(server) == behind_the_cursor(lab_apple, server) != lab_apple.listed("Office")
    dead = SyncRun.objects.get(server=server)

    finish(server)

    assert listed(server) == lab_apple.listed("Office")
    assert set(came(server).values()) == {1}
    dead.refresh_from_db()
    assert dead.state == SyncRun.State.INTERRUPTED


@pytest.mark.parametrize("step", ["asked", "_write_ledger", "committed"])
def test_a_worker_killed_within_a_page_of_changes(
    lab_apple: Apple, server: Server, step: str
) -> None:
    finish(server)
    lab_apple.clock.move(1)
    more = lab_apple.portal.buy(6)
    lab_apple.portal.assign(more, "Office")
    lab_apple.portal.unassign(more[1:3])
    with worker(lab_apple, server, step, 3 if step == "asked" else 2) as started:
        assert says(started) == "here"
        started.kill()
        started.wait()
    until(lambda: not conversation.taken(server.pk))
    server.refresh_from_db()
    assert listed(server) == behind_the_cursor(lab_apple, server)

    finish(server)

    assert listed(server) == lab_apple.listed("Office")
    assert set(came(server).values()) == {1}


def test_while_one_worker_is_at_it_another_leaves(lab_apple: Apple, server: Server) -> None:
    with worker(lab_apple, server, "asked", 3) as first:
        assert says(first) == "here"
        with worker(lab_apple, server, "none") as second:
            assert says(second) == "left"
        go_on(first)
        assert says(first) == "ran"
    assert listed(server) == lab_apple.listed("Office")
    assert set(came(server).values()) == {1}
    assert SyncRun.objects.count() == 1


def test_two_workers_that_start_at_once(lab_apple: Apple, server: Server) -> None:
    with (
        worker(lab_apple, server, "begin") as first,
        worker(lab_apple, server, "begin") as second,
    ):
        assert [says(first), says(second)] == ["here", "here"]
        go_on(first)
        go_on(second)
        assert "ran" in {says(first), says(second)}
    assert listed(server) == lab_apple.listed("Office")
    assert set(came(server).values()) == {1}


def test_a_worker_that_lost_its_connection_writes_nothing_more(
    lab_apple: Apple, server: Server
) -> None:
    with worker(lab_apple, server, "asked", 3) as slow:
        assert says(slow) == "here"
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                " AND classid = %s AND objid = %s",
                [conversation._LOCK, server.pk],
            )
        finish(server)
        written = LedgerEntry.objects.count()
        go_on(slow)
        assert says(slow) == ""
        assert slow.wait() != 0
    assert LedgerEntry.objects.count() == written
    assert listed(server) == lab_apple.listed("Office")
    assert set(came(server).values()) == {1}
