"""Whoever has something to fetch is woken: not twice, not never, and not behind dead tokens."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
import redis
from celery import Celery, current_app
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries as Count
from pytest_django import Settings

from lab.apns import FaultKind
from mdm import tasks
from mdm.models import Enrollment, PushCertificate
from mdm.push import claims
from mdm.push import wake as wake_module
from mdm.push.apns import Limits
from mdm.push.claims import DEBOUNCE, LEASE
from mdm.push.courier import courier
from mdm.push.verdict import Fate, Verdict
from mdm.push.wake import PROBE_EVERY, wake, wake_due
from tests.mdm.push.conftest import Enroll
from tests.mdm.push.devices import MAGIC, token_of
from tests.mdm.push.service import Service

State = Enrollment.State
committed = pytest.mark.django_db(transaction=True)


def seconds_from_now(enrollment: Enrollment) -> float:
    enrollment.refresh_from_db()
    assert enrollment.wake_at is not None
    return (enrollment.wake_at - timezone.now()).total_seconds()


def make_due(*enrollments: Enrollment) -> None:
    ids = [enrollment.pk for enrollment in enrollments]
    past = timezone.now() - timedelta(seconds=1)
    Enrollment.objects.filter(pk__in=ids).update(wake_at=past)


def wake_at(enrollment: Enrollment) -> object:
    return Enrollment.objects.values_list("wake_at", flat=True).get(pk=enrollment.pk)


# --- Whom to wake ---------------------------------------------------------------------------------


def test_one_statement_wakes_any_number(enroll: Enroll, django_assert_num_queries: Count) -> None:
    enrollments = [enroll(wake_at=None, wake_attempts=3) for _ in range(5)]
    with django_assert_num_queries(1):
        assert wake([e.pk for e in enrollments]) == 5
    assert all(seconds_from_now(enrollment) <= 0 for enrollment in enrollments)
    assert enrollments[0].wake_attempts == 0


def test_many_are_woken_at_the_rate_that_is_set(enroll: Enroll, settings: Settings) -> None:
    settings.ENV = replace(settings.ENV, wake_rate=2)
    enrollments = [enroll(wake_at=None) for _ in range(5)]
    wake([e.pk for e in enrollments])
    times = [wake_at(enrollment) for enrollment in enrollments]
    assert [(at - times[0]).total_seconds() // 1 for at in times] == [0, 0, 1, 1, 2]


def test_a_device_pushed_to_a_moment_ago_waits_out_the_debounce(enroll: Enroll) -> None:
    enrollment = enroll(wake_at=None, pushed_at=timezone.now())
    wake([enrollment.pk])
    enrollment.refresh_from_db()
    assert enrollment.wake_at == enrollment.pushed_at + DEBOUNCE


@pytest.mark.parametrize("ago", [timedelta(0), timedelta(days=1)])
def test_every_wish_has_a_time_of_its_own(enroll: Enroll, ago: timedelta) -> None:
    enrollment = enroll(wake_at=None, pushed_at=timezone.now() - ago)
    seen = []
    for _ in range(5):
        wake([enrollment.pk])
        seen.append(wake_at(enrollment))
    assert all(earlier < later for earlier, later in pairwise(seen))


@pytest.mark.parametrize("state", [State.CHECKED_OUT, State.ERASED, State.RELEASED])
def test_an_enrollment_that_has_ended_is_not_woken(enroll: Enroll, state: State) -> None:
    enrollment = enroll(state=state, wake_at=None)
    assert wake([enrollment.pk]) == 0
    assert wake_at(enrollment) is None


def test_a_refused_token_is_left_alone_until_the_next_token_update(enroll: Enroll) -> None:
    now = timezone.now()
    enrollment = enroll(wake_at=None, push_problem="410 Unregistered", push_problem_at=now)
    assert wake([enrollment.pk]) == 0
    assert wake([enrollment.pk], refused_too=True) == 1
    later = now + timedelta(seconds=1)
    Enrollment.objects.filter(pk=enrollment.pk).update(token_updated_at=later)
    assert wake([enrollment.pk]) == 1


def test_nobody_is_woken_with_no_statement(db: None, django_assert_num_queries: Count) -> None:
    with django_assert_num_queries(0):
        assert wake([]) == 0


# --- The task -------------------------------------------------------------------------------------


@pytest.fixture
def queue() -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.delete("celery")
    yield client
    client.delete("celery")


@committed
def test_a_transaction_publishes_one_task_when_it_commits(
    enroll: Enroll, queue: redis.Redis
) -> None:
    first, second = enroll(), enroll()
    with transaction.atomic():
        wake([first.pk])
        with transaction.atomic():
            wake([second.pk])
        assert queue.llen("celery") == 0
    assert queue.llen("celery") == 1
    message = json.loads(queue.lindex("celery", 0))
    assert message["headers"]["task"] == tasks.wake_due.name


@committed
def test_a_transaction_that_rolls_back_publishes_nothing(
    enroll: Enroll, queue: redis.Redis
) -> None:
    enrollment = enroll(wake_at=None)
    with transaction.atomic():
        wake([enrollment.pk])
        transaction.set_rollback(True)
    assert queue.llen("celery") == 0
    assert wake_at(enrollment) is None


@committed
def test_a_broker_that_is_down_does_not_fail_the_request(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    enrollment = enroll(wake_at=None)
    usual = current_app._get_current_object()
    Celery(
        broker="redis://127.0.0.1:1/0",
        broker_transport_options=settings.CELERY_BROKER_TRANSPORT_OPTIONS,
        set_as_current=True,
    )
    try:
        with transaction.atomic():
            wake([enrollment.pk])
    finally:
        usual.set_current()
    tasks.wake_due()
    assert service.counts == {"200": 1}


# --- What a push leads to -------------------------------------------------------------------------


def test_a_due_enrollment_is_pushed_to_for_seven_days_and_again_in_an_hour(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    enrollment = enroll(push_problem="429", push_problem_at=timezone.now())
    assert wake_due() == 1
    held = service.held(token_of(enrollment))
    assert held is not None
    assert held.magic == MAGIC
    assert held.expires == pytest.approx(time.time() + 7 * 86400, abs=600)
    assert 3000 < seconds_from_now(enrollment) < 4400
    assert enrollment.wake_attempts == 1
    assert enrollment.pushed_at is not None
    assert (enrollment.push_problem, enrollment.push_problem_at) == ("", None)


def test_nobody_is_pushed_to_before_the_time(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    enroll(wake_at=timezone.now() + timedelta(hours=1))
    enroll(wake_at=None)
    assert wake_due() == 0
    assert not service.counts


def test_a_device_awaiting_its_token_update_keeps_the_wish(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    enrollment = enroll(state=State.AUTHENTICATED)
    assert wake_due() == 0
    assert wake_at(enrollment) is not None


@pytest.mark.parametrize("fields", [{"state": State.CHECKED_OUT}, {"sealed_push_token": None}])
def test_whoever_cannot_be_pushed_to_is_due_no_more(
    enroll: Enroll,
    push_certificate: PushCertificate,
    service: Service,
    fields: dict[str, object],
) -> None:
    enrollment = enroll(**fields)
    assert wake_due() == 1
    assert wake_at(enrollment) is None
    assert not service.counts


def test_a_410_newer_than_the_token_ends_the_pushes(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    enrollment = enroll()
    service.fault(FaultKind.UNREGISTERED)
    wake_due()
    enrollment.refresh_from_db()
    assert enrollment.push_problem == "410 Unregistered"
    assert enrollment.push_problem_at is not None
    assert enrollment.wake_at is None


def test_a_410_older_than_the_token_is_tried_again(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    enrollment = enroll()
    assert enrollment.token_updated_at is not None
    before = int(enrollment.token_updated_at.timestamp() * 1000) - 60_000
    service.fault(FaultKind.UNREGISTERED, timestamp=before)
    wake_due()
    assert seconds_from_now(enrollment) < 60
    make_due(enrollment)
    wake_due()
    enrollment.refresh_from_db()
    assert enrollment.push_problem == ""
    assert enrollment.pushed_at is not None


def test_an_unknown_token_is_left_alone(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    enrollment = enroll(away=True)
    wake_due()
    enrollment.refresh_from_db()
    assert (enrollment.push_problem, enrollment.wake_at) == ("400 BadDeviceToken", None)


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (FaultKind.TOO_MANY_REQUESTS, "429"),
        (FaultKind.UNAVAILABLE, "503 ServiceUnavailable"),
        (FaultKind.INTERNAL_ERROR, "500 InternalServerError"),
        (FaultKind.RESET, "No answer from APNs: the stream was reset"),
    ],
)
def test_a_push_that_failed_backs_off_and_is_then_made_up_for(
    enroll: Enroll,
    push_certificate: PushCertificate,
    service: Service,
    kind: FaultKind,
    problem: str,
) -> None:
    enrollment = enroll()
    service.fault(kind)
    wake_due()
    assert 5 < seconds_from_now(enrollment) < 30
    assert enrollment.push_problem == problem
    first_at = enrollment.push_problem_at
    Enrollment.objects.filter(pk=enrollment.pk).update(
        push_problem_at=timezone.now() - timedelta(minutes=5)
    )
    make_due(enrollment)
    service.fault(kind)
    wake_due()
    assert 200 < seconds_from_now(enrollment) < 400
    assert first_at is not None
    assert enrollment.push_problem_at < first_at
    make_due(enrollment)
    wake_due()
    enrollment.refresh_from_db()
    assert enrollment.push_problem == ""
    assert enrollment.wake_attempts == 1


def test_sixty_dead_tokens_in_front_do_not_delay_the_living(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    earlier = timezone.now() - timedelta(hours=1)
    dead = [enroll(wake_at=earlier) for _ in range(60)]
    for kind, some in zip(
        (FaultKind.TOO_MANY_REQUESTS, FaultKind.UNAVAILABLE, FaultKind.RESET),
        (dead[:20], dead[20:40], dead[40:]),
        strict=True,
    ):
        for enrollment in some:
            service.fault(kind, token=token_of(enrollment), count=None)
    living = [enroll() for _ in range(60)]
    wake_due(limit=20)
    assert all(service.held(token_of(enrollment)) for enrollment in living)
    assert all(seconds_from_now(enrollment) > 0 for enrollment in dead)


def test_tokens_that_never_answer_leave_room_for_the_others(
    enroll: Enroll,
    push_certificate: PushCertificate,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wake_module, "LIMITS", Limits(deadline=2))
    silent = [enroll(wake_at=timezone.now() - timedelta(hours=1)) for _ in range(5)]
    for enrollment in silent:
        service.fault(FaultKind.SILENCE, token=token_of(enrollment), count=None)
    living = [enroll() for _ in range(20)]
    wake_due(limit=6)
    assert all(service.held(token_of(enrollment)) for enrollment in living)
    pushed = [
        enrollment.pushed_at
        for enrollment in Enrollment.objects.filter(pk__in=[enrollment.pk for enrollment in living])
    ]
    failed = Enrollment.objects.filter(pk__in=[e.pk for e in silent])
    assert {e.push_problem for e in failed} == {"No answer from APNs: no answer within 2 s"}
    assert max(pushed) < min(e.push_problem_at for e in failed)


# --- What no push can succeed without -------------------------------------------------------------


def test_a_certificate_that_apple_refuses_is_shown_and_asked_about_now_and_then(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    for _ in range(10):
        enroll()
    service.fault(FaultKind.FORBIDDEN, count=None)
    wake_due(limit=4)
    push_certificate.refresh_from_db()
    assert push_certificate.problem == "403 BadCertificate"
    assert service.counts == {"403 BadCertificate": 4}
    assert wake_due() == 0
    _let_probe(push_certificate)
    wake_due()
    assert service.counts == {"403 BadCertificate": 5}
    service.clear_faults()
    _let_probe(push_certificate)
    Enrollment.objects.update(wake_at=timezone.now() - timedelta(seconds=1))
    wake_due()
    push_certificate.refresh_from_db()
    assert (push_certificate.problem, push_certificate.problem_at) == ("", None)
    assert service.counts["200"] == 10


def _let_probe(push_certificate: PushCertificate) -> None:
    PushCertificate.objects.filter(pk=push_certificate.pk).update(
        problem_at=timezone.now() - PROBE_EVERY - timedelta(seconds=1)
    )


def test_a_service_that_is_away_loses_nothing(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    enrollments = [enroll() for _ in range(3)]
    service.hang_up()
    wake_due()
    push_certificate.refresh_from_db()
    assert push_certificate.problem.startswith("APNs cannot be reached: ")
    assert all(0 < seconds_from_now(enrollment) < 30 for enrollment in enrollments)
    assert enrollments[0].push_problem.startswith("APNs cannot be reached: ")
    service.listen()
    _let_probe(push_certificate)
    make_due(*enrollments)
    wake_due()
    assert service.counts == {"200": 3}


def test_without_a_push_certificate_the_wish_is_kept_and_the_reason_shown(
    enroll: Enroll, service: Service
) -> None:
    enrollment = enroll()
    assert wake_due() == 1
    assert 5 < seconds_from_now(enrollment) < 30
    assert enrollment.push_problem == "There is no push certificate"


def test_a_device_of_another_topic_is_not_pushed_to_and_the_reason_shown(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    enrollment = enroll(topic="com.apple.mgmt.External.another")
    wake_due()
    assert seconds_from_now(enrollment) > 5
    assert "topic" in enrollment.push_problem
    assert not service.counts


def test_a_key_that_cannot_be_opened_is_shown_with_the_certificate(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    enrollment = enroll()
    PushCertificate.objects.update(sealed_key=b"\x01" + bytes(40))
    wake_due()
    push_certificate.refresh_from_db()
    assert "GUARD_ENCRYPTION_KEYS" in push_certificate.problem
    assert seconds_from_now(enrollment) > 5


# --- Several at once ------------------------------------------------------------------------------


def test_a_claim_whose_worker_died_is_found_again(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    enrollment = enroll()
    assert len(claims.claim(10)) == 1
    assert claims.claim(10) == []
    assert 0 < seconds_from_now(enrollment) <= LEASE.total_seconds()
    make_due(enrollment)
    wake_due()
    assert service.counts == {"200": 1}


def test_something_new_during_a_push_is_not_lost(enroll: Enroll) -> None:
    enrollment = enroll()
    (claimed,) = claims.claim(1)
    wake([enrollment.pk])
    wanted = wake_at(enrollment)
    claims.settle([(claimed, Verdict(Fate.ACCEPTED, delay=timedelta(hours=1)))])
    enrollment.refresh_from_db()
    assert enrollment.wake_at == wanted
    assert enrollment.wake_attempts == 0
    assert enrollment.pushed_at is not None


def test_a_device_that_has_already_fetched_everything_is_not_pushed_to_again(
    enroll: Enroll,
) -> None:
    enrollment = enroll()
    (claimed,) = claims.claim(1)
    Enrollment.objects.filter(pk=enrollment.pk).update(wake_at=None)
    claims.settle([(claimed, Verdict(Fate.ACCEPTED, delay=timedelta(hours=1)))])
    assert wake_at(enrollment) is None


def test_a_refusal_of_the_token_before_a_token_update_says_nothing_about_the_new_one(
    enroll: Enroll,
) -> None:
    enrollment = enroll()
    (claimed,) = claims.claim(1)
    now = timezone.now()
    Enrollment.objects.filter(pk=enrollment.pk).update(token_updated_at=now, wake_at=now)
    claims.settle([(claimed, Verdict(Fate.REFUSED, "410 Unregistered"))])
    enrollment.refresh_from_db()
    assert (enrollment.push_problem, enrollment.wake_at) == ("", now)


@committed
def test_several_workers_push_to_each_enrollment_once(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    for _ in range(40):
        enroll()

    def work() -> int:
        try:
            return wake_due(limit=5)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as workers:
        settled = [future.result() for future in [workers.submit(work) for _ in range(4)]]
    assert sum(settled) == 40
    assert service.counts == {"200": 40}


@committed
def test_a_forked_worker_makes_a_courier_of_its_own(
    enroll: Enroll, push_certificate: PushCertificate, service: Service
) -> None:
    enroll()
    wake_due()
    mine = courier()
    second = enroll()
    connection.close()
    child = os.fork()
    if child == 0:
        sound = False
        try:
            sound = courier() is not mine and wake_due() == 1
        finally:
            os._exit(0 if sound else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert courier() is mine
    assert service.held(token_of(second))
