"""Ways round the rule that each enrollment has exactly one identity, and what they come to."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from cryptography import x509
from django.utils import timezone

from commands import consequences, queue
from commands.models import QueueEntry
from mdm import devices, quarantine, refusals
from mdm.audit.actor import Actor
from mdm.models import (
    CheckinMessage,
    Device,
    Enrollment,
    EnrollmentPeriod,
    Escrow,
    Identity,
    InventorySection,
    Quarantine,
    Refusal,
)
from mdm.protocol.binding import Binding, Purpose
from tests import machines
from tests.machines import Machine

pytestmark = pytest.mark.django_db

ADMIN = Actor.system("test")


@pytest.fixture(autouse=True)
def server(db):
    machines.install_authority()
    machines.install_push_certificate()
    refusals.tally.__init__()


def issued(purpose: Purpose = Purpose.DEVICE, way: str = "link", **more):
    return machines.issue(Binding(purpose, way, str(uuid.uuid4()), **more))


def mac_with_user() -> tuple[Machine, dict[str, str]]:
    mac = Machine.enrolled(product_name="Mac15,3")
    user = {"UserID": str(uuid.uuid4()).upper(), "UserShortName": "ada"}
    assert mac.token_update(**user).status == 200
    return mac, user


def twin(machine: Machine, **changes) -> Machine:
    """The machine as it was, to speak with what has been replaced since."""
    same = {"certificate": machine.certificate, "udid": machine.udid}
    return Machine(**(same | {"serial_number": machine.serial_number} | changes))


def ask(enrollment: Enrollment, request_type: str) -> QueueEntry:
    made = queue.enqueue(
        ADMIN, request_type=request_type, parameters={}, enrollments=[enrollment.pk]
    )
    return QueueEntry.objects.get(command=made.command, enrollment=enrollment)


# --- Taking another's enrollment


def test_an_identity_bound_to_a_serial_number_does_not_take_another_devices_udid():
    victim = Machine.enrolled()
    before = Enrollment.objects.values().get()
    thief = Machine.new(certificate=issued(serial_number="C02AAAAAAAAA"), udid=victim.udid)
    thief.serial_number = "C02AAAAAAAAA"

    assert thief.authenticate().status == 403

    assert Enrollment.objects.values().get() == before
    assert Quarantine.objects.get().reason == "live_enrollment"
    assert victim.idle().status == 200


def test_nobody_authenticates_as_a_user_of_another_device():
    victim = Machine.enrolled(product_name="iPad14,1")
    thief = Machine.new(udid=victim.udid, serial_number=None)
    user = {"UserID": "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "UserShortName": "ada@school.org"}

    assert thief.authenticate(**user).status == 400

    assert Enrollment.objects.get() == victim.enrollment
    assert victim.token_update(**user).status == 200
    assert Enrollment.objects.get(channel="shared_ipad_user").parent == victim.enrollment


def test_a_user_enrollments_identity_does_not_take_the_row_of_a_device():
    gone = Machine.enrolled()
    gone.check_in("CheckOut", Topic=gone.topic)
    before = Enrollment.objects.values().get()
    other = Machine.new(certificate=issued(Purpose.USER_ENROLLMENT))

    answered = other.say(
        {"MessageType": "Authenticate", "EnrollmentID": gone.udid, "Topic": other.topic}
    )

    assert answered.status == 403
    assert Enrollment.objects.values().get() == before


def test_an_accepted_case_is_for_the_serial_number_that_the_admin_saw():
    old, victim = Machine.enrolled(), Machine.enrolled()
    new = Machine.new(udid=old.udid, serial_number=old.serial_number)
    new.authenticate()
    quarantine.accept(ADMIN, Quarantine.objects.get().pk)
    new.serial_number = victim.serial_number

    assert new.authenticate().status == 403

    device = Device.objects.get(serial_number=victim.serial_number)
    assert device.enrollment == victim.enrollment
    new.serial_number = old.serial_number
    assert new.authenticate().status == 200


# --- Who came by ADE said its serial number, and proved none


def said(serial: str) -> x509.Certificate:
    """An identity that came of a device of Apple's saying that it has this serial number."""
    return issued(serial_number=serial, way="ade")


def test_a_device_that_was_erased_unseen_replaces_its_own_enrollment():
    machine = Machine.enrolled()
    again = twin(machine, certificate=said(machine.serial_number))

    assert again.authenticate().status == 200
    assert machine.idle().status == 403


def test_one_that_was_heard_of_since_was_not_erased():
    machine = Machine.enrolled()
    again = twin(machine, certificate=said(machine.serial_number))
    Enrollment.objects.update(last_seen_at=timezone.now() + timedelta(seconds=1))

    assert again.authenticate().status == 403

    assert Quarantine.objects.get().reason == "live_enrollment"
    assert machine.idle().status == 200


def test_one_of_another_udid_is_not_the_machine_that_was_enrolled():
    machine = Machine.enrolled()
    other = Machine.new(
        certificate=said(machine.serial_number), serial_number=machine.serial_number
    )

    assert other.authenticate().status == 403

    assert Quarantine.objects.get().reason == "live_enrollment"
    assert machine.idle().status == 200
    quarantine.accept(ADMIN, Quarantine.objects.get().pk)
    assert other.authenticate().status == 200


def test_a_link_for_one_serial_number_lets_it_in_with_another_udid():
    """Its board was changed: somebody made the link for this very machine."""
    machine = Machine.enrolled()
    other = Machine.new(
        certificate=issued(serial_number=machine.serial_number),
        serial_number=machine.serial_number,
    )

    assert other.authenticate().status == 200


@pytest.mark.parametrize(("hours", "status"), [(23, 200), (25, 403)])
def test_an_identity_that_was_kept_for_later_begins_nothing(hours, status):
    machine = Machine.new()
    Identity.objects.update(issued_at=timezone.now() - timedelta(hours=hours))

    assert machine.authenticate().status == status

    assert Enrollment.objects.exists() is (status == 200)
    assert not Quarantine.objects.exists()


def test_one_that_is_in_use_begins_again_however_old_it_is():
    machine = Machine.enrolled()
    Identity.objects.update(issued_at=timezone.now() - timedelta(days=700))

    assert machine.authenticate().status == 200


def test_what_an_admin_accepted_late_is_let_in():
    machine = Machine.enrolled()
    other = twin(machine, certificate=issued())
    assert other.authenticate().status == 403
    Identity.objects.update(issued_at=timezone.now() - timedelta(days=3))
    quarantine.accept(ADMIN, Quarantine.objects.get().pk)

    assert other.authenticate().status == 200


# --- What has been replaced stays out


def test_a_replaced_identity_does_not_come_back_on_the_strength_of_its_serial_number():
    serial = "C02AAAAAAAAA"
    machine = Machine.enrolled(certificate=issued(serial_number=serial), serial_number=serial)
    old = twin(machine)
    machine.certificate = issued(serial_number=serial)
    assert machine.authenticate().status == 200
    assert machine.token_update().status == 200

    assert old.authenticate().status == 403

    assert machine.idle().status == 200


def test_a_renewed_identity_does_not_come_back_once_it_was_renewed_itself():
    machine = Machine.enrolled()
    key = machine.udid.lower()
    machine.certificate = issued(Purpose.RENEWAL, enrollment=key)
    assert machine.authenticate().status == 200
    first_renewal = twin(machine)
    machine.certificate = issued(Purpose.RENEWAL, enrollment=key)
    assert machine.authenticate().status == 200

    assert first_renewal.authenticate().status == 403

    assert machine.idle().status == 200


def test_a_renewal_that_was_never_used_ends_with_the_enrollment_it_was_for():
    machine = Machine.enrolled()
    unused = twin(machine, certificate=issued(Purpose.RENEWAL, enrollment=machine.udid.lower()))
    # As the authority notes it when it issues.
    Identity.objects.filter(enrollment=None).update(enrollment=machine.enrollment)
    machine.check_in("CheckOut", Topic=machine.topic)
    machine.certificate = machines.issue()
    assert machine.authenticate().status == 200
    assert machine.token_update().status == 200

    assert unused.authenticate().status == 403

    assert machine.idle().status == 200


def test_what_an_admin_accepted_is_used_up_though_the_device_is_known_no_more():
    old = Machine.enrolled()
    new = Machine.new(udid=old.udid, serial_number=old.serial_number)
    new.authenticate()
    quarantine.accept(ADMIN, Quarantine.objects.get().pk)
    old.check_in("CheckOut", Topic=old.topic)
    devices.delete(ADMIN, old.enrollment.device)

    assert new.authenticate().status == 200

    assert Quarantine.objects.get().state == Quarantine.State.USED


def test_who_leaves_out_the_serial_number_does_not_take_the_device_of_its_successor():
    former = Machine.enrolled()
    former.check_in("CheckOut", Topic=former.topic)
    present = Machine.enrolled(serial_number=former.serial_number)
    former.serial_number = None
    former.certificate = machines.issue()

    assert former.authenticate().status == 403

    assert Device.objects.get().enrollment == present.enrollment
    assert present.token_update().status == 200


def test_an_enrollment_under_another_udid_ends_when_the_machine_enrolls_again():
    old = Machine.enrolled()
    waiting = ask(old.enrollment, "ProfileList")
    new = Machine.new(serial_number=old.serial_number)
    new.authenticate()
    quarantine.accept(ADMIN, Quarantine.objects.get().pk)

    assert new.authenticate().status == 200

    assert old.enrollment.state == Enrollment.State.CHECKED_OUT
    assert old.enrollment.period.ended_at is not None
    waiting.refresh_from_db()
    assert waiting.state == QueueEntry.State.CANCELLED
    assert old.idle().status == 403
    assert old.token_update().status == 403
    assert old.authenticate().status == 403
    assert new.token_update().status == 200


def test_a_udid_that_names_another_serial_number_leaves_the_first_device_without_enrollment():
    machine = Machine.enrolled()
    first = machine.enrollment.device
    machine.serial_number = "C02BBBBBBBBB"

    assert machine.authenticate().status == 200

    first.refresh_from_db()
    assert first.enrollment is None
    assert machine.enrollment.device.enrollment == machine.enrollment


# --- Released means out


def test_a_released_device_does_not_come_back_by_checking_out():
    machine = Machine.enrolled()
    devices.release(ADMIN, machine.enrollment)

    assert machine.check_in("CheckOut", Topic=machine.topic).status == 403
    assert machine.token_update().status == 403
    assert machine.idle().status == 403

    assert machine.enrollment.state == Enrollment.State.RELEASED


def test_a_released_device_needs_a_new_identity():
    machine = Machine.enrolled()
    devices.release(ADMIN, machine.enrollment)
    assert machine.authenticate().status == 403
    assert machine.enrollment.state == Enrollment.State.RELEASED

    machine.certificate = machines.issue()

    assert machine.authenticate().status == 200
    assert machine.token_update().status == 200


def test_a_deleted_devices_identity_enrolls_nothing():
    machine = Machine.enrolled()
    machine.check_in("CheckOut", Topic=machine.topic)
    devices.delete(ADMIN, machine.enrollment.device)

    assert machine.authenticate().status == 403
    assert Machine.new(certificate=machine.certificate).authenticate().status == 403

    assert not Device.objects.exists()


def test_a_release_outlasts_what_the_device_said_before():
    machine = Machine.enrolled()
    entry = ask(machine.enrollment, "EraseDevice")
    machine.idle()
    machine.connect("Acknowledged", entry.command_uuid)
    devices.release(ADMIN, machine.enrollment)

    consequences.drain()

    assert machine.enrollment.state == Enrollment.State.RELEASED


def test_an_enrollment_that_is_over_is_given_no_secrets_and_sets_none():
    mac = Machine.enrolled(product_name="Mac15,3")
    mac.check_in("SetBootstrapToken", BootstrapToken=b"secret")
    mac.check_in("CheckOut", Topic=mac.topic)

    assert mac.check_in("GetBootstrapToken").status == 403
    assert mac.check_in("SetBootstrapToken").status == 403

    assert Escrow.objects.count() == 1


# --- Users' channels


def test_a_users_channel_follows_the_identity_of_its_device():
    mac, user = mac_with_user()
    old = twin(mac)
    mac.check_in("CheckOut", Topic=mac.topic)
    mac.certificate = machines.issue()
    mac.authenticate()
    mac.token_update()
    assert mac.token_update(**user).status == 200

    assert mac.connect(**user).status == 200
    assert old.connect(**user).status == 403


def test_a_users_channel_opens_again_on_a_device_that_was_released_and_enrolls_again():
    mac, user = mac_with_user()
    devices.release(ADMIN, mac.enrollment)
    mac.certificate = machines.issue()
    mac.authenticate()
    mac.token_update()

    assert mac.token_update(**user).status == 200

    assert mac.connect(**user).status == 200


def test_a_users_period_ends_when_its_device_begins_a_new_one():
    mac, user = mac_with_user()
    mac.authenticate()
    mac.token_update()
    mac.token_update(**user)

    users = EnrollmentPeriod.objects.filter(enrollment__channel="user")
    assert [period.ended_by for period in users] == ["Authenticated", ""]
    assert [period.ended_at is None for period in users] == [False, True]


def test_the_check_out_of_an_unknown_user_leaves_the_device_enrolled():
    mac, _ = mac_with_user()

    assert mac.check_in("CheckOut", Topic=mac.topic, UserID=str(uuid.uuid4())).status == 403

    assert set(Enrollment.objects.values_list("state", flat=True)) == {"Enrolled"}


def test_a_bootstrap_token_is_the_machines_whoever_is_logged_in():
    mac, user = mac_with_user()

    assert mac.check_in("SetBootstrapToken", BootstrapToken=b"secret", **user).status == 200

    assert mac.check_in("GetBootstrapToken").plist == {"BootstrapToken": b"secret"}
    other = {"UserID": str(uuid.uuid4())}
    assert mac.check_in("GetBootstrapToken", **other).plist == {"BootstrapToken": b"secret"}


def test_a_device_opens_no_end_of_users_channels(monkeypatch):
    monkeypatch.setattr("mdm.checkin.token_update._USERS_AT_MOST", 2)
    mac, user = mac_with_user()
    assert mac.token_update(UserID="second").status == 200

    assert mac.token_update(UserID="third").status == 403

    assert Enrollment.objects.filter(channel="user").count() == 2
    assert mac.token_update(**user).status == 200


# --- Late consequences


@pytest.mark.django_db(transaction=True)
def test_an_erase_acknowledged_before_the_device_came_back_does_not_end_its_new_enrollment():
    machine = Machine.enrolled()
    entry = ask(machine.enrollment, "EraseDevice")
    machine.idle()
    machine.connect("Acknowledged", entry.command_uuid)
    Enrollment.objects.update(state="CheckedOut")
    machine.certificate = machines.issue()
    machine.authenticate()
    machine.token_update()

    assert consequences.drain() == 1

    assert machine.enrollment.state == Enrollment.State.ENROLLED


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("channel", ["device", "user"])
def test_what_a_device_reported_before_it_came_back_is_not_its_inventory_now(channel):
    mac, user = mac_with_user()
    ids = user if channel == "user" else {}
    entry = ask(Enrollment.objects.get(channel=channel), "ProfileList")
    mac.connect(**ids)
    mac.connect("Acknowledged", entry.command_uuid, ProfileList=[], **ids)
    mac.authenticate()
    mac.token_update()

    assert consequences.drain() == 1

    assert not InventorySection.objects.exists()


# --- Bounds


@pytest.mark.parametrize("message_type", ["Authenticate", "TokenUpdate", "CheckOut"])
def test_a_message_that_is_kept_is_small(message_type):
    machine = Machine.enrolled()
    kept = CheckinMessage.objects.count()
    message = {
        "MessageType": message_type,
        "Topic": machine.topic,
        "Token": b"t",
        "PushMagic": "m",
        "Ballast": "x" * 300_000,
        **machine.ids,
    }

    assert machine.say(message).status == 400

    assert CheckinMessage.objects.count() == kept
    assert machine.enrollment.state == Enrollment.State.ENROLLED
    assert Refusal.objects.exists()


def test_a_status_report_may_be_large():
    machine = Machine.enrolled()

    answered = machine.check_in("DeclarativeManagement", Endpoint="status", Data=b" " * 2_000_000)

    assert answered.status == 200
    assert timezone.now() >= machine.enrollment.last_seen_at
