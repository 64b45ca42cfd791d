"""What the sync wrote long ago goes; what tells why a device is where it is stays."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from abm import retention, runs, tasks
from abm.models import Assigning, LedgerEntry, RunLine, Server, SyncRun, TokenUpload
from mdm import retention as walk
from tests import steps

pytestmark = pytest.mark.django_db

OLD = timedelta(days=settings.ENV.history_days + 1)
YOUNG = timedelta(days=settings.ENV.history_days - 1)
OVER_A_WEEK = timedelta(days=8)
UNDER_A_WEEK = timedelta(days=6)
LEDGER = "DELETE FROM abm_ledgerentry"
CHANGED = ["added", "returned", "changed", "removed"]
UNCHANGED = sorted(set(LedgerEntry.Decision.values) - set(CHANGED))


@pytest.fixture(autouse=True)
def another_day():
    """The day's walk begins anew; so it does where this is called."""
    cache.clear()
    return cache.clear


@pytest.fixture
def server(db) -> Server:
    return Server.objects.create(name="Office")


def run(server: Server, ago: timedelta, state="Finished", lines=1, **more) -> SyncRun:
    """A run that lasted a minute, or that is not over, with lines in its log."""
    asked = timezone.now() - ago
    over = state not in {"Waiting", "Running"}
    made = SyncRun.objects.create(
        server=server,
        state=state,
        asked_by=runs.EVERY,
        asked_at=asked,
        finished_at=asked + timedelta(minutes=1) if over else None,
        **more,
    )
    for number in range(lines):
        RunLine.objects.create(run=made, sentence=f"Page {number}", at=asked)
    return made


def entry(server: Server, serial: str, decision: str, ago: timedelta = OLD) -> LedgerEntry:
    return LedgerEntry.objects.create(
        server=server,
        serial_number=serial,
        source="feed",
        decision=decision,
        at=timezone.now() - ago,
    )


def stretch(server: Server, ago: timedelta, *, over: bool = True) -> Assigning:
    """A stretch of the assignment that lasted a minute, or goes on."""
    began = timezone.now() - ago
    return Assigning.objects.create(
        server=server,
        began_at=began,
        finished_at=began + timedelta(minutes=1) if over else None,
    )


def decisions(server: Server, serial: str) -> list[str]:
    rows = LedgerEntry.objects.filter(server=server, serial_number=serial).order_by("pk")
    return list(rows.values_list("decision", flat=True))


def left() -> list[SyncRun]:
    return list(SyncRun.objects.order_by("pk"))


# --- Runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["Finished", "Failed", "Interrupted"])
def test_a_run_that_ended_long_ago_goes_with_its_log(server, state):
    run(server, OLD, state, lines=3, added=1)
    newest = run(server, timedelta(0), added=1)

    assert retention.remove_old() == 4

    assert left() == [newest]
    assert RunLine.objects.get().run_id == newest.pk


@pytest.mark.parametrize(
    "more",
    [
        {"added": 1},
        {"changed": 1},
        {"removed": 1},
        {"errors": 1},
        {"full": True},
        {"state": "Failed"},
        {"state": "Interrupted"},
    ],
)
def test_a_run_with_something_to_tell_stays_for_the_days_that_are_set(server, more):
    run(server, YOUNG, **more)
    run(server, timedelta(0))

    assert retention.remove_old() == 0

    assert len(left()) == RunLine.objects.count() == 2


def test_a_run_that_found_nothing_goes_after_a_week_with_its_log(server):
    run(server, OVER_A_WEEK, pages=1, ignored=2)
    young, newest = run(server, UNDER_A_WEEK), run(server, timedelta(0))

    assert retention.remove_old() == 2

    assert left() == [young, newest]
    assert RunLine.objects.count() == 2


def test_the_newest_run_of_each_server_stays_however_old_it_is(server):
    other = Server.objects.create(name="School")
    run(server, 2 * OLD)
    newest = [run(other, OLD), run(server, OLD)]

    assert retention.remove_old() == 2

    assert left() == newest
    assert RunLine.objects.count() == 2


@pytest.mark.parametrize("state", ["Waiting", "Running"])
def test_a_run_that_is_not_over_never_goes_however_old_it_is(server, state):
    kept = run(server, 10 * OLD, state, added=1)
    newest = run(server, timedelta(0))

    assert retention.remove_old() == 0

    assert left() == [kept, newest]


def test_a_run_that_began_long_ago_and_ended_not_long_ago_stays(server):
    run(server, OLD, added=1)
    SyncRun.objects.update(finished_at=timezone.now())
    run(server, timedelta(0))

    assert retention.remove_old() == 0


def test_a_run_that_stays_is_no_end_for_those_after_it(server):
    for _ in range(3):
        run(server, YOUNG, added=1)
    for _ in range(3):
        run(server, OVER_A_WEEK)
    run(server, timedelta(0))

    assert retention.remove_old(rows=2) == 6

    assert [each.added for each in left()] == [1, 1, 1, 0]


# --- The ledger -----------------------------------------------------------------------------------


def test_of_a_device_the_newest_entry_and_the_newest_that_changed_something_stay(server):
    for decision in ("added", "kept", "changed", "repeated", "stale", "kept"):
        entry(server, "C1", decision)

    assert retention.remove_old() == 4

    assert decisions(server, "C1") == ["changed", "kept"]


@pytest.mark.parametrize("decision", CHANGED)
def test_what_changed_something_stays_until_something_else_did(server, decision):
    entry(server, "C1", decision)
    for other in UNCHANGED:
        entry(server, "C1", other, ago=timedelta(0))
    assert retention.remove_old() == 0

    for newer in CHANGED:
        entry(server, "C2", decision)
        entry(server, "C2", newer, ago=timedelta(0))
        LedgerEntry.objects.filter(serial_number="C1").delete()

    assert retention.remove_old() == len(CHANGED)
    assert decisions(server, "C2") == CHANGED


@pytest.mark.parametrize("decision", UNCHANGED)
def test_what_changed_nothing_goes_when_anything_followed(server, decision):
    entry(server, "C1", decision)
    assert retention.remove_old() == 0
    entry(server, "C1", "kept", ago=timedelta(0))

    cache.clear()  # the next day

    assert retention.remove_old() == 1
    assert decisions(server, "C1") == ["kept"]


def test_the_only_entry_of_a_device_stays_however_old_it_is(server):
    entry(server, "C1", "added", ago=10 * OLD)

    assert retention.remove_old() == 0


def test_young_entries_stay(server):
    for decision in ("added", "kept", "changed", "kept"):
        entry(server, "C1", decision, ago=YOUNG)

    assert retention.remove_old() == 0


def test_no_server_and_no_other_device_speaks_for_an_entry(server):
    other = Server.objects.create(name="School")
    entry(server, "C1", "added")
    entry(server, "C1", "kept")
    for elsewhere, serial in ((other, "C1"), (server, "C10"), (server, "C0"), (server, "C")):
        entry(elsewhere, serial, "removed")

    assert retention.remove_old() == 0

    entry(server, "C1", "removed")
    cache.clear()  # the next day
    assert retention.remove_old() == 2
    assert decisions(server, "C1") == decisions(other, "C1") == ["removed"]


def test_the_entries_of_a_run_outlive_it(server):
    made = run(server, OVER_A_WEEK)
    run(server, timedelta(0))
    kept = entry(server, "C1", "repeated", ago=OVER_A_WEEK)
    LedgerEntry.objects.update(run_id=made.pk)

    retention.remove_old()

    assert not SyncRun.objects.filter(pk=made.pk).exists()
    assert LedgerEntry.objects.get() == kept


# --- Uploads of tokens ----------------------------------------------------------------------------


def upload(server: Server, state: str, ago: timedelta, decided: timedelta | None) -> TokenUpload:
    now = timezone.now()
    return TokenUpload.objects.create(
        server=server,
        state=state,
        expires_at=now,
        uploaded_at=now - ago,
        uploaded_by="ada",
        decided_at=None if decided is None else now - decided,
    )


def test_uploads_that_were_decided_long_ago_go(server):
    upload(server, "Accepted", OLD, OLD)
    upload(server, "Refused", OLD, OLD)
    kept = [
        upload(server, "Checking", OLD, None),
        upload(server, "Refused", OLD, YOUNG),
        upload(server, "Accepted", YOUNG, YOUNG),
    ]

    assert retention.remove_old() == 2

    assert list(TokenUpload.objects.order_by("pk")) == kept


# --- How it goes ----------------------------------------------------------------------------------


def test_a_run_goes_on_where_the_last_one_was_stopped(server):
    for _ in range(7):
        entry(server, "C1", "kept")

    with steps.killed_before(LEDGER, after=2), pytest.raises(steps.Killed):
        retention.remove_old(rows=2)
    assert LedgerEntry.objects.count() == 3

    assert retention.remove_old(rows=2) == 2
    assert LedgerEntry.objects.count() == 1


def test_a_log_goes_though_the_worker_ended_right_after_its_run_went(server):
    run(server, OLD, lines=5)
    newest = run(server, timedelta(0))

    with steps.killed_before("DELETE FROM abm_runline", after=0), pytest.raises(steps.Killed):
        retention.remove_old()
    assert left() == [newest]
    assert RunLine.objects.count() == 6

    assert retention.remove_old() == 5
    assert RunLine.objects.get().run_id == newest.pk


def test_a_step_removes_so_many_rows_at_most_however_long_a_log_is(server):
    run(server, OLD, lines=9)
    run(server, timedelta(0))
    before = [SyncRun.objects.count() + RunLine.objects.count()]

    def count(execute, sql, params, many, context):
        done = execute(sql, params, many, context)
        if "DELETE FROM" in sql:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT (SELECT count(*) FROM abm_syncrun) + (SELECT count(*) FROM abm_runline)"
                )
                before.append(cursor.fetchone()[0])
        return done

    with connection.execute_wrapper(count):
        assert retention.remove_old(rows=4) == 10

    assert max(one - after for one, after in pairwise(before)) == 4


def test_a_run_removes_so_much_and_the_next_one_goes_on(server, monkeypatch):
    monkeypatch.setattr(walk, "MOST", 4)
    for _ in range(8):
        entry(server, "C1", "kept")

    assert retention.remove_old(rows=2) == 4
    assert retention.remove_old(rows=2) == 3


def test_a_stretch_of_the_assignment_goes_once_it_is_over_and_old(server):
    stretch(server, OLD)
    young, open_one = stretch(server, YOUNG), stretch(server, OLD, over=False)

    assert retention.remove_old() == 1

    assert list(Assigning.objects.order_by("pk")) == [young, open_one]


def test_a_step_is_one_statement_however_many_rows_it_removes(server):
    def statements(rows: int) -> int:
        for _ in range(rows):
            run(server, OLD)
            entry(server, "C1", "added")
            upload(server, "Refused", OLD, OLD)
            stretch(server, OLD)
        run(server, timedelta(0), lines=0)
        entry(server, "C1", "added", ago=timedelta(0))
        with CaptureQueriesContext(connection) as queries:
            assert retention.remove_old(rows=100) == 5 * rows
        SyncRun.objects.all().delete()
        LedgerEntry.objects.all().delete()
        return len(queries)

    # A step for each of the five tables, the lock and its end.
    assert statements(1) == statements(12) == 7


def test_what_stays_is_passed_once_a_day(server, another_day):
    for number in range(6):
        entry(server, f"C{number}", "added")
        run(server, YOUNG, added=1)
    run(server, timedelta(0))

    def steps_taken() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert retention.remove_old(rows=2) == 0
        return len(queries)

    first, second = steps_taken(), steps_taken()
    another_day()

    assert second == 7
    assert steps_taken() == first > second


def test_a_step_reads_what_it_removes_and_not_the_tables(server):
    long_ago = timezone.now() - OLD
    with connection.cursor() as cursor:
        # Many entries of few serial numbers, of which nearly all change nothing; and one server.
        cursor.execute(
            "INSERT INTO abm_ledgerentry (server_id, serial_number, at, source, decision, op_type)"
            " SELECT %s, 'C' || g %% 200, %s, 'feed',"
            " CASE WHEN g <= 200 THEN 'added' ELSE 'kept' END, '' FROM generate_series(1, 20000) g",
            [server.pk, long_ago],
        )
        cursor.execute(
            'INSERT INTO abm_syncrun (server_id, "full", state, asked_by, asked_at, finished_at)'
            " SELECT %s, g %% 2 = 0, 'Finished', '', %s, %s FROM generate_series(1, 10000) g",
            [server.pk, long_ago, long_ago],
        )
        cursor.execute(
            "INSERT INTO abm_runline (run_id, at, level, sentence)"
            " SELECT id, asked_at, 'info', '' FROM abm_syncrun, generate_series(1, 2)"
        )
        cursor.execute("ANALYZE abm_ledgerentry, abm_syncrun, abm_runline")

    with steps.plans("DELETE FROM") as plans:
        assert retention.remove_old(rows=1_000) == 3 * 9_999 + 20_000 - 2 * 200

    assert len(plans) > 50
    for table in ("abm_ledgerentry", "abm_syncrun", "abm_runline"):
        assert not [plan for plan in plans if f"Seq Scan on {table}" in plan]
    used = "\n".join(plans)
    assert "abm_ledger_of_serial" in used
    assert "abm_run_latest" in used


def test_every_hour_the_task_removes_what_is_old(server):
    hourly = [
        each["task"]
        for each in settings.CELERY_BEAT_SCHEDULE.values()
        if each["schedule"] == timedelta(hours=1)
    ]
    assert tasks.remove_old.name in hourly
    entry(server, "C1", "added")
    entry(server, "C1", "removed")

    tasks.remove_old()

    assert decisions(server, "C1") == ["removed"]


@pytest.mark.django_db(transaction=True)
def test_while_one_is_at_it_a_second_does_nothing(server):
    entry(server, "C1", "added")
    entry(server, "C1", "removed")
    second: list[int] = []

    def meanwhile(execute, sql, params, many, context):
        if LEDGER in sql and not second:
            steps.in_thread(lambda: second.append(retention.remove_old())).join()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(meanwhile):
        assert retention.remove_old() == 1

    assert second == [0]


@pytest.mark.django_db(transaction=True)
def test_it_works_as_the_worker_runs_it(server):
    """Prepared, by libpq, with every statement a transaction of its own."""
    run(server, OLD, lines=3)
    run(server, timedelta(0))
    entry(server, "C1", "added")
    entry(server, "C1", "removed")
    upload(server, "Refused", OLD, OLD)

    assert retention.remove_old() == 1 + 3 + 1 + 1
