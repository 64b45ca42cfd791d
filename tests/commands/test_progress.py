"""How far a command has come, counted when someone looks or, where it is large, by a worker."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from commands import progress, queue, restraint, tally, tasks
from commands.models import Command, QueueEntry, Reply, Tally
from mdm.accounts.rights import EVERYWHERE, Role, Where
from mdm.audit.actor import Actor
from mdm.models import Device, Group, GroupMember
from tests import machines
from tests.machines import Machine
from tests.people import signed_in, someone
from tests.steps import Meanwhile

pytestmark = pytest.mark.django_db

ADMIN = Actor.system("test")
State = QueueEntry.State
EXPIRED = {"domain": "MDM", "code": 1, "us_english_description": "It is locked."}


@pytest.fixture(autouse=True)
def server(db, settings):
    # No files are built, so nothing has a hash.
    storage = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": storage}}
    machines.install_authority()
    machines.install_push_certificate()


@pytest.fixture
def fleet() -> list[Machine]:
    return [Machine.enrolled(product_name="Mac15,3", os_version="15.1") for _ in range(4)]


@pytest.fixture(params=[1000, 2], ids=["small", "large"])
def large(request, monkeypatch) -> bool:
    """Commands to four receivers are counted when someone looks, or by a worker."""
    monkeypatch.setattr(tally, "LARGE", request.param)
    return request.param == 2


@pytest.fixture
def to_all(fleet, large) -> Command:
    ids = [machine.enrollment.pk for machine in fleet]
    return queue.enqueue(ADMIN, request_type="SecurityInfo", parameters={}, enrollments=ids).command


def counted() -> None:
    """The worker counts what is due, a day having passed."""
    Tally.objects.exclude(due_at=None).update(due_at=timezone.now())
    tasks.count_entries()


def answer(command: Command, machine: Machine, after: float, error: object = None) -> None:
    command.entries.filter(enrollment=machine.enrollment).update(
        state=State.ERROR if error else State.ACKNOWLEDGED,
        finished_at=command.created_at + timedelta(seconds=after),
    )
    Reply.objects.create(
        enrollment=machine.enrollment,
        command_uuid=command.uuid,
        status="Error" if error else "Acknowledged",
        error_chain=[error] if error else None,
        sealed_body=b"",
    )


def group_of(machine: Machine) -> Where:
    group = Group.objects.create(name="Few", rank=1)
    serial_number = Device.objects.get(enrollment=machine.enrollment).serial_number
    GroupMember.objects.create(group=group, serial_number=serial_number)
    return Where(groups=frozenset({group.pk}))


def test_states_pace_and_reasons_as_someone_sees_them(fleet, to_all):
    assert progress.summary(to_all, EVERYWHERE).pace is None
    for machine, seconds, error in zip(
        fleet[:3], (2, 90, 5), (None, EXPIRED, EXPIRED), strict=True
    ):
        answer(to_all, machine, seconds, error)
    counted()

    summary = progress.summary(to_all, EVERYWHERE)

    assert summary.states == {"Queued": 1, "Acknowledged": 1, "Error": 2}
    assert summary.pace is not None
    assert summary.pace.median == timedelta(seconds=5)
    ids = [machine.enrollment.pk for machine in fleet]
    assert [entry.enrollment_id for entry in summary.pace.slowest] == [ids[1], ids[2], ids[0]]
    assert summary.reasons == [("It is locked.", 2)]
    few = progress.summary(to_all, group_of(fleet[0]))
    assert few.states == {"Acknowledged": 1}
    assert few.pace is not None
    assert few.pace.median == timedelta(seconds=2)
    assert few.reasons == []
    page = signed_in(someone(Role.ADMIN)).get(f"/commands/{to_all.uuid}/").content.decode()
    assert "Half of the answers came within" in page
    assert "1 min 30 s" in page
    assert "It is locked." in page


def test_what_goes_on(fleet, to_all):
    assert progress.going_on(EVERYWHERE) == {to_all.pk: 4}
    answer(to_all, fleet[0], 1)
    counted()
    assert progress.going_on(EVERYWHERE) == {to_all.pk: 3}
    assert progress.going_on(group_of(fleet[0])) == {}
    Command.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert progress.going_on(EVERYWHERE) == {}


@pytest.mark.parametrize("large", [2], indirect=True)
def test_a_large_command_is_not_counted_by_who_looks(to_all):
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert progress.states([to_all]) == {to_all.pk: {"Queued": 4}}
        assert progress.going_on(EVERYWHERE) == {to_all.pk: 4}
    grouped = [query for query in asked.captured_queries if "GROUP BY" in query["sql"]]
    assert all("commands_tally" in query["sql"] for query in grouped)


@pytest.mark.parametrize("large", [2], indirect=True)
def test_who_acts_sees_at_once_what_it_did(fleet, large, to_all):
    queue.cancel_rest(ADMIN, to_all)
    assert progress.states([to_all]) == {to_all.pk: {"Cancelled": 4}}

    erase = queue.enqueue(
        Actor.person(someone(Role.ADMIN)),
        request_type="EraseDevice",
        parameters={"PIN": "123456"},
        enrollments=[machine.enrollment.pk for machine in fleet],
    ).command
    assert progress.states([erase]) == {erase.pk: {"Held": 4}}
    Command.objects.filter(pk=erase.pk).update(starts_at=timezone.now())
    restraint.release_due()
    assert progress.states([erase]) == {erase.pk: {"Queued": 4}}
    restraint.pause(ADMIN, "a look at it")
    tasks.count_entries()
    assert progress.states([erase]) == {erase.pk: {"Held": 4}}
    restraint.end_held(erase, "nobody wants it")
    assert progress.states([erase]) == {erase.pk: {"Cancelled": 4}}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("large", [2], indirect=True)
def test_what_was_counted_before_an_act_is_not_written_after_it(to_all):
    Tally.objects.update(due_at=timezone.now())
    with transaction.atomic():
        queue.cancel_rest(ADMIN, to_all)
        worker = Meanwhile(tasks.count_entries)
    worker.returned()
    assert progress.states([to_all]) == {to_all.pk: {"Cancelled": 4}}


@pytest.mark.parametrize("large", [2], indirect=True)
def test_one_that_cannot_be_counted_keeps_none_of_the_others_back(fleet, to_all):
    ids = [machine.enrollment.pk for machine in fleet]
    other = queue.enqueue(ADMIN, request_type="ProfileList", parameters={}, enrollments=ids).command
    QueueEntry.objects.update(state=State.EXPIRED)
    with connection.cursor() as cursor:
        cursor.execute(
            """CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE 'not this one'; END $$"""
        )
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE OF states ON commands_tally FOR EACH ROW"
            f" WHEN (OLD.command_id = {to_all.pk}) EXECUTE FUNCTION refuse()"
        )

    counted()

    assert Tally.objects.get(command=to_all).states == {"Queued": 4}
    assert Tally.objects.get(command=other).states == {"Expired": 4}


@pytest.mark.parametrize("large", [2], indirect=True)
def test_the_older_the_rarer_and_a_late_answer_is_counted_too(fleet, to_all):
    def due_in() -> timedelta | None:
        counted()
        found = Tally.objects.get(pk=to_all.pk)
        return found.due_at and round_to_seconds(found.due_at - found.counted_at)

    def round_to_seconds(span: timedelta) -> timedelta:
        return timedelta(seconds=round(span.total_seconds()))

    def old(**span: float) -> None:
        Command.objects.filter(pk=to_all.pk).update(created_at=timezone.now() - timedelta(**span))

    assert due_in() == timedelta(seconds=10)
    old(seconds=6000)
    assert due_in() == timedelta(seconds=60)
    old(days=3)
    assert due_in() == timedelta(minutes=5)
    to_all.entries.update(state=State.EXPIRED, finished_at=timezone.now())
    old(hours=100)
    assert due_in() == timedelta(hours=1)
    answer(to_all, fleet[0], 1)
    counted()
    assert progress.states([to_all]) == {to_all.pk: {"Expired": 3, "Acknowledged": 1}}
    old(days=101)
    assert due_in() is None
