"""Commands that were over long ago go with their answers; what is not over stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from commands import consequences, queue, retention, tasks
from commands.models import Approval, Command, Payload, QueueEntry, Reply
from mdm.accounts.models import User
from mdm.audit.actor import Actor
from mdm.models import Enrollment
from mdm.secrets import seal
from tests import machines, steps
from tests.machines import Machine

pytestmark = pytest.mark.django_db

ADMIN = Actor.system("test")
OLD = timedelta(days=settings.ENV.history_days + 1)
YOUNG = timedelta(days=settings.ENV.history_days - 1)
ENTRIES = "DELETE FROM commands_queueentry"
KEPT = f"Older than {settings.ENV.history_days} days is not kept."


@pytest.fixture(autouse=True)
def server(db):
    cache.clear()
    machines.install_authority()
    machines.install_push_certificate()


def ask(*asked: Machine, request_type="SecurityInfo", **more) -> Command:
    return queue.enqueue(
        ADMIN,
        request_type=request_type,
        parameters={},
        enrollments=[machine.enrollment.pk for machine in asked],
        **more,
    ).command


def answered(machine: Machine, request_type="SecurityInfo") -> Command:
    command = ask(machine, request_type=request_type)
    machine.idle()
    assert machine.connect("Acknowledged", command.uuid).status == 200
    return command


def age(by: timedelta = OLD) -> None:
    """As if all that has happened so far had happened so long ago."""
    Command.objects.update(created_at=F("created_at") - by)
    QueueEntry.objects.update(
        created_at=F("created_at") - by,
        finished_at=F("finished_at") - by,
        sent_at=F("sent_at") - by,
    )
    Reply.objects.update(received_at=F("received_at") - by, drained_at=F("drained_at") - by)


def counts() -> list[int]:
    return [model.objects.count() for model in (Command, Payload, QueueEntry, Reply)]


def test_an_old_finished_command_goes_with_its_answer_and_its_bytes():
    answered(Machine.enrolled())
    consequences.drain()
    age()
    assert counts() == [1, 1, 1, 1]

    assert retention.remove_old() == 2

    assert counts() == [0, 0, 0, 0]


def test_an_approval_goes_with_its_command():
    command = answered(Machine.enrolled())
    Approval.objects.create(command=command, because="too many", expires_at=timezone.now())
    consequences.drain()
    age()

    retention.remove_old()

    assert not Command.objects.exists()
    assert not Approval.objects.exists()


def test_a_young_finished_command_stays():
    answered(Machine.enrolled())
    consequences.drain()
    age(YOUNG)

    assert retention.remove_old() == 0

    assert counts() == [1, 1, 1, 1]


def test_an_old_command_that_was_finished_not_long_ago_stays():
    machine = Machine.enrolled()
    command = ask(machine)
    age()
    machine.idle()
    machine.connect("Acknowledged", command.uuid)
    consequences.drain()

    assert retention.remove_old() == 0

    assert counts() == [1, 1, 1, 1]


@pytest.mark.parametrize("state", ["Queued", "Sent", "NotNow"])
def test_what_is_not_finished_never_goes_however_old_it_is(state):
    machine = Machine.enrolled()
    command = ask(machine)
    if state != "Queued":
        machine.idle()
    if state == "NotNow":
        machine.connect("NotNow", command.uuid)
    age(10 * OLD)

    assert retention.remove_old() == 0

    assert QueueEntry.objects.get().state == state
    assert machine.idle().plist["CommandUUID"] == str(command.uuid).upper()


def test_what_nobody_answered_goes_when_it_was_cancelled_or_expired_long_ago():
    machine = Machine.enrolled()
    cancelled = ask(machine, request_type="ProfileList")
    ask(machine, expires_in=timedelta(hours=1))
    queue.cancel(ADMIN, QueueEntry.objects.get(command=cancelled).pk)
    queue.expire(timezone.now() + timedelta(hours=2))
    age()

    retention.remove_old()

    assert counts() == [0, 0, 0, 0]


def test_a_command_with_one_entry_left_stays_with_the_bytes_of_that_entry():
    done, waiting = Machine.enrolled(), Machine.enrolled()
    command = ask(done, waiting)
    done.idle()
    done.connect("Acknowledged", command.uuid)
    consequences.drain()
    # As where the two had been of different kinds: a payload of which no entry is left.
    other = Payload.objects.create(command=command, sealed=seal(queue.COMMAND, b"-"))
    QueueEntry.objects.filter(enrollment=done.enrollment).update(payload=other)
    age()

    assert retention.remove_old() == 1

    assert Command.objects.get() == command
    assert QueueEntry.objects.get().enrollment == waiting.enrollment
    assert Payload.objects.exclude(pk=other.pk).count() == Payload.objects.count() == 1
    assert waiting.idle().command == "SecurityInfo"


def test_a_young_command_stays_though_no_entry_refers_to_it():
    ask(Machine.enrolled())
    QueueEntry.objects.all().delete()
    age(YOUNG)

    assert retention.remove_old() == 0

    assert counts() == [1, 1, 0, 0]


def test_an_answer_that_was_not_applied_yet_stays_with_its_entry():
    answered(Machine.enrolled())
    age()

    assert retention.remove_old() == 0
    assert counts() == [1, 1, 1, 1]

    assert consequences.drain() == 1
    cache.clear()  # the next day
    retention.remove_old()
    assert counts() == [0, 0, 0, 0]


def test_a_second_answer_to_a_removed_command_changes_nothing():
    machine = Machine.enrolled()
    command = answered(machine)
    consequences.drain()
    age()
    retention.remove_old()
    before = Enrollment.objects.values().get()

    again = machine.connect("Acknowledged", command.uuid)

    assert (again.status, again.body) == (200, b"")
    assert counts() == [0, 0, 0, 0]
    assert Enrollment.objects.values().get() == before


def test_a_run_goes_on_where_the_last_one_was_stopped():
    machine = Machine.enrolled()
    for _ in range(5):
        answered(machine)
    consequences.drain()
    age()
    young = answered(machine)
    consequences.drain()

    with steps.killed_before(ENTRIES, after=2), pytest.raises(steps.Killed):
        retention.remove_old(rows=2)
    assert counts() == [6, 6, 2, 2]

    assert retention.remove_old(rows=2) == 1 + 5
    assert counts() == [1, 1, 1, 1]
    assert Command.objects.get() == young


def test_a_step_is_one_statement_however_many_rows_it_removes():
    def statements(rows: int) -> int:
        machine = Machine.enrolled()
        for _ in range(rows):
            answered(machine)
        consequences.drain()
        age()
        with CaptureQueriesContext(connection) as queries:
            assert retention.remove_old(rows=100) == 2 * rows
        return len(queries)

    # A step for each of the two tables, the lock and its end.
    assert statements(1) == statements(12) == 4


def test_a_step_reads_what_it_removes_and_not_the_tables():
    command = answered(Machine.enrolled())
    entry = QueueEntry.objects.get()
    with connection.cursor() as cursor:
        # A few commands to very many: the worst there is for estimating how rare an entry is.
        for _ in range(4):
            cursor.execute(
                "INSERT INTO commands_queueentry (enrollment_id, command_id, command_uuid, state,"
                " payload_id, finished_at, priority) SELECT g, %s, %s, 'Acknowledged', %s, now(), 0"
                " FROM generate_series(1000, 6000) g",
                [command.pk, command.uuid, entry.payload_id],
            )
            cursor.execute(
                "INSERT INTO commands_reply (enrollment_id, command_uuid, status, sealed_body,"
                " drained_at) SELECT g, %s, 'Acknowledged', '', now()"
                " FROM generate_series(1000, 6000) g",
                [command.uuid],
            )
            command = ask(Machine.enrolled())
            entry = QueueEntry.objects.get(command=command)
        cursor.execute("ANALYZE commands_queueentry, commands_reply, commands_command")
    consequences.drain()
    age()

    with steps.plans("commands_queueentry") as plans:
        assert retention.remove_old(rows=1_000) > 20_000

    assert len(plans) > 20
    for table in ("commands_queueentry", "commands_reply"):
        assert not [plan for plan in plans if f"Seq Scan on {table}" in plan]


def test_every_hour_the_task_removes_what_is_old():
    hourly = [
        each["task"]
        for each in settings.CELERY_BEAT_SCHEDULE.values()
        if each["schedule"] == timedelta(hours=1)
    ]
    assert tasks.remove_old.name in hourly
    answered(Machine.enrolled())
    consequences.drain()
    age()

    tasks.remove_old()

    assert counts() == [0, 0, 0, 0]


@pytest.mark.django_db(transaction=True)
def test_while_one_is_at_it_a_second_does_nothing():
    answered(Machine.enrolled())
    consequences.drain()
    age()
    second: list[int] = []

    def meanwhile(execute, sql, params, many, context):
        if ENTRIES in sql:
            steps.in_thread(lambda: second.append(retention.remove_old())).join()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(meanwhile):
        assert retention.remove_old() == 2

    assert second == [0]


@pytest.mark.django_db(transaction=True)
def test_an_expired_command_that_is_answered_at_this_very_moment_stays():
    machine = Machine.enrolled()
    command = ask(machine, expires_in=timedelta(hours=1))
    machine.idle()
    queue.expire(timezone.now() + timedelta(hours=2))
    age()

    with transaction.atomic():
        machine.connect("Acknowledged", command.uuid)
        removed = steps.Meanwhile(retention.remove_old)

    assert removed.returned() == 0
    assert QueueEntry.objects.get().state == "Acknowledged"
    assert counts() == [1, 1, 1, 1]


@pytest.mark.django_db(transaction=True)
def test_no_enrollment_is_waited_for():
    machine = Machine.enrolled()
    answered(machine)
    consequences.drain()
    age()
    removed: list[int] = []

    with transaction.atomic():
        Enrollment.objects.select_for_update().get(pk=machine.enrollment.pk)
        steps.in_thread(lambda: removed.append(retention.remove_old())).join()

    assert removed == [2]


def test_pages_say_why_older_commands_are_missing(settings):
    storage = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": storage}}
    done, waiting = Machine.enrolled(), Machine.enrolled()
    command = ask(done, waiting)
    person = Client()
    person.force_login(User.objects.create_superuser("ada", "ada@example.com", "-"))
    job, history = (
        f"/commands/{command.uuid}/",
        f"/devices/{done.enrollment.device_id}/commands/",
    )

    assert KEPT in person.get(history).content.decode()
    assert KEPT in person.get("/commands/").content.decode()
    assert KEPT not in person.get(job).content.decode()
    age()
    assert KEPT in person.get(job).content.decode()
