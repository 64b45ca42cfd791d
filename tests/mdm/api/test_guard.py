"""`manage.py guard`: for a person at a shell, and with --json for a script."""

from __future__ import annotations

import json
import plistlib
import threading
from dataclasses import dataclass
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from commands.models import Command, Payload, QueueEntry, Reply
from enrollment import links
from mdm.audit.models import AuditEvent
from mdm.models import Device
from mdm.secrets import unseal

pytestmark = pytest.mark.django_db

PROFILE = plistlib.dumps(
    {
        "PayloadType": "Configuration",
        "PayloadIdentifier": "com.example.wifi",
        "PayloadUUID": "5D1C61B5-9F5C-4B6E-8E36-3B0B6F6A8B11",
        "PayloadVersion": 1,
        "PayloadContent": [],
    }
)


@dataclass
class Run:
    """What a command line printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def guard(*words: str) -> Run:
    out, err = StringIO(), StringIO()
    try:
        call_command("guard", *words, stdout=out, stderr=err)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except CommandError as error:
        code = error.returncode
        err.write(str(error))
    return Run(code, out.getvalue(), err.getvalue())


def test_a_link_is_made_and_its_address_printed():
    run = guard("link", "--uses", "3", "--expires", "7d")

    assert run.code == 0
    link = links.follow(run.out.strip().rstrip("/").rsplit("/", 1)[1])
    assert link.max_uses == 3
    assert 6 < (link.expires_at - timezone.now()).total_seconds() / 86400 <= 7
    assert AuditEvent.objects.get(action="link.create").actor_name.startswith("command line (")


def test_a_link_in_json_holds_its_address():
    run = guard("link", "--json", "--name", "Office")

    assert run.json["name"] == "Office"
    assert run.json["url"].startswith("https://")


@pytest.mark.parametrize("words", [("--uses", "0"), ("--name", "")])
def test_a_link_that_cannot_be_ends_with_2(words):
    assert guard("link", *words).code == 2


def test_a_time_that_is_none_is_said_so():
    with pytest.raises(CommandError, match="no time such as"):
        call_command("guard", "link", "--expires", "soon")


def test_a_command_is_sent_by_serial_number_and_by_udid(enroll):
    first, other = enroll("AAA", supervised=True), enroll("BBB", supervised=True)

    run = guard("send", "AAA", other.device.udid, "RestartDevice")

    assert run.code == 0
    assert {entry.enrollment for entry in QueueEntry.objects.all()} == {first, other}
    assert "RestartDevice" in run.out
    assert "Queued" in run.out


def test_parameters_are_given_as_words_as_json_and_from_files(enroll, tmp_path):
    enroll("MAC", platform="macOS", os_version="15.1")
    profile = tmp_path / "wifi.mobileconfig"
    profile.write_bytes(PROFILE)

    locked = guard("send", "MAC", "DeviceLock", "PIN=483920", "Message=Please return = thanks")
    asked = guard("send", "MAC", "DeviceInformation", "--json-parameters", '{"Queries": ["UDID"]}')
    installed = guard("send", "MAC", "InstallProfile", f"Payload=@{profile}")
    missing = guard("send", "MAC", "InstallProfile", f"Payload=@{tmp_path}/none")

    assert (locked.code, asked.code, installed.code, missing.code) == (0, 0, 0, 2)
    assert Command.objects.get(request_type="DeviceLock").parameters["Message"] == (
        "Please return = thanks"
    )
    assert "UDID" in str(Command.objects.get(request_type="DeviceInformation").parameters)
    sealed = Payload.objects.get(command__request_type="InstallProfile").sealed
    assert plistlib.loads(unseal("command", sealed))["Command"]["Payload"] == PROFILE
    assert "cannot be read" in missing.err
    assert "483920" not in locked.out


def test_who_cannot_run_it_is_named_and_the_exit_code_says_so(enroll):
    enroll("GOOD", supervised=True)
    enroll("BAD", supervised=False)

    run = guard("send", "GOOD", "BAD", "NOBODY", "RestartDevice")

    assert run.code == 1
    assert QueueEntry.objects.count() == 1
    assert "NOBODY: No device has this serial number or UDID." in run.err
    assert "BAD: " in run.err


def test_nobody_at_all_ends_with_1_and_leaves_nothing():
    run = guard("send", "NOBODY", "RestartDevice", "--json")

    assert run.code == 1
    assert run.json["command"] is None
    assert run.json["refused"][0]["name"] == "NOBODY"
    assert not Command.objects.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("AAA",),
        ("AAA", "Nonsense"),
        ("AAA", "DeviceLock", "PIN=12"),
        ("AAA", "DeviceLock", "--json-parameters", "{"),
        ("AAA", "DeviceLock", "--json-parameters", "[]"),
    ],
)
def test_what_is_not_understood_ends_with_2(enroll, words):
    enroll("AAA", platform="macOS", os_version="15.1")

    assert guard("send", *words).code == 2
    assert not Command.objects.exists()


def test_waiting_in_vain_ends_with_3(enroll):
    enroll("AAA", supervised=True)

    run = guard("send", "AAA", "RestartDevice", "--wait", "0", "--json")

    assert run.code == 3
    assert run.json["entries"][0]["state"] == "Queued"


def answer_when_asked(status: str) -> None:
    """Be the device: answer the first command that appears."""
    while not QueueEntry.objects.exists():
        connection.close()
    entry = QueueEntry.objects.get()
    chain = [{"code": 12, "domain": "MCMDMErrorDomain", "us_english_description": "No way."}]
    Reply.objects.create(
        enrollment_id=entry.enrollment_id,
        command_uuid=entry.command_uuid,
        status=status,
        sealed_body=b"",
        error_chain=None if status == "Acknowledged" else chain,
    )
    QueueEntry.objects.filter(pk=entry.pk).update(state=status, finished_at=timezone.now())
    connection.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("status", "code"), [("Acknowledged", 0), ("Error", 1)])
def test_waiting_ends_with_the_devices_answer(enroll, status, code):
    enroll("AAA", supervised=True)
    device = threading.Thread(target=answer_when_asked, args=[status])
    device.start()

    run = guard("send", "AAA", "RestartDevice", "--wait", "60")
    device.join()

    assert run.code == code
    assert status in run.out
    assert ("No way." in run.out) == (status == "Error")


def test_a_device_is_shown_with_its_recent_commands(enroll):
    enrollment = enroll("AAA", device_name="Ada's iPhone", supervised=True)
    guard("send", "AAA", "RestartDevice")

    run = guard("show", "AAA")

    assert run.code == 0
    assert "Ada's iPhone" in run.out
    assert "Enrolled" in run.out
    assert "RestartDevice" in run.out
    in_json = guard("show", enrollment.device.udid.lower(), "--json").json
    assert in_json["serial_number"] == "AAA"
    assert in_json["enrollment"]["id"] == enrollment.pk
    assert in_json["commands"][0]["state"] == "Queued"


def test_a_command_is_shown_by_its_uuid(enroll):
    enroll("AAA", supervised=True)
    sent = guard("send", "AAA", "RestartDevice", "--json").json

    shown = guard("show", "--command", sent["command"]["uuid"], "--json")

    assert shown.json == sent
    assert guard("show", "--command", "00000000-0000-0000-0000-000000000000").code == 1


def test_showing_what_is_not_there_ends_with_1_and_nothing_at_all_with_2():
    assert guard("show", "NOBODY").code == 1
    assert guard("show").code == 2


def test_devices_are_listed_and_searched(enroll):
    enroll("AAA", device_name="Ada's iPhone")
    enroll("BBB", state="CheckedOut")

    listed = guard("devices")

    assert listed.out.splitlines()[0].startswith("SERIAL NUMBER")
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == ["BBB", "AAA"]
    assert [device["serial_number"] for device in guard("devices", "--json").json] == ["BBB", "AAA"]
    assert [one["serial_number"] for one in guard("devices", "--search", "ada", "--json").json] == [
        "AAA"
    ]
    assert "AAA" not in guard("devices", "--state", "CheckedOut").out


def test_a_devices_name_does_not_steer_the_terminal(enroll):
    enrollment = enroll("AAA", device_name="\x1b]0;owned\x07\x1b[2J\nBBB  forged")

    for run in (guard("devices"), guard("show", "AAA")):
        assert "\x1b" not in run.out
        assert "\x07" not in run.out
        assert not any(line.startswith("BBB") for line in run.out.splitlines())
    assert Device.objects.get(pk=enrollment.device_id).device_name.startswith("\x1b")
