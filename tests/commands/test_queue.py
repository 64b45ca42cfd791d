"""Asking for commands: who gets them, who is refused and why, and how they leave the queue."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from django.utils import timezone

from commands import catalog, queue
from commands.models import Command, Payload, QueueEntry
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed
from mdm.models import Device, Enrollment
from tests import machines
from tests.machines import Machine

pytestmark = pytest.mark.django_db

ADMIN = Actor.system("test")
State = QueueEntry.State


@pytest.fixture(autouse=True)
def server(db):
    machines.install_authority()
    machines.install_push_certificate()


def send(*machines_: Machine, request_type="SecurityInfo", parameters=None, **more):
    return queue.enqueue(
        ADMIN,
        request_type=request_type,
        parameters=parameters or {},
        enrollments=[machine.enrollment.pk for machine in machines_],
        **more,
    )


def test_one_command_to_many_is_one_row_and_many_entries():
    fleet = [Machine.enrolled() for _ in range(3)]

    made = send(*fleet)

    assert (made.entries, made.coalesced, made.refused) == (3, 0, [])
    assert Command.objects.count() == 1
    assert Payload.objects.count() == 1
    assert QueueEntry.objects.filter(command=made.command, state=State.QUEUED).count() == 3
    assert all(machine.enrollment.wake_at is not None for machine in fleet)


def test_the_asking_is_audited_without_its_secrets():
    mac = Machine.enrolled(product_name="Mac15,3", os_version="15.1")

    made = send(mac, request_type="DeviceLock", parameters={"PIN": "123456", "Message": "Hello"})

    event = AuditEvent.objects.get(action="command.send")
    assert event.subject_id == str(made.command.uuid)
    assert "123456" not in str(event.after)
    assert "123456" not in str(made.command.parameters)
    assert b"123456" not in b"".join(bytes(p.sealed) for p in Payload.objects.all())
    assert mac.idle().plist["Command"]["PIN"] == "123456"


def test_a_known_fact_refuses_with_a_reason_and_the_others_get_it():
    phone, mac = Machine.enrolled(), Machine.enrolled(product_name="Mac15,3", os_version="15.1")
    Device.objects.filter(platform="iOS").update(supervised=False)

    made = send(phone, mac, request_type="RestartDevice")

    assert made.entries == 1
    assert [refused.enrollment_id for refused in made.refused] == [phone.enrollment.pk]
    assert "supervised" in made.refused[0].reason
    assert phone.idle().body == b""
    assert mac.idle().command == "RestartDevice"


def test_a_fact_not_known_yet_refuses_nothing():
    assert send(Machine.enrolled(), request_type="RestartDevice").entries == 1


def test_nobody_left_is_an_error_that_changes_nothing():
    phone = Machine.enrolled()
    Device.objects.update(supervised=False)

    with pytest.raises(queue.NobodyCanRunIt, match="supervised"):
        send(phone, request_type="RestartDevice")

    assert not Command.objects.exists()
    assert not AuditEvent.objects.filter(action="command.send").exists()


def test_unknown_and_ended_enrollments_are_refused_one_by_one():
    gone, live = Machine.enrolled(), Machine.enrolled()
    gone.check_in("CheckOut", Topic=gone.topic)

    made = queue.enqueue(
        ADMIN,
        request_type="SecurityInfo",
        parameters={},
        enrollments=[gone.enrollment.pk, live.enrollment.pk, 987654],
    )

    assert made.entries == 1
    assert {refused.enrollment_id for refused in made.refused} == {gone.enrollment.pk, 987654}


def test_the_same_question_waits_once():
    machine = Machine.enrolled()

    first, second = send(machine), send(machine)

    assert (first.entries, second.entries, second.coalesced) == (1, 0, 1)
    machine.idle()
    machine.connect("Acknowledged", first.command.uuid)
    assert send(machine).entries == 1


def test_a_question_with_other_parameters_is_another_question():
    machine = Machine.enrolled()

    send(machine, request_type="DeviceInformation", parameters={"Queries": ["DeviceName"]})
    made = send(machine, request_type="DeviceInformation", parameters={"Queries": ["OSVersion"]})

    assert made.entries == 1


def test_secrets_deep_inside_the_parameters_are_not_repeated():
    machine = Machine.enrolled()
    token = base64.b64encode(b"bootstrap-secret").decode()

    made = send(
        machine,
        request_type="EraseDevice",
        parameters={"ReturnToService": {"Enabled": True, "BootstrapToken": token}},
    )

    assert token not in str(made.command.parameters)
    assert "bootstrap-secret" not in str(made.command.parameters)
    assert token not in str(AuditEvent.objects.get(action="command.send").after)


def test_commands_that_do_something_are_never_merged():
    machine = Machine.enrolled()

    send(machine, request_type="DeviceLock")
    assert send(machine, request_type="DeviceLock").entries == 1


def test_each_device_gets_its_own_unlock_token():
    first, second = Machine.enrolled(), Machine.enrolled()
    first.token_update(UnlockToken=b"first")
    second.token_update(UnlockToken=b"second")

    made = send(first, second, request_type="ClearPasscode")

    assert made.entries == 2
    assert first.idle().plist["Command"]["UnlockToken"] == b"first"
    assert second.idle().plist["Command"]["UnlockToken"] == b"second"
    assert not Payload.objects.exists()


def test_a_passcode_cannot_be_cleared_without_an_unlock_token():
    with pytest.raises(queue.NobodyCanRunIt):
        send(Machine.enrolled(), request_type="ClearPasscode")


def test_bad_parameters_are_named():
    with pytest.raises(catalog.InvalidParameters) as caught:
        send(Machine.enrolled(), request_type="RemoveProfile")

    assert "Identifier" in caught.value.errors
    assert not Command.objects.exists()


def test_someone_switched_off_may_send_nothing():
    from dataclasses import replace

    with pytest.raises(NotAllowed):
        queue.enqueue(
            replace(ADMIN, active=False), request_type="SecurityInfo", parameters={}, enrollments=[]
        )


def test_what_waits_can_be_cancelled():
    machine = Machine.enrolled()
    send(machine)
    entry = QueueEntry.objects.get()

    queue.cancel(ADMIN, entry.pk)

    entry.refresh_from_db()
    assert (entry.state, entry.ended_because) == (State.CANCELLED, "by test")
    assert machine.idle().body == b""
    assert AuditEvent.objects.filter(action="command.cancel").count() == 1


def test_a_delivered_command_cannot_be_cancelled_and_its_reply_is_stored():
    machine = Machine.enrolled()
    made = send(machine)
    machine.idle()
    entry = QueueEntry.objects.get()

    with pytest.raises(queue.CannotCancel, match="has this command already"):
        queue.cancel(ADMIN, entry.pk)
    assert queue.cancel_rest(ADMIN, made.command) == 0

    machine.connect("Acknowledged", made.command.uuid)
    entry.refresh_from_db()
    assert entry.state == State.ACKNOWLEDGED


def test_what_the_device_put_off_can_be_cancelled():
    machine = Machine.enrolled()
    made = send(machine)
    machine.idle()
    machine.connect("NotNow", made.command.uuid)

    assert queue.cancel_rest(ADMIN, made.command) == 1
    assert machine.idle().body == b""


def test_an_expired_command_is_neither_handed_out_nor_kept_open():
    machine = Machine.enrolled()
    send(machine, expires_in=timedelta(hours=1))
    QueueEntry.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert machine.idle().body == b""
    assert queue.expire() == 1
    assert QueueEntry.objects.get().state == State.EXPIRED
    assert Enrollment.objects.get().wake_at is None
