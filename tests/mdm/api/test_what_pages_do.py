"""What the dashboard's pages do beyond lists and commands, done by the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from commands import queue, restraint
from commands.models import QueueEntry
from enrollment import apple
from enrollment.models import Holding
from enrollment.wire.profile import PROFILE_IDENTIFIER
from mdm.accounts import people
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.health.models import ProbeResult
from mdm.models import Enrollment, EnrollmentPeriod, Escrow, Identity
from tests.abm.pages.conftest import Connect, Listed, connect, listed
from tests.people import signed_in, someone

__all__ = ["connect", "listed"]

pytestmark = pytest.mark.django_db


def call(client: Any, method: str, path: str, status: int, **data: Any) -> Any:
    answer = getattr(client, method)(
        f"/api/v1/{path}", data or None, content_type="application/json"
    )
    assert answer.status_code == status, answer.content
    return answer.json() if answer.content else None


@pytest.fixture
def person(admin: User) -> Client:
    """The admin in a browser: what takes a person a token may not."""
    return signed_in(admin)


# --- Devices --------------------------------------------------------------------------------------


def test_a_timeline_is_walked_and_holds_each_event_once(api: APIClient, enroll: Any) -> None:
    device = enroll("S1").device
    at = timezone.now() - timedelta(minutes=1)
    acts = [f"act.{number}" for number in range(7)]
    for number, act in enumerate(acts):
        # Five of one moment, over the border between two pages.
        AuditEvent.objects.create(
            at=at + timedelta(seconds=max(0, number - 4)),
            actor_name="Ada",
            action=act,
            subject_kind="device",
            subject_id=str(device.pk),
        )

    seen, address = [], f"/api/v1/devices/{device.pk}/timeline/?page_size=2"
    while address:
        page = api.get(address).json()
        assert len(page["results"]) <= 2
        seen += [event["what"] for event in page["results"]]
        address = page["next"]

    assert seen == acts[::-1]
    assert {"detail": "by Ada", "url": ""}.items() <= page["results"][0].items()


def test_a_timeline_goes_by_when_things_happened_not_by_when_they_were_written(
    api: APIClient, enroll: Any
) -> None:
    device = enroll("S1").device
    for hours in range(1, 6):
        AuditEvent.objects.create(
            at=timezone.now() - timedelta(hours=hours),
            actor_name="Ada",
            action=f"act.{hours}",
            subject_kind="device",
            subject_id=str(device.pk),
        )

    page = api.get(f"/api/v1/devices/{device.pk}/timeline/?page_size=1").json()
    assert [event["what"] for event in page["results"]] == ["act.1"]


def test_what_was_asked_for_long_ago_is_told_where_it_ended(api: APIClient, enroll: Any) -> None:
    enrollment = enroll("S1")
    begun = timezone.now() - timedelta(days=1)
    for number in range(5):
        command = queue.enqueue(
            Actor.system("test"),
            request_type="SecurityInfo" if number else "CertificateList",
            parameters={},
            enrollments=[enrollment.pk],
        ).command
        QueueEntry.objects.filter(command=command).update(
            created_at=begun + timedelta(minutes=number),
            state="Acknowledged",
            finished_at=begun + timedelta(minutes=number if number else 60),
        )

    path = f"/api/v1/devices/{enrollment.device_id}/timeline/?page_size=1"
    assert api.get(path).json()["results"][0]["what"] == "CertificateList: Acknowledged"


def test_a_period_that_began_first_and_ended_last_is_told_first(
    api: APIClient, enroll: Any
) -> None:
    enrollment, now = enroll("S1"), timezone.now()
    for began, ended in ((20, 1), (10, 9), (8, 7)):
        at = now - timedelta(days=began)
        EnrollmentPeriod.objects.create(
            enrollment=enrollment,
            began_at=at,
            completed_at=at,
            ended_at=now - timedelta(days=ended),
        )

    path = f"/api/v1/devices/{enrollment.device_id}/timeline/?page_size=1"
    [event] = api.get(path).json()["results"]

    assert event["at"][:10] == f"{now - timedelta(days=1):%Y-%m-%d}"


@pytest.mark.parametrize("cursor", ["x", "2026-01-01~1", "2026-01-01T00:00:00Z~x", "9999-12-31~0"])
def test_a_place_that_we_did_not_make_is_refused(api: APIClient, enroll: Any, cursor: str) -> None:
    path = f"/api/v1/devices/{enroll('S1').device_id}/timeline/"

    assert api.get(path, {"cursor": cursor}).status_code == 404


def test_the_search_tells_where_it_found_what(api: APIClient, enroll: Any) -> None:
    for number in range(10):
        enroll(f"ROOM{number}", device_name="Lab")
    named = enroll("OTHER", device_name="In room 5").device

    found = api.get("/api/v1/search/", {"q": "room"}).json()
    serial, name = found["places"]

    assert found["devices"] == 11
    assert (serial["label"], len(serial["found"]), serial["more"]) == (
        *("Serial number or UDID", 8, True),
    )
    assert [each["device"] for each in name["found"]][-1] == named.pk
    assert name["found"][-1]["url"] == f"/devices/{named.pk}/"
    for text in ("", "ro", "x" * 101):
        assert api.get("/api/v1/search/", {"q": text}).status_code == 400, text


def test_a_device_is_let_go_from_setup_assistant(api: APIClient, enroll: Any) -> None:
    enrollment = enroll("S1", supervised=True)
    path = f"enrollments/{enrollment.pk}/configured/"
    call(api, "get", path, 404)
    Enrollment.objects.filter(pk=enrollment.pk).update(awaiting_configuration=True)
    Holding.objects.create(enrollment=enrollment, limit_at=timezone.now() + timedelta(minutes=30))

    assert call(api, "get", path, 200)["released_at"] is None
    asked = call(api, "post", path, 202)

    entry = QueueEntry.objects.get(command__request_type="DeviceConfigured")
    assert asked == {"command": str(entry.command.uuid), "held": False}
    # Asked for again while it waits, it is still that one.
    assert call(api, "post", path, 202) == asked
    assert call(api, "get", path, 200)["released_by"] == "tests (ada)"
    Enrollment.objects.filter(pk=enrollment.pk).update(state="CheckedOut")
    call(api, "post", path, 409)


def test_a_device_is_asked_to_leave_management(api: APIClient, enroll: Any) -> None:
    enrollment = enroll("S1")

    asked = call(api, "post", f"enrollments/{enrollment.pk}/remove-management/", 202)

    entry = QueueEntry.objects.get(enrollment=enrollment)
    assert asked["command"] == str(entry.command.uuid)
    assert entry.command.request_type == "RemoveProfile"
    assert entry.command.parameters["Identifier"] == PROFILE_IDENTIFIER
    # What goes on tells of it.
    (work,) = call(api, "get", "work/", 200)
    assert (work["what"], work["done"], work["total"]) == ("RemoveProfile, by tests (ada)", 0, 1)


def test_an_enrollment_tells_its_certificates_and_what_it_entrusted(
    api: APIClient, enroll: Any
) -> None:
    enrollment = enroll("S1")
    Identity.objects.create(
        sha256=b"\x01" * 32,
        certificate=b"DER",
        binding="x",
        expires_at=timezone.now(),
        enrollment=enrollment,
    )
    Escrow.objects.create(
        enrollment=enrollment,
        kind=Escrow.Kind.BOOTSTRAP_TOKEN,
        sealed=b"sealed",
        received_at=timezone.now(),
    )

    shown = call(api, "get", f"enrollments/{enrollment.pk}/", 200)

    assert [each["sha256"] for each in shown["identities"]] == ["01" * 32]
    assert [set(each) for each in shown["escrow"]] == [{"kind", "received_at"}]


def test_serial_numbers_are_looked_up(api: APIClient, connect: Connect, listed: Listed) -> None:
    office = connect("Office")
    listed("S1", office)
    listed("S2", office, removed_at=timezone.now())

    said = call(api, "post", "abm-devices/look-up/", 200, serial_numbers=["S9", "S2", "S1", "S9"])

    assert said == {"listed": ["S1"], "removed": ["S2"], "unknown": ["S9"]}


# --- People ---------------------------------------------------------------------------------------


def test_a_sign_in_link_is_made_and_recorded_each_time(person: Client) -> None:
    grace = someone(Role.VIEWER, name="grace")
    path = f"people/{grace.pk}/link/"

    link = call(person, "post", path, 200)["link"]

    # Whoever opens one that works is led on to the password.
    assert Client().get(link[link.index("/accounts/") :]).status_code == 302
    assert AuditEvent.objects.filter(action="people.link", subject_id=grace.pk).count() == 1
    again = person.post(f"/api/v1/{path}", headers={"Idempotency-Key": "1"})
    assert again.status_code == 400


def _in_a_browser(user: User) -> tuple[Client, int]:
    """Someone who is signed in, and the id of the session."""
    client = signed_in(user)
    kept = UserSession.objects.create(
        user=user, session_key=client.session.session_key, ip="10.0.0.1", user_agent="A browser"
    )
    return client, kept.pk


def test_sessions_are_seen_and_ended(admin: User, api: APIClient) -> None:
    grace = someone(Role.VIEWER, name="grace")
    (here, own), (there, other), (hers, foreign) = map(_in_a_browser, (admin, admin, grace))

    listed = call(here, "get", "sessions/", 200)["results"]
    assert [(row["id"], row["current"]) for row in listed] == [(other, False), (own, True)]
    call(here, "delete", f"sessions/{foreign}/", 404)
    call(here, "delete", f"sessions/{other}/", 204)
    call(there, "get", "devices/", 401)
    call(here, "delete", f"sessions/{own}/", 204)
    call(here, "get", "devices/", 401)

    assert len(call(api, "get", f"people/{grace.pk}/sessions/", 200)) == 1
    assert call(api, "post", f"people/{grace.pk}/sign-out/", 200) == {"ended": 1}
    call(hers, "get", "devices/", 401)
    # A token that was stolen would keep its owner out.
    call(api, "post", f"people/{admin.pk}/sign-out/", 403)
    acts = AuditEvent.objects.filter(action="people.sign_out").order_by("id")
    assert list(acts.values_list("subject_id", "actor_kind")) == [
        *[(str(admin.pk), "person")] * 2,
        (str(grace.pk), "token"),
    ]


def test_who_was_deactivated_is_signed_out_for_good(api: APIClient) -> None:
    grace = someone(Role.VIEWER, name="grace")
    hers, _ = _in_a_browser(grace)
    call(hers, "get", "devices/", 200)

    call(api, "post", f"people/{grace.pk}/deactivate/", 200)
    people.activate(Actor.system("test"), grace)

    call(hers, "get", "devices/", 401)


# --- The server -----------------------------------------------------------------------------------


def test_a_step_of_the_checklist_is_tried_dismissed_and_brought_back(api: APIClient) -> None:
    path = "health-checks/backup/"
    assert (call(api, "get", path, 200)["state"], call(api, "get", path, 200)["found"]) == (
        *("new", ""),
    )

    assert call(api, "post", f"{path}check/", 202)["state"] == "busy"
    call(api, "post", f"{path}dismiss/", 400, because="\t")
    ProbeResult.objects.update(asked_at=None)
    told = call(api, "post", f"{path}dismiss/", 200, because="Snapshots")
    assert (told["state"], told["dismissed_because"]) == ("dismissed", "Snapshots")
    assert call(api, "post", f"{path}restore/", 200)["state"] == "new"
    call(api, "post", "health-checks/nothing/check/", 404)


def test_apples_certificates_are_listed_and_fetched(
    api: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr(
        apple.current_app, "send_task", lambda name, *args, **more: called.append(name)
    )

    listed = call(api, "get", "apple-certificates/", 200)
    call(api, "post", "apple-certificates/fetch/", 202)

    assert [row["name"] for row in listed if row["fetched"]] == apple.missing()
    assert not any(row["accepted"] for row in listed)
    assert called == [apple.FETCH]


def test_the_overview_tells_what_the_first_page_does(api: APIClient, enroll: Any) -> None:
    enroll("S1")
    Enrollment.objects.update(push_problem="BadDeviceToken")

    told = call(api, "get", "overview/", 200)

    numbers = {number["label"]: number["value"] for number in told["numbers"]}
    assert (numbers["Managed"], numbers["Suspect"], numbers["Unassigned"]) == (1, 1, 0)
    assert len(told["enrollments"]) == 30
    assert "1 device cannot be woken." in [item["what"] for item in told["attention"]]
    assert told["counted_at"] is None


def test_a_command_is_judged_before_it_is_sent(api: APIClient, enroll: Any) -> None:
    enroll("MAC", platform="macOS")
    enroll("GONE", state="CheckedOut")
    restraint.pause(Actor.system("test"), "a look at it")
    wanted = {"serial_numbers": ["MAC", "GONE", "NOBODY"], "request_type": "EraseDevice"}

    told = call(api, "post", "commands/preview/", 200, parameters={"PIN": "123456"}, **wanted)

    assert told["able"] == 1
    assert {each["reason"]: each["count"] for each in told["unable"]} == {
        "This device is not enrolled now.": 1,
        "No device has this serial number.": 1,
    }
    assert told["held"] == "It will wait: test paused all destructive commands."
    assert not QueueEntry.objects.exists()
    call(api, "post", "commands/preview/", 400, **{**wanted, "request_type": "Nothing"})
    call(api, "post", "commands/preview/", 400, parameters={"PIN": 4}, **wanted)
