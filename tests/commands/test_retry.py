"""Trying again what failed."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from commands import queue, retry, selectors
from commands.models import Asked, Command, QueueEntry
from enrollment.wire.profile import PROFILE_IDENTIFIER
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.models import Device, Enrollment, Group, GroupMember
from tests import machines
from tests.machines import Machine
from tests.people import signed_in, someone

pytestmark = pytest.mark.django_db

ADMIN = Actor.system("test")
State = QueueEntry.State


@pytest.fixture(autouse=True)
def server(db, settings):
    # No files are built, so nothing has a hash.
    storage = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": storage}}
    machines.install_authority()
    machines.install_push_certificate()


def serial_number(machine: Machine) -> str:
    return Device.objects.get(enrollment=machine.enrollment).serial_number or ""


@pytest.fixture
def fleet() -> list[Machine]:
    return [Machine.enrolled(product_name="Mac15,3", os_version="15.1") for _ in range(4)]


@pytest.fixture
def locked(fleet: list[Machine]) -> Command:
    """A lock that one Mac ran, one refused, one never answered; of the last it is cancelled."""
    ids = [machine.enrollment.pk for machine in fleet]
    sent = queue.enqueue(
        Actor.system("test"),
        request_type="DeviceLock",
        parameters={"PIN": "123456"},
        enrollments=ids,
    )
    states = (State.ACKNOWLEDGED, State.ERROR, State.EXPIRED, State.CANCELLED)
    for pk, state in zip(ids, states, strict=True):
        ended = QueueEntry.objects.filter(command=sent.command, enrollment=pk)
        ended.update(state=state, finished_at=timezone.now())
    Command.objects.update(held=False)
    return sent.command


def test_the_same_is_asked_again_of_those_where_it_failed(fleet, locked):
    sent = retry.retry(ADMIN, locked)

    assert sent.command.retry_of == locked
    assert sent.command.parameters == locked.parameters
    wanted = {fleet[1].enrollment.pk, fleet[2].enrollment.pk}
    assert set(sent.command.entries.values_list("enrollment", flat=True)) == wanted
    # It is as destructive as it was, so it is held back as any other.
    assert sent.held
    event = AuditEvent.objects.filter(action="command.send").latest("pk")
    assert event.after["retry_of"] == str(locked.uuid)
    QueueEntry.objects.filter(state=State.HELD).update(state=State.QUEUED)
    assert fleet[1].idle().plist["Command"]["PIN"] == "123456"
    assert b"123456" not in bytes(locked.asked.sealed)


def test_what_a_later_try_reached_or_waits_for_is_left_alone(fleet, locked):
    again = retry.retry(ADMIN, locked).command
    with pytest.raises(retry.NothingToRetry):
        retry.retry(ADMIN, locked)
    failing = again.entries.filter(enrollment=fleet[1].enrollment)
    failing.update(state=State.ERROR, finished_at=timezone.now())
    again.entries.exclude(pk=failing.get().pk).update(state=State.ACKNOWLEDGED)

    # From either page it is asked of the one that is left, and only once.
    third = retry.retry(ADMIN, again).command

    assert third.retry_of == locked
    assert [entry.enrollment_id for entry in third.entries.all()] == [fleet[1].enrollment.pk]
    for command in (locked, again):
        with pytest.raises(retry.NothingToRetry):
            retry.retry(ADMIN, command)


def test_a_device_that_began_a_new_enrollment_is_left_alone(fleet, locked):
    Enrollment.objects.filter(pk=fleet[1].enrollment.pk).update(authenticated_at=timezone.now())
    assert retry.failed(ADMIN, locked) == [fleet[2].enrollment.pk]


def test_lists_of_commands_do_not_read_what_they_were_asked_for_with(locked):
    """It may be megabytes for each row."""
    with CaptureQueriesContext(connection) as statements:
        list(selectors.entries())
        list(selectors.jobs(ADMIN))
    assert "commands_asked" not in str(statements.captured_queries)


def test_data_that_was_given_as_bytes_is_asked_for_again():
    phone = Machine.enrolled()
    sent = queue.enqueue(
        ADMIN,
        request_type="InstallProfile",
        parameters={"Payload": PROFILE},
        enrollments=[phone.enrollment.pk],
    )
    sent.command.entries.update(state=State.ERROR, finished_at=timezone.now())

    retry.retry(ADMIN, sent.command)

    assert phone.idle().plist["Command"]["Payload"] == PROFILE


def test_what_failed_nowhere_or_is_not_known_any_more_is_not_tried_again(locked):
    locked.entries.update(state=State.ACKNOWLEDGED)
    with pytest.raises(retry.NothingToRetry, match="failed nowhere"):
        retry.retry(ADMIN, locked)
    Asked.objects.all().delete()
    with pytest.raises(retry.NothingToRetry, match="not known any more"):
        retry.retry(ADMIN, locked)
    assert Command.objects.count() == 1


def test_who_sees_some_of_the_devices_tries_it_again_on_those(fleet, locked):
    group = Group.objects.create(name="Lab", rank=1)
    GroupMember.objects.create(group=group, serial_number=serial_number(fleet[2]))
    helper = someone(Role.HELPER, group=group, also=["DeviceLock"])

    sent = retry.retry(Actor.person(helper), locked)

    assert [entry.enrollment_id for entry in sent.command.entries.all()] == [fleet[2].enrollment.pk]


def test_the_page_shows_who_and_asks_to_confirm_what_destroys(fleet, locked):
    client = signed_in(someone(Role.ADMIN))
    job = client.get(f"/commands/{locked.uuid}/").content.decode()
    assert "Try the 2 failed again" in job
    address = f"/commands/send/?retry={locked.uuid}"
    page = client.get(address).content.decode()
    assert "<strong>2 devices</strong>" in page
    assert 'name="p.PIN"' not in page

    assert client.post(address, {"confirmation": "3"}).status_code == 422
    answer = client.post(address, {"confirmation": "2"})

    again = Command.objects.latest("pk")
    assert answer["Location"] == f"/commands/{again.uuid}/"
    assert f"/commands/{locked.uuid}/" in client.get(answer["Location"]).content.decode()
    assert f"/commands/{again.uuid}/" in client.get(f"/commands/{locked.uuid}/").content.decode()


def test_one_that_is_left_is_confirmed_by_its_serial_number(fleet, locked):
    locked.entries.filter(enrollment=fleet[2].enrollment).update(state=State.CANCELLED)
    client = signed_in(someone(Role.ADMIN))
    address = f"/commands/send/?retry={locked.uuid}"
    assert client.post(address, {"confirmation": "1"}).status_code == 422
    assert client.post(address, {"confirmation": serial_number(fleet[1])}).status_code == 302


def test_what_destroys_by_its_parameters_is_confirmed_too(fleet):
    """Removing the enrollment profile ends the management of a device."""
    client = signed_in(someone(Role.ADMIN))
    address = f"/commands/send/?enrollment={fleet[0].enrollment.pk}&type=RemoveProfile"
    asked = {"p.Identifier": PROFILE_IDENTIFIER}
    page = client.post(address, asked)
    assert page.status_code == 422
    assert "to confirm" in page.content.decode()
    asked["confirmation"] = serial_number(fleet[0])
    assert client.post(address, asked).status_code == 302
    assert client.post(address, {"p.Identifier": "com.example.wifi"}).status_code == 302


@pytest.mark.parametrize("text", ["nonsense", "7c1f3b52-6a53-4a7b-9c9e-3a4d9d7f1c11"])
def test_an_unknown_command_is_not_tried_again(text):
    assert signed_in(someone(Role.ADMIN)).get("/commands/send/", {"retry": text}).status_code == 404


def test_the_api_tries_again(fleet, locked):
    client = signed_in(someone(Role.ADMIN))
    answer = client.post(f"/api/v1/commands/{locked.uuid}/retry/")
    assert answer.status_code == 201
    assert answer.json()["queued"] == 2
    locked.entries.update(state=State.ACKNOWLEDGED)
    assert client.post(f"/api/v1/commands/{locked.uuid}/retry/").status_code == 409


# Any property list will do.
PROFILE = (
    b'<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict>'
    b"<key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key>"
    b"<integer>1</integer><key>PayloadIdentifier</key><string>com.example</string>"
    b"<key>PayloadUUID</key><string>7C1F3B52-6A53-4A7B-9C9E-3A4D9D7F1C11</string>"
    b"<key>PayloadContent</key><array/></dict></plist>"
)
