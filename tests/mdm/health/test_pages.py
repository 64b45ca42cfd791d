"""Settings > Health and what the overview shows of it: what is wrong is said, and nothing waits."""

from __future__ import annotations

import json
import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone

from abm.models import SyncRun
from abm.pages import strip
from commands import queue, times
from commands.models import QueueEntry, Reply
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.health import probes, pulse, readings, things
from mdm.health.models import ProbeResult, Reading
from mdm.health.things import Thing
from mdm.models import Enrollment, Group, Identity, PushCertificate
from tests.abm.pages.conftest import Connect, Ran
from tests.machines import call, install_push_certificate
from tests.mdm.dashboard.conftest import Enroll
from tests.mdm.health.steps import all_alive, all_good
from tests.people import signed_in as as_person
from tests.people import someone

pytestmark = pytest.mark.django_db

_LATE = timedelta(minutes=3)


def thing(name: str) -> Thing:
    (found,) = [each for each in things.everything() if each.name == name]
    return found


def heard(key: str, ago: timedelta, **more: Any) -> None:
    """A heartbeat as it was left a while ago."""
    at = time.time() - ago.total_seconds()
    pulse._redis().hset(pulse._KEY, key, json.dumps({"at": at, **more}))


# --- Heartbeats ----------------------------------------------------------------------------------


def test_who_is_heard_of_works_and_who_falls_silent_needs_someone(signed_in: Client) -> None:
    assert thing("Beat").word == "Silent"
    assert thing("Workers of the queue abm").word == "Nobody works"
    all_alive()
    assert [each for each in things.everything() if each.wrong] == []
    assert "worker@here" in thing("Workers of the queue abm").evidence

    heard("worker:worker@here", _LATE, queues=["celery"], began=0)
    assert thing("Workers of the queue celery").word == "Nobody works"
    page = signed_in.get("/").content.decode()
    assert "Workers of the queue celery: nobody works." in page
    assert "celery -A mdm worker --queues celery" in page
    heard("beat", _LATE)
    assert thing("Beat").since is not None
    assert "Beat: silent." in signed_in.get("/").content.decode()


def test_workers_that_are_all_busy_are_told_from_none_at_all() -> None:
    all_alive()
    heard("queue:abm", _LATE)
    just_now = timezone.now().timestamp()
    heard("worker:worker@here", timedelta(0), queues=pulse.queues(), began=just_now)
    assert thing("Workers of the queue abm").tone == "good", "it has only just begun"
    heard("worker:worker@here", timedelta(0), queues=pulse.queues(), began=0)
    assert thing("Workers of the queue abm").word == "Busy"
    heard("beat", _LATE)
    assert thing("Workers of the queue abm").tone == "good", "nothing was sent through it"


def test_a_worker_that_went_long_ago_is_forgotten() -> None:
    heard("worker:old@here", timedelta(days=2), queues=["abm"], began=0)
    assert pulse.read().workers == []
    pulse.answered("abm")
    assert pulse._redis().hkeys(pulse._KEY) == [b"queue:abm"]


def test_with_redis_away_everything_else_is_told(signed_in: Client, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    pulse._redis.cache_clear()
    try:
        page = signed_in.get("/settings/health/")
        overview = signed_in.get("/")
    finally:
        pulse._redis.cache_clear()

    for answer in (page, overview):
        assert answer.status_code == 200
        assert "Redis does not answer" in answer.content.decode()
    assert "Postgres 18" in page.content.decode()


# --- What waits ----------------------------------------------------------------------------------


def test_work_that_is_not_done_in_time_is_named(
    connect: Connect, enroll: Enroll, admin: User
) -> None:
    long_ago = timezone.now() - timedelta(minutes=20)
    device = enroll()
    office = connect("Office", synced_at=timezone.now())
    for name in ("Wake-ups", "Answers", "Syncs with ABM"):
        assert thing(name).word == "None is due", name
    Enrollment.objects.update(wake_at=long_ago)
    Reply.objects.create(
        enrollment=device.enrollment, command_uuid=uuid.uuid4(), status="x", sealed_body=b""
    )
    Reply.objects.update(received_at=long_ago)
    type(office).objects.update(synced_at=long_ago)

    for name in ("Wake-ups", "Answers", "Syncs with ABM"):
        assert (thing(name).word, thing(name).tone) == ("Behind", "warning"), name


def test_what_apple_refuses_is_told_by_server_and_by_push(connect: Connect) -> None:
    assert thing("Push service (APNs)").word == "Not set up"
    install_push_certificate()
    assert thing("Push service (APNs)").word == "Works"
    PushCertificate.objects.update(problem="403 BadCertificate", problem_at=timezone.now())
    assert "403 BadCertificate" in thing("Push service (APNs)").evidence
    connect("Office", problem="terms_not_signed", problem_said="T_C_NOT_SIGNED")
    office = thing("Device enrollment service, Office")
    assert (office.word, office.tone) == ("Terms not signed", "bad")
    assert "T_C_NOT_SIGNED" in office.evidence


def test_a_database_of_an_older_version_is_told() -> None:
    assert thing("Migrations").word == "Applied"
    MigrationRecorder.Migration.objects.filter(app="health").delete()
    assert thing("Migrations").evidence == "health 0001_initial"
    assert thing("Migrations").tone == "bad"


# --- Load balancers and programs -----------------------------------------------------------------


def test_load_balancers_are_told_that_a_process_lives_and_is_ready(
    django_assert_num_queries: Any,
) -> None:
    from mdm.wsgi import application

    with django_assert_num_queries(0):
        assert call(application, "GET", "/livez").body == b"alive\n"
    with django_assert_num_queries(1):
        ready = call(application, "GET", "/readyz", HTTP_HOST="10.0.0.7")
    assert (ready.status, ready.body.split()[0]) == (200, b"ready")
    assert call(application, "POST", "/readyz").status == 405


def test_programs_get_the_same_facts(signed_in: Client) -> None:
    all_alive()
    all_good()
    told = signed_in.get("/api/v1/health/").json()
    assert told["state"] == "good"
    assert {each["name"] for each in told["things"]} == {t.name for t in things.everything()}
    assert [each["state"] for each in told["probes"]] == ["good"] * len(probes.lines())
    heard("beat", _LATE)
    assert signed_in.get("/api/v1/health/").json()["state"] == "bad"

    given = {"how": "snapshot of the volume"}
    noted = signed_in.post("/api/v1/backups/", given, content_type="application/json")
    assert (noted.status_code, noted.json()["by"]) == (201, "Ada")
    assert signed_in.get("/api/v1/backups/").json()["results"] == [noted.json()]
    refused = signed_in.post("/api/v1/backups/", {"how": " "}, content_type="application/json")
    assert refused.status_code == 400


# --- The checklist -------------------------------------------------------------------------------


def test_a_step_is_checked_dismissed_and_brought_back_from_its_page(signed_in: Client) -> None:
    checked = signed_in.post("/settings/health/backup/check", {"next": "/"})
    assert checked.headers["Location"] == "/"
    assert ProbeResult.objects.get().asked_by == "Ada"
    assert "Checking" in signed_in.get("/").content.decode()

    address = "/settings/health/backup/dismiss/"
    assert signed_in.post(address, {"because": ""}).status_code == 422
    signed_in.post(address, {"because": "we back up the volume"})
    page = signed_in.get("/settings/health/").content.decode()
    assert "we back up the volume" in page
    assert "Bring it back: Backup" in page
    signed_in.post("/settings/health/backup/restore")
    assert "Bring it back" not in signed_in.get("/settings/health/").content.decode()
    for path in ("check", "dismiss/", "restore"):
        assert signed_in.post(f"/settings/health/nothing/{path}").status_code == 404, path


def test_a_viewer_sees_health_and_is_offered_nothing(db: None) -> None:
    page = as_person(someone(Role.VIEWER)).get("/settings/health/").content.decode()
    assert "First steps" in page
    assert "Check again" not in page
    assert "Dismiss" not in page


# --- The overview --------------------------------------------------------------------------------


def test_a_days_syncs_are_drawn_by_the_half_hour(
    signed_in: Client, connect: Connect, ran: Ran, django_assert_num_queries: Any
) -> None:
    office, school = connect("Office"), connect("School")
    connect("Gone", disconnected_at=timezone.now())
    now = timezone.now()
    for state, ago in (("Finished", 0), ("Finished", 3), ("Failed", 3), ("Failed", 30)):
        run = ran(office, state)
        SyncRun.objects.filter(pk=run.pk).update(asked_at=now - timedelta(hours=ago))

    with django_assert_num_queries(1):
        first, second = strip.context(None)["strips"]

    assert (first.finished, first.failed, second.finished) == (2, 1, 0)
    assert [slot.tone for slot in first.slots].count("bad") == 1
    assert first.slots[-1].tone == "good"
    assert {slot.tone for slot in second.slots} == {"none"}
    page = signed_in.get("/").content.decode()
    for each in (office, school):
        assert f'href="/abm/runs/?server={each.pk}"' in page


def test_how_long_answers_take_is_read_from_the_latest_of_a_day(
    signed_in: Client, admin: User, enroll: Enroll
) -> None:
    now = timezone.now()
    for number, (seconds, hours) in enumerate([(10, 1), (20, 1), (30, 1), (900, 1), (5, 25)]):
        device = enroll(f"S{number}")
        queue.enqueue(
            Actor.person(admin),
            request_type="ProfileList",
            parameters={},
            enrollments=[device.enrollment_id],
        )
        entry = QueueEntry.objects.latest("pk")
        at = now - timedelta(hours=hours)
        QueueEntry.objects.filter(pk=entry.pk).update(created_at=at - timedelta(seconds=seconds))
        Reply.objects.create(
            enrollment=device.enrollment,
            command_uuid=entry.command_uuid,
            status="Acknowledged",
            sealed_body=b"",
        )
        Reply.objects.filter(command_uuid=entry.command_uuid).update(received_at=at)

    taken = readings.take_due()

    assert taken == len(readings._kinds)
    assert readings.take_due() == 0, "their time has not come again"
    told = readings.last(times.ANSWER_TIMES)
    assert told is not None
    assert told.data == {"count": 4, "half": 25, "p95": pytest.approx(769.5)}
    page = signed_in.get("/").content.decode()
    assert re.search(r'95 of 100 answers came within <strong class="nums">12 min [45]\d s<', page)


def test_a_reading_that_fails_keeps_none_of_the_others_back(
    db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = timedelta(minutes=1)
    kinds = {
        "broken": readings._Kind(lambda: {}["nothing"], every),
        "whole": readings._Kind(lambda: {"count": 1}, every),
    }
    monkeypatch.setattr(readings, "_kinds", kinds)

    assert readings.take_due() == 1
    assert list(Reading.objects.values_list("name", "data")) == [("whole", {"count": 1})]


def test_what_ends_is_in_one_list_with_what_stops_then(signed_in: Client, enroll: Enroll) -> None:
    device = enroll()
    soon = timezone.now() + timedelta(days=9)
    Identity.objects.create(
        sha256=b"1", certificate=b"", binding="", expires_at=soon, enrollment=device.enrollment
    )
    Enrollment.objects.update(identity_sha256=b"1")
    readings.take_due()
    ProbeResult.objects.create(name="public_url", ends_at=datetime(2031, 5, 4, tzinfo=UTC))

    page = signed_in.get("/").content.decode()

    assert "The identity of a device" in page
    assert 'href="/enrollment/identities/?state=current&amp;ends=soon&amp;sort=ends"' in page
    assert "TLS certificate of https://localhost:8443" in page
    assert "(May 4, 2031)" in page


def test_what_no_rule_gives_a_profile_is_one_of_the_four_numbers(
    signed_in: Client, enroll: Enroll
) -> None:
    enroll("A", state="Authenticated")
    page = signed_in.get("/").content.decode()
    assert 'stat" href="/abm/devices/?assignment=unassigned"' in page
    assert "enrolled now; 1 more on the way" in page
    group = Group.objects.create(name="Kiosks", kind="static", rank=1, created_by="x")
    limited = as_person(someone(Role.VIEWER, group=group)).get("/").content.decode()
    assert "assignment=unassigned" not in limited
    assert "/devices/?state=awaiting" in limited
