"""What the core keeps no longer goes, step by step; what is still true of somebody stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from mdm import retention, tasks
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.checkin import end
from mdm.env import BadEnvironment, Env
from mdm.models import (
    CheckinMessage,
    Enrollment,
    EnrollmentPeriod,
    Escrow,
    Identity,
    Quarantine,
    Refusal,
)
from mdm.webhooks import subscriptions
from mdm.webhooks.models import Delivery, Event
from mdm.webhooks.outbox import emit
from tests import machines, steps
from tests.machines import Machine

pytestmark = pytest.mark.django_db

OLD = timedelta(days=settings.ENV.history_days + 1)
YOUNG = timedelta(days=settings.ENV.history_days - 1)
EVENTS = "DELETE FROM webhooks_event"


@pytest.fixture(autouse=True)
def server(db):
    cache.clear()
    machines.install_authority()
    machines.install_push_certificate()


def age(rows, moment: str, by: timedelta = OLD) -> None:
    rows.update(**{moment: F(moment) - by})


def another_day() -> None:
    """The day's walk begins anew."""
    cache.clear()


def events(count: int) -> None:
    for number in range(count):
        emit("webhook.test", str(number), {"by": "test"})


def kinds() -> list[str]:
    return list(CheckinMessage.objects.order_by("id").values_list("message_type", flat=True))


def test_events_go_after_a_month_with_their_deliveries(settings):
    webhook, _ = subscriptions.create(
        Actor.system("test"), name="x", url="https://hook.example/", kinds=["device.*"]
    )
    events(4)
    for event in Event.objects.all():
        Delivery.objects.create(subscription=webhook, event=event, at=event.at)
    # An event stays while a delivery has it.
    age(Event.objects.filter(subject="3"), "at", timedelta(days=31))
    for model, which in ((Event, "subject"), (Delivery, "event__subject")):
        age(model.objects.filter(**{f"{which}__in": "01"}), "at", timedelta(days=31))
        age(model.objects.filter(**{which: "2"}), "at", timedelta(days=29))

    assert retention.remove_old() == 4

    for model, which in ((Event, "subject"), (Delivery, "event__subject")):
        assert set(model.objects.values_list(which, flat=True)) == {"2", "3"}


def test_the_days_that_are_set_count(settings):
    events(1)
    age(Event.objects, "at", timedelta(days=8))
    assert retention.remove_old() == 0

    settings.ENV = replace(settings.ENV, history_days=7)

    assert retention.remove_old() == 1


def test_the_setting_is_a_number_of_days_and_a_week_at_least():
    assert Env.load({}).history_days == 400
    assert Env.load({"GUARD_HISTORY_DAYS": "7"}).history_days == 7
    for wrong in ("6", "0", "-400", "forty", "40000"):
        with pytest.raises(BadEnvironment, match="GUARD_HISTORY_DAYS"):
            Env.load({"GUARD_HISTORY_DAYS": wrong})


def test_old_hours_of_refusals_go():
    hour = timezone.now()
    Refusal.objects.create(reason="a", hour=hour - OLD, count=1, last_at=hour - OLD)
    Refusal.objects.create(reason="a", hour=hour - YOUNG, count=1, last_at=hour - YOUNG)

    retention.remove_old()

    assert Refusal.objects.get().hour == hour - YOUNG


def test_of_old_messages_the_last_of_each_kind_stays():
    machine, other = Machine.enrolled(), Machine.enrolled()
    for _ in range(2):
        machine.token_update()
    last = CheckinMessage.objects.latest("id")
    age(CheckinMessage.objects, "received_at")

    assert retention.remove_old() == 2

    assert CheckinMessage.objects.filter(pk=last.pk).exists()
    for each in (machine, other):
        left = CheckinMessage.objects.filter(enrollment=each.enrollment)
        assert sorted(left.values_list("message_type", flat=True)) == [
            "Authenticate",
            "TokenUpdate",
        ]


def test_an_old_message_with_a_young_successor_goes_on_the_day_it_is_looked_at():
    machine = Machine.enrolled()
    age(CheckinMessage.objects, "received_at")
    assert retention.remove_old() == 0
    machine.token_update()

    assert retention.remove_old() == 0  # the day's walk has passed it
    another_day()
    assert retention.remove_old() == 1
    assert kinds() == ["Authenticate", "TokenUpdate"]


def test_young_messages_stay():
    machine = Machine.enrolled()
    machine.token_update()
    age(CheckinMessage.objects, "received_at", YOUNG)

    assert retention.remove_old() == 0


def escrowed(state: str | None = None) -> Enrollment:
    """An enrollment with an escrowed token, whose management ended long ago in this state."""
    machine = Machine.enrolled()
    machine.token_update(UnlockToken=b"x" * 40)
    if state:
        end(machine.enrollment.pk, Enrollment.State(state), at=timezone.now(), record=None)
    age(Escrow.objects.filter(enrollment=machine.enrollment), "received_at")
    return machine.enrollment


@pytest.mark.parametrize("state", ["CheckedOut", "Erased", "Released"])
def test_the_escrow_of_an_enrollment_that_ended_long_ago_goes(state):
    enrollment = escrowed(state)
    age(EnrollmentPeriod.objects, "ended_at")

    assert retention.remove_old() == 1

    assert not enrollment.escrow.exists()


def test_the_escrow_of_an_enrollment_that_ended_not_long_ago_stays():
    enrollment = escrowed("CheckedOut")
    age(EnrollmentPeriod.objects, "ended_at", YOUNG)

    assert retention.remove_old() == 0

    assert enrollment.escrow.exists()


def test_the_escrow_of_a_live_enrollment_never_goes_however_old_it_is():
    enrollment = escrowed()
    age(EnrollmentPeriod.objects, "began_at")
    # As where an end was taken back: the state counts, not the moment alone.
    EnrollmentPeriod.objects.update(ended_at=timezone.now() - OLD)

    assert retention.remove_old() == 0

    assert enrollment.escrow.exists()


@pytest.mark.django_db(transaction=True)
def test_the_escrow_of_an_enrollment_that_comes_back_just_now_stays():
    machine = Machine.enrolled()
    machine.token_update(UnlockToken=b"x" * 40)
    machine.check_in("CheckOut", Topic=machine.topic)
    age(EnrollmentPeriod.objects, "ended_at")
    removed: list[int] = []

    with transaction.atomic():
        assert machine.token_update().status == 200
        steps.in_thread(lambda: removed.append(retention.remove_old())).join()

    assert removed == [0]
    assert machine.enrollment.state == Enrollment.State.ENROLLED
    assert Escrow.objects.exists()


def test_a_step_reads_what_it_removes_and_not_the_table():
    machine = Machine.enrolled()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO mdm_checkinmessage (enrollment_id, message_type, received_at, body)"
            " SELECT %s + g / 20, 'TokenUpdate', now() - interval '1000 days', ''"
            " FROM generate_series(1, 20000) g",
            [machine.enrollment.pk],
        )
        cursor.execute("ANALYZE mdm_checkinmessage")

    with steps.plans("DELETE FROM mdm_checkinmessage") as plans:
        retention.remove_old(rows=1_000)

    assert len(plans) == 21
    assert not [plan for plan in plans if "Seq Scan" in plan]


def test_the_record_of_who_did_what_and_who_may_speak_stays():
    machine = Machine.enrolled()
    machine.check_in("CheckOut", Topic=machine.topic)
    AuditEvent.objects.create(at=timezone.now() - OLD, action="test")
    Quarantine.objects.create(
        enrollment_key="k",
        identity_sha256=b"i",
        certificate=b"",
        reason="",
        body=b"",
        state="Rejected",
        first_at=timezone.now() - OLD,
        last_at=timezone.now() - OLD,
    )
    age(Identity.objects, "issued_at")
    age(EnrollmentPeriod.objects, "ended_at")
    kept = (AuditEvent, Identity, EnrollmentPeriod, Enrollment, Quarantine)
    before = [model.objects.count() for model in kept]

    retention.remove_old()

    assert [model.objects.count() for model in kept] == before
    assert 0 not in before


def test_a_run_goes_on_where_the_last_one_was_stopped():
    events(7)
    age(Event.objects, "at")

    with steps.killed_before(EVENTS, after=2), pytest.raises(steps.Killed):
        retention.remove_old(rows=2)

    assert Event.objects.count() == 3
    assert retention.remove_old(rows=2) == 3
    assert not Event.objects.exists()


def test_a_run_removes_so_much_and_the_next_one_goes_on(monkeypatch):
    monkeypatch.setattr(retention, "MOST", 4)
    events(7)
    age(Event.objects, "at")

    assert retention.remove_old(rows=2) == 4
    assert retention.remove_old(rows=2) == 3


def test_a_step_is_one_statement_however_many_rows_it_removes():
    def statements(rows: int) -> int:
        events(rows)
        age(Event.objects, "at")
        with CaptureQueriesContext(connection) as queries:
            assert retention.remove_old(rows=rows + 1) == rows
        return len(queries)

    assert statements(1) == statements(40) == len(retention.TABLES) + 2


def test_every_hour_the_task_removes_what_is_old():
    hourly = [
        each["task"]
        for each in settings.CELERY_BEAT_SCHEDULE.values()
        if each["schedule"] == timedelta(hours=1)
    ]
    assert tasks.remove_old.name in hourly
    events(1)
    age(Event.objects, "at")

    tasks.remove_old()

    assert not Event.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_while_one_is_at_it_a_second_does_nothing():
    events(2)
    age(Event.objects, "at")
    second: list[int] = []

    def meanwhile(execute, sql, params, many, context):
        if EVENTS in sql and not second:
            steps.in_thread(lambda: second.append(retention.remove_old())).join()
        return execute(sql, params, many, context)

    with connection.execute_wrapper(meanwhile):
        assert retention.remove_old() == 2

    assert second == [0]
    events(1)
    age(Event.objects, "at")
    assert retention.remove_old() == 1
