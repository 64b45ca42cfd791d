"""What a device is handed, in which order, and what its answers change."""

from __future__ import annotations

import plistlib
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from commands import queue
from commands.connect import REPLY
from commands.models import QueueEntry, Reply
from mdm import refusals
from mdm.audit.actor import Actor
from mdm.models import Enrollment, Refusal
from mdm.secrets import unseal
from tests import machines
from tests.machines import Machine

pytestmark = pytest.mark.django_db

ADMIN = Actor.system("test")
State = QueueEntry.State


@pytest.fixture(autouse=True)
def server(db):
    machines.install_authority()
    machines.install_push_certificate()
    refusals.tally.__init__()


def ask(machine: Machine, request_type="SecurityInfo", parameters=None, **more) -> QueueEntry:
    made = queue.enqueue(
        ADMIN,
        request_type=request_type,
        parameters=parameters or {},
        enrollments=[machine.enrollment.pk],
        **more,
    )
    return QueueEntry.objects.get(command=made.command)


def test_an_idle_device_with_nothing_to_do_gets_an_empty_answer():
    answered = Machine.enrolled().idle()

    assert (answered.status, answered.body) == (200, b"")


def test_an_idle_device_is_handed_its_command_until_it_answers():
    machine = Machine.enrolled()
    entry = ask(machine)

    first, second = machine.idle(), machine.idle()

    assert first.plist == second.plist
    assert first.plist["CommandUUID"] == str(entry.command_uuid).upper()
    assert first.plist["Command"] == {"RequestType": "SecurityInfo"}
    entry.refresh_from_db()
    assert (entry.state, entry.deliveries) == (State.SENT, 2)

    assert machine.connect("Acknowledged", entry.command_uuid).body == b""
    assert machine.idle().body == b""
    entry.refresh_from_db()
    assert entry.state == State.ACKNOWLEDGED
    assert entry.finished_at is not None


def test_a_reply_is_stored_whole_and_sealed():
    machine = Machine.enrolled()
    entry = ask(machine)
    machine.idle()

    machine.connect("Acknowledged", entry.command_uuid, SecurityInfo={"Passcode": "present"})

    reply = Reply.objects.get()
    assert reply.enrollment == machine.enrollment
    assert b"present" not in bytes(reply.sealed_body)
    body = plistlib.loads(unseal(REPLY, reply.sealed_body))
    assert body["SecurityInfo"] == {"Passcode": "present"}


def test_an_answer_brings_the_next_command_in_order():
    machine = Machine.enrolled()
    first, second = ask(machine, "ProfileList"), ask(machine, "CertificateList")

    assert machine.idle().plist["CommandUUID"] == str(first.command_uuid).upper()
    answered = machine.connect("Acknowledged", first.command_uuid)

    assert answered.plist["CommandUUID"] == str(second.command_uuid).upper()


def test_an_erase_goes_before_everything_that_waits():
    machine = Machine.enrolled()
    ask(machine, "ProfileList")
    ask(machine, "EraseDevice")

    assert machine.idle().command == "EraseDevice"


def test_what_was_put_off_is_skipped_in_this_session_and_offered_at_the_next_idle():
    machine = Machine.enrolled()
    first, second = ask(machine, "ProfileList"), ask(machine, "CertificateList")
    machine.idle()

    answered = machine.connect("NotNow", first.command_uuid)
    assert answered.plist["CommandUUID"] == str(second.command_uuid).upper()
    assert machine.connect("NotNow", second.command_uuid).body == b""
    assert set(QueueEntry.objects.values_list("state", flat=True)) == {State.NOT_NOW}

    assert machine.idle().plist["CommandUUID"] == str(first.command_uuid).upper()
    answered = machine.connect("Acknowledged", first.command_uuid)
    assert answered.plist["CommandUUID"] == str(second.command_uuid).upper()


def test_a_device_that_puts_everything_off_is_woken_again_after_a_day():
    machine = Machine.enrolled()
    entry = ask(machine)
    machine.idle()

    machine.connect("NotNow", entry.command_uuid)

    wake_at = machine.enrollment.wake_at
    assert timezone.now() + timedelta(hours=23) < wake_at < timezone.now() + timedelta(hours=25)


def test_a_device_that_left_nothing_undone_is_not_woken_again():
    machine = Machine.enrolled()
    entry = ask(machine)
    assert machine.enrollment.wake_at is not None
    machine.idle()
    assert machine.enrollment.wake_at is not None

    machine.connect("Acknowledged", entry.command_uuid)

    assert machine.enrollment.wake_at is None


def test_putting_off_for_ever_stays_bounded():
    machine = Machine.enrolled()
    entry = ask(machine)
    QueueEntry.objects.update(not_now_count=32000, deliveries=32000)
    machine.idle()

    assert machine.connect("NotNow", entry.command_uuid).status == 200
    assert machine.idle().status == 200
    assert QueueEntry.objects.count() == 1
    assert Reply.objects.count() == 0


def test_an_error_is_recorded_with_its_chain():
    machine = Machine.enrolled()
    entry = ask(machine)
    machine.idle()
    error = {"ErrorCode": 12021, "ErrorDomain": "MCMDMErrorDomain", "LocalizedDescription": "No"}

    assert machine.connect("Error", entry.command_uuid, ErrorChain=[error]).status == 200

    entry.refresh_from_db()
    assert entry.state == State.ERROR
    assert Reply.objects.get().error_chain[0]["code"] == 12021


def test_a_second_reply_to_a_finished_command_changes_nothing():
    machine = Machine.enrolled()
    entry = ask(machine)
    machine.idle()
    machine.connect("Acknowledged", entry.command_uuid)

    assert machine.connect("Error", entry.command_uuid).status == 200

    entry.refresh_from_db()
    assert entry.state == State.ACKNOWLEDGED
    assert Reply.objects.get().status == "Acknowledged"


@pytest.mark.parametrize("command_uuid", [uuid.uuid4(), "not a uuid", "x" * 255])
def test_an_unknown_command_is_answered_and_forgotten(command_uuid):
    machine = Machine.enrolled()
    entry = ask(machine)

    answered = machine.connect("Acknowledged", command_uuid)

    assert answered.plist["CommandUUID"] == str(entry.command_uuid).upper()
    assert not Reply.objects.exists()


def test_a_reply_to_another_devices_command_is_not_counted():
    machine, other = Machine.enrolled(), Machine.enrolled()
    entry = ask(machine)
    machine.idle()

    assert other.connect("Acknowledged", entry.command_uuid).status == 200

    entry.refresh_from_db()
    assert entry.state == State.SENT
    assert not Reply.objects.exists()


def test_a_reply_from_another_device_is_refused():
    machine, attacker = Machine.enrolled(), Machine.enrolled()
    entry = ask(machine)
    machine.idle()
    attacker.udid = machine.udid

    assert attacker.connect("Acknowledged", entry.command_uuid).status == 403
    assert attacker.idle().status == 403

    entry.refresh_from_db()
    assert (entry.state, entry.deliveries) == (State.SENT, 1)
    assert Refusal.objects.filter(reason="identity_mismatch").exists()


def test_an_unknown_device_is_refused_and_not_unenrolled():
    answered = Machine.new().idle()

    assert (answered.status, answered.body) == (403, b"")


def test_a_device_that_awaits_its_token_gets_nothing_yet():
    machine = Machine.new()
    machine.authenticate()

    assert (machine.idle().status, machine.idle().body) == (200, b"")


def test_a_device_that_checked_out_is_refused():
    machine = Machine.enrolled()
    machine.check_in("CheckOut", Topic=machine.topic)

    assert machine.idle().status == 403


def test_a_late_reply_counts_although_the_command_expired():
    machine = Machine.enrolled()
    entry = ask(machine, expires_in=timedelta(hours=1))
    machine.idle()
    QueueEntry.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert machine.idle().body == b""
    assert queue.expire() == 1
    entry.refresh_from_db()
    assert entry.state == State.EXPIRED

    machine.connect("Acknowledged", entry.command_uuid)

    entry.refresh_from_db()
    assert entry.state == State.ACKNOWLEDGED
    assert Reply.objects.count() == 1


def test_a_user_channel_has_a_queue_of_its_own():
    mac = Machine.enrolled(product_name="Mac15,3")
    user = {"UserID": str(uuid.uuid4()), "UserShortName": "ada"}
    mac.token_update(**user)
    channel = Enrollment.objects.get(channel="user")
    made = queue.enqueue(ADMIN, request_type="ProfileList", parameters={}, enrollments=[channel.pk])

    assert mac.idle().body == b""
    assert mac.connect(**user).plist["CommandUUID"] == str(made.command.uuid).upper()
    mac.connect("Acknowledged", made.command.uuid, **user)
    assert Reply.objects.get().enrollment == channel


def test_last_contact_is_kept_to_the_minute():
    machine = Machine.enrolled()
    Enrollment.objects.update(last_seen_at=timezone.now() - timedelta(minutes=2))

    machine.idle()
    seen = machine.enrollment.last_seen_at
    assert seen > timezone.now() - timedelta(minutes=1)

    machine.idle()
    assert machine.enrollment.last_seen_at == seen
