"""What each check-in message changes, and what it never changes."""

from __future__ import annotations

import json
import plistlib
import uuid
from datetime import timedelta

import pytest

from commands.models import Command, QueueEntry
from mdm import quarantine, refusals
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.checkin import requests
from mdm.models import (
    CheckinMessage,
    Device,
    Enrollment,
    Escrow,
    InventorySection,
    Quarantine,
    Refusal,
)
from mdm.protocol.binding import Binding, Purpose
from mdm.secrets import unseal
from mdm.webhooks.models import Event
from tests import machines
from tests.machines import Machine

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def server(db):
    machines.install_authority()
    machines.install_push_certificate()
    refusals.tally.__init__()


def bound_to(serial_number=None, purpose=Purpose.DEVICE, **more) -> Binding:
    return Binding(purpose, "link", str(uuid.uuid4()), serial_number=serial_number, **more)


def queue_something(enrollment: Enrollment) -> QueueEntry:
    command = Command.objects.create(request_type="DeviceLock", asked_by="test")
    return QueueEntry.objects.create(
        enrollment=enrollment, command=command, command_uuid=command.uuid
    )


# --- Authenticate and TokenUpdate


def test_authenticate_makes_a_device_that_awaits_its_token():
    machine = Machine.new()

    assert machine.authenticate(IMEI="35 000000 000000 1").status == 200

    enrollment = machine.enrollment
    assert enrollment.state == Enrollment.State.AUTHENTICATED
    assert enrollment.topic == machine.topic
    assert enrollment.access_rights == 8191
    device = enrollment.device
    assert (device.serial_number, device.udid, device.platform, device.imei) == (
        machine.serial_number,
        machine.udid,
        "iOS",
        "35 000000 000000 1",
    )
    assert device.enrollment == enrollment


def test_the_first_token_update_completes_the_enrollment():
    machine = Machine.new()
    machine.authenticate()

    assert machine.token_update(UnlockToken=b"unlock", AwaitingConfiguration=True).status == 200

    enrollment = machine.enrollment
    assert enrollment.state == Enrollment.State.ENROLLED
    assert enrollment.enrolled_at is not None
    assert enrollment.wake_at is not None
    assert enrollment.awaiting_configuration
    assert unseal("push_token", enrollment.sealed_push_token) == b"\x01" * 32
    assert unseal("unlock_token", Escrow.objects.get(enrollment=enrollment).sealed) == b"unlock"
    assert enrollment.period.completed_at is not None
    assert Event.objects.filter(kind="enrollment.completed", subject=enrollment.key).count() == 1


def test_a_later_token_update_without_unlock_token_keeps_the_stored_one():
    machine = Machine.enrolled()
    machine.token_update(UnlockToken=b"first")

    machine.token_update(Token=b"\x02" * 32)

    enrollment = machine.enrollment
    assert unseal("push_token", enrollment.sealed_push_token) == b"\x02" * 32
    assert unseal("unlock_token", Escrow.objects.get(enrollment=enrollment).sealed) == b"first"
    assert Event.objects.filter(kind="enrollment.completed").count() == 1
    assert enrollment.periods.count() == 1


def test_secrets_are_neither_stored_plainly_nor_in_the_record():
    machine = Machine.enrolled()
    machine.token_update(Token=b"tokentokentoken!", UnlockToken=b"unlockunlockunlock")
    machine.check_in("SetBootstrapToken", BootstrapToken=b"bootstrapbootstrap")

    stored = b"".join(bytes(body) for body in CheckinMessage.objects.values_list("body", flat=True))
    stored += b"".join(bytes(sealed) for sealed in Escrow.objects.values_list("sealed", flat=True))
    stored += bytes(machine.enrollment.sealed_push_token)
    for secret in (b"tokentokentoken!", b"unlockunlock", b"bootstrapboot"):
        assert secret not in stored
        assert plistlib.dumps({"k": secret})[180:200] not in stored


def test_a_device_that_is_in_the_books_before_it_enrolls_is_that_device():
    machine = Machine.new()
    known = Device.objects.create(serial_number=machine.serial_number, device_name="From a list")

    assert machine.authenticate(DeviceName="").status == 200

    assert machine.enrollment.device == known
    known.refresh_from_db()
    assert known.enrollment == machine.enrollment
    assert (known.udid, known.device_name) == (machine.udid, "From a list")


def test_a_device_that_comes_back_is_the_same_device_with_a_new_period():
    machine = Machine.enrolled()
    machine.token_update(UnlockToken=b"unlock")
    before = machine.enrollment
    entry = queue_something(before)
    InventorySection.objects.create(
        enrollment=before, section="ProfileList", data=[], reported_at=before.enrolled_at
    )
    machine.check_in("CheckOut", Topic=machine.topic)
    machine.certificate = machines.issue()

    assert machine.authenticate().status == 200

    after = machine.enrollment
    assert (after.pk, after.device_id) == (before.pk, before.device_id)
    assert after.state == Enrollment.State.AUTHENTICATED
    assert after.periods.count() == 2
    assert after.periods.first().ended_by == "CheckedOut"
    assert after.sealed_push_token is None
    assert after.enrolled_at is None
    assert not Escrow.objects.exists()
    assert not InventorySection.objects.exists()
    entry.refresh_from_db()
    assert entry.state == QueueEntry.State.CANCELLED
    assert CheckinMessage.objects.filter(message_type="CheckOut").count() == 1


def test_authenticate_drops_what_was_queued_and_closes_the_users_channels():
    mac = Machine.enrolled(product_name="Mac15,3")
    user = {"UserID": str(uuid.uuid4()), "UserShortName": "ada", "UserLongName": "Ada L"}
    mac.token_update(**user)
    user_enrollment = Enrollment.objects.get(channel="user")
    entry = queue_something(mac.enrollment)
    user_entry = queue_something(user_enrollment)

    assert mac.authenticate().status == 200

    for waiting in (entry, user_entry):
        waiting.refresh_from_db()
        assert waiting.state == QueueEntry.State.CANCELLED
    user_enrollment.refresh_from_db()
    assert user_enrollment.state == Enrollment.State.CHECKED_OUT


def test_an_aborted_install_can_be_tried_again_with_a_new_identity():
    machine = Machine.new()
    machine.authenticate()
    machine.certificate = machines.issue()

    assert machine.authenticate().status == 200
    assert machine.token_update().status == 200


def test_a_restored_device_sends_a_token_update_without_authenticate():
    machine = Machine.enrolled()
    machine.check_in("CheckOut", Topic=machine.topic)

    assert machine.token_update().status == 200

    assert machine.enrollment.state == Enrollment.State.ENROLLED
    assert machine.enrollment.periods.count() == 2


def test_a_device_whose_logic_board_was_swapped_keeps_its_serial_number_and_row():
    machine = Machine.enrolled()
    device = machine.enrollment.device
    machine.check_in("CheckOut", Topic=machine.topic)
    machine.udid = str(uuid.uuid4())
    machine.certificate = machines.issue()

    assert machine.authenticate().status == 200

    assert machine.enrollment.device == device
    assert Device.objects.count() == 1


def test_a_token_update_of_a_superseded_identifier_is_refused():
    machine = Machine.new()
    machine.authenticate()
    old = Machine(machine.certificate, machine.udid, machine.serial_number)
    machine.udid, machine.certificate = str(uuid.uuid4()), machines.issue()
    assert machine.authenticate().status == 200

    assert old.token_update().status == 403
    assert machine.token_update().status == 200


def test_a_foreign_topic_is_refused():
    machine = Machine.new(topic="com.apple.mgmt.External.someone-else")

    assert machine.authenticate().status == 403
    assert not Enrollment.objects.exists()


def test_a_user_enrollment_reveals_no_serial_number():
    certificate = machines.issue(bound_to(purpose=Purpose.USER_ENROLLMENT))
    machine = Machine.new(certificate=certificate, serial_number=None)
    ids = {"EnrollmentID": "AB12CD34", "Topic": machine.topic}

    assert machine.say({"MessageType": "Authenticate", **ids}).status == 200
    token = {"Token": b"t", "PushMagic": "m"}
    assert machine.say({"MessageType": "TokenUpdate", **ids, **token}).status == 200

    enrollment = Enrollment.objects.get(key="ab12cd34")
    assert enrollment.kind == Enrollment.Kind.USER_ENROLLMENT
    assert enrollment.device.serial_number is None
    assert enrollment.state == Enrollment.State.ENROLLED


def test_a_shared_ipad_user_begins_with_a_token_update():
    ipad = Machine.enrolled(product_name="iPad14,1")
    user = {"UserID": "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "UserShortName": "ada@school.org"}

    assert ipad.token_update(**user).status == 200

    enrollment = Enrollment.objects.get(channel="shared_ipad_user")
    assert enrollment.key == f"{ipad.udid.lower()}:ada@school.org"
    assert enrollment.parent == ipad.enrollment


def test_a_user_channel_of_a_device_that_is_not_enrolled_is_refused():
    mac = Machine.new(product_name="Mac15,3")
    mac.authenticate()

    assert mac.token_update(UserID=str(uuid.uuid4()), UserShortName="ada").status == 403
    assert Enrollment.objects.count() == 1


# --- The other messages


def test_check_out_ends_the_enrollment_and_its_users():
    mac = Machine.enrolled(product_name="Mac15,3")
    mac.token_update(UserID=str(uuid.uuid4()), UserShortName="ada")
    entry = queue_something(mac.enrollment)

    assert mac.check_in("CheckOut", Topic=mac.topic).status == 200

    assert set(Enrollment.objects.values_list("state", flat=True)) == {"CheckedOut"}
    entry.refresh_from_db()
    assert entry.state == QueueEntry.State.CANCELLED
    assert mac.enrollment.period.ended_by == "CheckedOut"


def test_a_users_check_out_leaves_the_device_enrolled():
    mac = Machine.enrolled(product_name="Mac15,3")
    user = {"UserID": str(uuid.uuid4()), "UserShortName": "ada"}
    mac.token_update(**user)

    mac.check_in("CheckOut", Topic=mac.topic, **user)

    assert mac.enrollment.state == Enrollment.State.ENROLLED
    assert Enrollment.objects.get(channel="user").state == Enrollment.State.CHECKED_OUT


def test_a_bootstrap_token_is_kept_given_back_and_withdrawn(monkeypatch):
    mac = Machine.enrolled(product_name="Mac15,3")
    assert mac.check_in("GetBootstrapToken").plist == {}

    assert mac.check_in("SetBootstrapToken", BootstrapToken=b"secret").status == 200
    for _ in range(2):
        assert mac.check_in("GetBootstrapToken").plist == {"BootstrapToken": b"secret"}

    # That it was handed out is on record once an hour; that there was none is not.
    read = AuditEvent.objects.filter(action="bootstrap_token.read")
    about = (read.get().actor_kind, read.get().subject_kind, read.get().subject_id)
    assert about == ("device", "device", str(mac.enrollment.device_id))
    monkeypatch.setattr(requests, "_HOUR", timedelta(0))
    mac.check_in("GetBootstrapToken")
    assert read.count() == 2

    assert mac.check_in("SetBootstrapToken").status == 200
    assert mac.check_in("GetBootstrapToken").plist == {}


def test_directory_users_are_not_managed():
    mac = Machine.enrolled(product_name="Mac15,3")

    assert mac.check_in("UserAuthenticate", UserID=str(uuid.uuid4())).status == 410


def test_a_token_for_an_unknown_service_is_a_bad_request():
    machine = Machine.enrolled()

    assert machine.check_in("GetToken", TokenServiceType="com.apple.maid").status == 400


def test_return_to_service_is_off():
    machine = Machine.enrolled()

    assert machine.check_in("ReturnToService").plist == {"ReturnToService": {"Enabled": False}}


def test_nothing_declared_is_an_empty_set_of_declarations():
    machine = Machine.enrolled()

    tokens = machine.check_in("DeclarativeManagement", Endpoint="tokens")
    items = machine.check_in("DeclarativeManagement", Endpoint="declaration-items")
    one = machine.check_in("DeclarativeManagement", Endpoint="declaration/configuration/a")
    status = machine.check_in("DeclarativeManagement", Endpoint="status", Data=b"{}")

    assert tokens.headers["Content-Type"] == "application/json"
    sync = json.loads(tokens.body)["SyncTokens"]
    declared = json.loads(items.body)
    assert sync["DeclarationsToken"] == declared["DeclarationsToken"]
    assert declared["Declarations"] == {
        "Activations": [],
        "Assets": [],
        "Configurations": [],
        "Management": [],
    }
    assert (one.status, status.status, status.body) == (404, 200, b"")


# --- Who may speak


def test_another_device_cannot_speak_for_an_enrollment():
    victim, attacker = Machine.enrolled(), Machine.enrolled()
    attacker.udid = victim.udid
    before = Enrollment.objects.filter(key=victim.udid.lower()).values().get()

    assert attacker.token_update(Token=b"stolen").status == 403
    assert attacker.check_in("CheckOut", Topic=victim.topic).status == 403
    assert attacker.check_in("SetBootstrapToken", BootstrapToken=b"x").status == 403
    assert attacker.check_in("GetBootstrapToken").status == 403

    assert Enrollment.objects.filter(key=victim.udid.lower()).values().get() == before
    assert Refusal.objects.get(reason="identity_mismatch").count >= 1


def test_an_unbound_identity_cannot_take_over_a_live_enrollment():
    victim = Machine.enrolled()
    thief = Machine.new(udid=victim.udid, serial_number=victim.serial_number)
    before = Enrollment.objects.values().get()

    assert thief.authenticate().status == 403

    assert Enrollment.objects.values().get() == before
    case = Quarantine.objects.get()
    assert (case.reason, case.enrollment_key, case.count) == (
        "live_enrollment",
        victim.udid.lower(),
        1,
    )
    assert victim.idle().status == 200


def test_a_stolen_serial_number_under_another_udid_goes_to_quarantine():
    victim = Machine.enrolled()
    thief = Machine.new(serial_number=victim.serial_number)

    assert thief.authenticate().status == 403

    assert Quarantine.objects.get().reason == "live_enrollment"
    assert victim.enrollment.device.enrollment == victim.enrollment
    assert not Enrollment.objects.filter(key=thief.udid.lower()).exists()


def test_an_accepted_case_lets_the_next_attempt_in_once_and_ends_the_old_identity():
    old = Machine.enrolled()
    new = Machine.new(udid=old.udid, serial_number=old.serial_number)
    new.authenticate()
    quarantine.accept(Actor.system("test"), Quarantine.objects.get().pk)

    assert new.authenticate().status == 200
    assert new.token_update().status == 200

    assert Quarantine.objects.get().state == Quarantine.State.USED
    assert old.idle().status == 403
    assert new.idle().status == 200


def test_a_rejected_case_stays_out():
    old = Machine.enrolled()
    new = Machine.new(udid=old.udid, serial_number=old.serial_number)
    new.authenticate()
    quarantine.reject(Actor.system("test"), Quarantine.objects.get().pk)

    assert new.authenticate().status == 403
    assert Quarantine.objects.get().state == Quarantine.State.REJECTED


def test_an_identity_belongs_to_one_enrollment_only():
    first = Machine.enrolled()
    second = Machine.new(certificate=first.certificate)

    assert second.authenticate().status == 403

    assert Quarantine.objects.get().reason == "identity_of_another"
    assert not Enrollment.objects.filter(key=second.udid.lower()).exists()


def test_one_identity_cannot_fill_the_quarantine():
    first = Machine.enrolled()
    for _ in range(25):
        Machine.new(certificate=first.certificate).authenticate()

    assert Quarantine.objects.count() == 20


def test_an_identity_bound_to_a_serial_number_enrolls_that_device_only():
    certificate = machines.issue(bound_to("C02AAAAAAAAA"))

    other = Machine.new(certificate=certificate, serial_number="C02BBBBBBBBB")
    assert other.authenticate().status == 403
    assert Quarantine.objects.get().reason == "bound_to_another_serial"

    right = Machine.new(certificate=certificate, serial_number="C02AAAAAAAAA")
    assert right.authenticate().status == 200


def test_an_identity_bound_to_the_serial_number_replaces_a_live_enrollment():
    old = Machine.enrolled()
    new = Machine.new(
        udid=old.udid,
        serial_number=old.serial_number,
        certificate=machines.issue(bound_to(old.serial_number)),
    )

    assert new.authenticate().status == 200
    assert old.idle().status == 403


def test_a_renewed_identity_replaces_the_old_one_and_resets_nothing():
    machine = Machine.enrolled()
    machine.token_update(UserID=str(uuid.uuid4()), UserShortName="ada")
    entry = queue_something(machine.enrollment)
    old = Machine(machine.certificate, machine.udid, machine.serial_number)
    machine.certificate = machines.issue(
        bound_to(purpose=Purpose.RENEWAL, enrollment=machine.udid.lower())
    )

    assert machine.authenticate().status == 200

    assert machine.enrollment.state == Enrollment.State.ENROLLED
    assert machine.enrollment.periods.count() == 1
    entry.refresh_from_db()
    assert entry.state == QueueEntry.State.QUEUED
    assert old.idle().status == 403
    assert machine.idle().command == "DeviceLock" or machine.idle().status == 200
    assert set(Enrollment.objects.values_list("identity_sha256", flat=True)).__len__() == 1


def test_a_renewal_for_another_enrollment_is_refused():
    victim, attacker = Machine.enrolled(), Machine.enrolled()
    attacker.certificate = machines.issue(
        bound_to(purpose=Purpose.RENEWAL, enrollment=attacker.udid.lower())
    )
    attacker.udid, attacker.serial_number = victim.udid, victim.serial_number

    assert attacker.authenticate().status == 403
    assert victim.idle().status == 200


def test_a_revoked_identity_enrolls_nothing():
    from django.utils import timezone

    from mdm.models import Identity

    machine = Machine.new()
    Identity.objects.update(revoked_at=timezone.now())

    assert machine.authenticate().status == 403
    assert not Enrollment.objects.exists()


def test_a_user_enrollments_identity_cannot_enroll_a_whole_device():
    machine = Machine.new(certificate=machines.issue(bound_to(purpose=Purpose.USER_ENROLLMENT)))

    assert machine.authenticate().status == 403


def test_an_identity_of_another_authority_is_refused():
    from django.utils import timezone

    from enrollment.wire.authority import create_authority

    foreign = create_authority("Test Device CA", timezone.now())
    machine = Machine.new(certificate=machines.issue(own=foreign, known=False))

    assert machine.authenticate().status == 403
    assert Refusal.objects.filter(reason="foreign_authority").exists()


def test_an_expired_identity_begins_nothing_but_keeps_speaking():
    from datetime import timedelta

    expired = machines.issue(lifetime=timedelta(minutes=1))
    assert Machine.new(certificate=expired).authenticate().status == 403

    machine = Machine.enrolled()
    Enrollment.objects.update(identity_sha256=machines._sha256(_der(expired)))
    machine.certificate = expired
    assert machine.idle().status == 200


def _der(certificate):
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def test_a_request_without_signature_is_a_bad_request_never_401():
    body = plistlib.dumps({"MessageType": "CheckOut", "UDID": "x"})

    assert machines.put("/mdm/checkin", body).status == 400


def test_a_signature_over_another_body_is_refused():
    machine = Machine.enrolled()
    body = plistlib.dumps({"Status": "Idle", "UDID": machine.udid})

    answered = machines.put(
        "/mdm/connect", body, machines.CONNECT, HTTP_MDM_SIGNATURE=machine.sign(body + b" ")
    )

    assert answered.status == 400


def test_sha1_signatures_of_older_devices_count():
    assert Machine.enrolled(digest="sha1").idle().status == 200


def test_only_put_is_answered():
    from mdm.wsgi import application

    answered = machines.call(application, "GET", "/mdm/checkin")

    assert (answered.status, answered.headers["Allow"]) == (405, "PUT")


def test_messages_are_told_apart_by_their_body_where_the_content_type_is_missing():
    machine = Machine.enrolled()
    for path in ("/mdm/checkin", "/mdm/connect"):
        idle = {"Status": "Idle", **machine.ids}
        assert machine.say(idle, content_type="", path=path).status == 200
        token = {"MessageType": "GetBootstrapToken", **machine.ids}
        assert machine.say(token, content_type="", path=path).plist == {}
