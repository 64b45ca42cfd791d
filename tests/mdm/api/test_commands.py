"""Sending commands through the API and reading what came of them."""

from __future__ import annotations

import plistlib
import uuid

import pytest
from django.utils import timezone

from commands.models import Command, QueueEntry, Reply
from mdm.audit.models import AuditEvent
from mdm.models import Device
from mdm.secrets import seal

pytestmark = pytest.mark.django_db


def send(api, request_type="RestartDevice", **body):
    return api.post("/api/v1/commands/", {"request_type": request_type, **body}, format="json")


def only_entry() -> QueueEntry:
    return QueueEntry.objects.select_related("command").get()


def answer(entry: QueueEntry, **reply) -> None:
    """What the database holds once the device has answered."""
    body = {"Status": "Acknowledged", "CommandUUID": str(entry.command_uuid), **reply}
    Reply.objects.create(
        enrollment=entry.enrollment,
        command_uuid=entry.command_uuid,
        status=body["Status"],
        sealed_body=seal("reply", plistlib.dumps(body)),
    )
    QueueEntry.objects.filter(pk=entry.pk).update(state=body["Status"], finished_at=timezone.now())


@pytest.mark.parametrize("by", ["enrollments", "devices", "serial_numbers", "udids"])
def test_a_receiver_may_be_named_in_four_ways(api, enroll, by):
    enrollment = enroll("AAA", supervised=True)
    names = {
        "enrollments": enrollment.pk,
        "devices": enrollment.device_id,
        "serial_numbers": "AAA",
        "udids": enrollment.device.udid.lower(),
    }

    sent = send(api, **{by: [names[by]]})

    assert sent.status_code == 201
    assert (sent.json()["queued"], sent.json()["refused"]) == (1, [])
    assert only_entry().enrollment == enrollment
    assert sent.json()["command"]["states"] == {"Queued": 1}


def test_a_receiver_named_twice_gets_the_command_once(api, enroll):
    enrollment = enroll("AAA", supervised=True)

    sent = send(api, serial_numbers=["AAA", "AAA"], enrollments=[enrollment.pk])

    assert sent.json()["queued"] == 1
    assert QueueEntry.objects.count() == 1


def test_bad_names_are_told_of_by_name_and_the_others_get_the_command(api, enroll):
    enroll("GOOD", supervised=True)
    enroll("UNSUPERVISED", supervised=False)
    enroll("GONE", supervised=True, state="CheckedOut")
    Device.objects.create(serial_number="BARE")

    sent = send(
        api,
        serial_numbers=["GOOD", "UNSUPERVISED", "GONE", "BARE", "NOBODY", 7, "\0", None, ["x"]],
        enrollments=[10**30, -1, "no number", True, None],
        devices=[987654321],
        udids=["' OR 1=1 --"],
    )

    assert sent.status_code == 201
    body = sent.json()
    assert body["queued"] == 1
    assert only_entry().enrollment.device.serial_number == "GOOD"
    reasons = {(one["kind"], one["name"]): one["reason"] for one in body["refused"]}
    assert set(reasons) == {
        ("serial_number", "UNSUPERVISED"),
        ("serial_number", "GONE"),
        ("serial_number", "BARE"),
        ("serial_number", "NOBODY"),
        ("serial_number", "7"),
        ("serial_number", "\\0"),
        ("serial_number", "None"),
        ("serial_number", "['x']"),
        ("enrollment", str(10**30)),
        ("enrollment", "-1"),
        ("enrollment", "no number"),
        ("enrollment", "True"),
        ("enrollment", "None"),
        ("device", "987654321"),
        ("udid", "' OR 1=1 --"),
    }
    assert "supervised" in reasons["serial_number", "UNSUPERVISED"]
    assert reasons["serial_number", "NOBODY"] == "No device has this serial number."


def test_a_command_that_nobody_can_run_is_refused_by_name_and_leaves_nothing(api, enroll):
    enroll("AAA", supervised=False)

    refused = send(api, serial_numbers=["AAA", "NOBODY"])

    assert refused.status_code == 400
    errors = refused.json()["errors"]
    assert {error["attr"] for error in errors} == {"serial_numbers"}
    assert {error["code"] for error in errors} == {"refused"}
    assert any(error["detail"].startswith("AAA: ") for error in errors)
    assert any(error["detail"].startswith("NOBODY: ") for error in errors)
    assert not Command.objects.exists()


@pytest.mark.parametrize(
    ("body", "attr"),
    [
        ({"request_type": "Nonsense"}, "request_type"),
        ({"request_type": 7.5}, "request_type"),
        ({"request_type": "DeviceLock", "parameters": {"PIN": "12"}}, "parameters.PIN"),
        ({"request_type": "DeviceLock", "parameters": {"X": 1}}, "parameters.X"),
        ({"request_type": "DeviceLock", "parameters": []}, "parameters.parameters"),
        ({"request_type": "RestartDevice", "expires_in_seconds": 1}, "expires_in_seconds"),
        ({"request_type": "RestartDevice", "serial_numbers": "AAA"}, "serial_numbers"),
        ({"request_type": "RestartDevice", "serial_numbers": {"a": 1}}, "serial_numbers"),
        ({"request_type": "RestartDevice", "serial_numbers": []}, "non_field_errors"),
        ({"request_type": "RestartDevice", "enrollments": [0] * 100_001}, "enrollments"),
    ],
)
def test_what_cannot_be_sent_is_told_of_by_field(api, enroll, body, attr):
    enroll("AAA", supervised=True)

    refused = send(api, **{"serial_numbers": ["AAA"], **body})

    assert refused.status_code == 400
    assert refused.json()["type"] == "validation_error"
    assert attr in {error["attr"] for error in refused.json()["errors"]}
    assert not Command.objects.exists()


def test_a_query_that_waits_already_is_counted_as_coalesced(api, enroll):
    enroll("AAA")
    assert send(api, "DeviceInformation", serial_numbers=["AAA"]).json()["queued"] == 1

    again = send(api, "DeviceInformation", serial_numbers=["AAA"]).json()

    assert (again["queued"], again["coalesced"]) == (0, 1)


def test_a_pin_is_masked_in_the_answer_the_list_the_request_and_the_audit(api, enroll):
    enroll("MAC", platform="macOS", os_version="15.1")

    sent = send(api, "DeviceLock", parameters={"PIN": "483920"}, serial_numbers=["MAC"])

    assert sent.status_code == 201
    entry = only_entry()
    shown = api.get(f"/api/v1/entries/{entry.pk}/request/").json()["plist"]
    assert "DeviceLock" in shown
    texts = [sent.text, api.get("/api/v1/commands/").text, shown]
    texts += [str(vars(event)) for event in AuditEvent.objects.all()]
    assert all("483920" not in text for text in texts)


def test_commands_are_listed_with_how_far_they_have_come(api, enroll):
    for number in range(3):
        enroll(f"S{number}", supervised=True)
    sent = send(api, serial_numbers=["S0", "S1", "S2"]).json()
    QueueEntry.objects.filter(pk=QueueEntry.objects.first().pk).update(state="Sent")

    (listed,) = api.get("/api/v1/commands/").json()["results"]
    one = api.get(f"/api/v1/commands/{sent['command']['uuid']}/").json()

    assert listed["states"] == one["states"] == {"Queued": 2, "Sent": 1}
    assert one["asked_by"] == "tests (ada)"


def test_a_list_of_commands_asks_the_same_number_of_queries(api, enroll, django_assert_num_queries):
    enroll("AAA", supervised=True)
    api.get("/api/v1/commands/")
    for _ in range(3):
        send(api, serial_numbers=["AAA"])

    with django_assert_num_queries(5):
        assert len(api.get("/api/v1/commands/").json()["results"]) == 3
    with django_assert_num_queries(3):
        assert len(api.get("/api/v1/entries/").json()["results"]) == 3


def test_entries_are_filtered(api, enroll):
    first, other = enroll("AAA", supervised=True), enroll("BBB", supervised=True)
    uuid_ = send(api, serial_numbers=["AAA", "BBB"]).json()["command"]["uuid"]
    send(api, "DeviceInformation", serial_numbers=["AAA"])

    def found(**filters):
        entries = api.get("/api/v1/entries/", filters).json()["results"]
        return sorted((entry["serial_number"], entry["request_type"]) for entry in entries)

    assert found(command=uuid_) == [("AAA", "RestartDevice"), ("BBB", "RestartDevice")]
    assert found(enrollment=other.pk) == [("BBB", "RestartDevice")]
    assert found(device=first.device_id, request_type="DeviceInformation") == [
        ("AAA", "DeviceInformation")
    ]
    assert found(serial_number="BBB") == [("BBB", "RestartDevice")]
    assert found(state="Acknowledged") == []
    assert found(command=str(uuid.uuid4())) == []


def test_an_entry_is_cancelled_once_and_not_after_it_was_delivered(api, enroll):
    enroll("AAA", supervised=True)
    enroll("BBB", supervised=True)
    send(api, serial_numbers=["AAA", "BBB"])
    waiting, sent = QueueEntry.objects.order_by("id")
    QueueEntry.objects.filter(pk=sent.pk).update(state="Sent", sent_at=timezone.now())

    cancelled = api.post(f"/api/v1/entries/{waiting.pk}/cancel/")

    assert cancelled.json()["state"] == "Cancelled"
    assert api.post(f"/api/v1/entries/{waiting.pk}/cancel/").status_code == 409
    delivered = api.post(f"/api/v1/entries/{sent.pk}/cancel/")
    assert delivered.status_code == 409
    assert "has this command already" in delivered.json()["errors"][0]["detail"]


def test_cancelling_a_command_ends_what_was_not_delivered(api, enroll):
    enroll("AAA", supervised=True)
    enroll("BBB", supervised=True)
    sent = send(api, serial_numbers=["AAA", "BBB"]).json()
    QueueEntry.objects.filter(pk=QueueEntry.objects.first().pk).update(state="Sent")

    cancelled = api.post(f"/api/v1/commands/{sent['command']['uuid']}/cancel/").json()

    assert cancelled["states"] == {"Cancelled": 1, "Sent": 1}


def test_a_reply_is_shown_once_it_is_there_with_its_secrets_masked(api, enroll):
    enroll("AAA")
    send(api, "DeviceInformation", serial_numbers=["AAA"])
    entry = only_entry()
    address = f"/api/v1/entries/{entry.pk}/reply/"
    assert api.get(address).status_code == 404

    answer(entry, QueryResponses={"DeviceName": "Ada's iPhone", "UnlockToken": b"secret-token"})

    shown = api.get(address).json()["plist"]
    assert "Ada's iPhone" in shown
    assert "secret-token" not in shown
    assert "c2VjcmV0LXRva2Vu" not in shown


def test_the_catalog_describes_each_command_and_its_parameters(api):
    listed = {one["request_type"]: one for one in api.get("/api/v1/command-types/").json()}

    lock = api.get("/api/v1/command-types/DeviceLock/").json()

    assert lock == listed["DeviceLock"]
    assert listed["EraseDevice"]["destructive"]
    assert not listed["DeviceInformation"]["destructive"]
    pin = next(one for one in lock["parameters"] if one["key"] == "PIN")
    assert pin["secret"]
    assert "macOS" in lock["support"]
    assert api.get("/api/v1/command-types/Nonsense/").status_code == 404
