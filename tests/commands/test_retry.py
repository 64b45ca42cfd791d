"""Trying again what failed, and how long answers took."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from commands import progress, queue, retry
from commands.models import Command, QueueEntry
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.models import Device, Group, GroupMember
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
    assert b"123456" not in bytes(locked.sealed_asked or b"")


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
    Command.objects.update(sealed_asked=None)
    locked.refresh_from_db()
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
    assert 'name="p-PIN"' not in page

    assert client.post(address, {"confirmation": "3"}).status_code == 422
    answer = client.post(address, {"confirmation": "2"})

    again = Command.objects.latest("pk")
    assert answer["Location"] == f"/commands/{again.uuid}/"
    assert f"/commands/{locked.uuid}/" in client.get(answer["Location"]).content.decode()
    assert f"/commands/{again.uuid}/" in client.get(f"/commands/{locked.uuid}/").content.decode()


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


def test_half_of_the_answers_and_the_slowest_of_those_that_someone_sees(fleet):
    ids = [machine.enrollment.pk for machine in fleet]
    command = queue.enqueue(
        ADMIN, request_type="SecurityInfo", parameters={}, enrollments=ids
    ).command
    everything = QueueEntry.objects.all()
    assert progress.pace(command, everything) is None
    for pk, seconds in zip(ids[:3], (2, 90, 5), strict=True):
        QueueEntry.objects.filter(enrollment=pk).update(
            state=State.ACKNOWLEDGED,
            finished_at=command.created_at + timedelta(seconds=seconds),
        )

    pace = progress.pace(command, everything)

    assert pace is not None
    assert pace.median == timedelta(seconds=5)
    assert [entry.enrollment_id for entry in pace.slowest] == [ids[1], ids[2], ids[0]]
    few = progress.pace(command, everything.filter(enrollment=ids[0]))
    assert few is not None
    assert few.median == timedelta(seconds=2)
    page = signed_in(someone(Role.ADMIN)).get(f"/commands/{command.uuid}/").content.decode()
    assert "Half of the answers came within" in page
    assert "1 min 30 s" in page


# Any property list will do.
PROFILE = (
    b'<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict>'
    b"<key>PayloadType</key><string>Configuration</string><key>PayloadVersion</key>"
    b"<integer>1</integer><key>PayloadIdentifier</key><string>com.example</string>"
    b"<key>PayloadUUID</key><string>7C1F3B52-6A53-4A7B-9C9E-3A4D9D7F1C11</string>"
    b"<key>PayloadContent</key><array/></dict></plist>"
)
