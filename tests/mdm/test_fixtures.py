"""What real devices sent is accepted, and lands in the right columns.

The messages lie in a folder beside the checkout; where it is missing, these tests are skipped.
What is expected is read from the messages themselves, by the standard library.
"""

from __future__ import annotations

import plistlib
import uuid
from pathlib import Path

import pytest

from commands import consequences, queue
from commands.connect import REPLY
from commands.models import Command, QueueEntry, Reply
from mdm import refusals
from mdm.audit.actor import Actor
from mdm.models import CheckinMessage, Device, Enrollment, Escrow, InventorySection, Refusal
from mdm.secrets import unseal
from tests import machines
from tests.machines import Answered, Machine

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures"

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(not FIXTURES.is_dir(), reason="the folder of captured messages is missing"),
]


@pytest.fixture(autouse=True)
def server(db):
    machines.install_authority()
    refusals.tally.__init__()


def captured(folder: str, pattern: str) -> list[str]:
    """The names of the captured messages in `folder`."""
    return sorted(path.name for path in (FIXTURES / folder).glob(f"{pattern}*.plist"))


def content(folder: str, name: str) -> tuple[bytes, dict]:
    body = (FIXTURES / folder / name).read_bytes()
    return body, plistlib.loads(body)


def machine_of(message: dict, name: str) -> Machine:
    """A machine with the identifiers of this message and a platform that fits its origin."""
    is_mac = "macOS" in name or ".10." in name
    topic = message.get("Topic", machines.TOPIC)
    machines.install_push_certificate(topic)
    return Machine.new(
        udid=message["UDID"],
        topic=topic,
        product_name="iMac15,1" if is_mac else "iPad4,1",
        os_version="10.11.6" if is_mac else "11.3.1",
    )


def say(machine: Machine, body: bytes, path: str, content_type: str) -> Answered:
    """The very bytes of the message, signed by a machine of this test."""
    return machines.put(path, body, content_type, HTTP_MDM_SIGNATURE=machine.sign(body))


def check_in(machine: Machine, body: bytes) -> Answered:
    return say(machine, body, "/mdm/checkin", machines.CHECKIN)


# --- Check-in


@pytest.mark.parametrize("name", captured("checkin", "Authenticate"))
def test_an_authenticate_makes_the_device_with_its_facts(name):
    body, sent = content("checkin", name)
    machine = machine_of(sent, name)

    assert check_in(machine, body).status == 200

    device = Device.objects.get()
    assert device.serial_number == sent["SerialNumber"]
    assert device.udid == sent["UDID"]
    assert device.product_name == sent["ProductName"]
    assert (device.os_version, device.build_version) == (sent["OSVersion"], sent["BuildVersion"])
    assert (device.imei, device.meid) == (sent.get("IMEI", ""), sent.get("MEID", ""))
    assert device.device_name == sent.get("DeviceName", "")
    assert (device.model, device.model_name) == (sent.get("Model", ""), sent.get("ModelName", ""))
    prefixes = {"iPad": "iPadOS", "iPho": "iOS", "iMac": "macOS"}
    assert device.platform == prefixes[sent["ProductName"][:4]]
    enrollment = machine.enrollment
    assert (enrollment.state, enrollment.topic) == ("Authenticated", sent["Topic"])
    assert enrollment.device_identifier == sent["UDID"]
    assert device.enrollment == enrollment
    record = plistlib.loads(CheckinMessage.objects.get().body)
    assert record == sent | dict.fromkeys({"Challenge"} & sent.keys(), "(redacted)")


@pytest.mark.parametrize(
    "name", [name for name in captured("checkin", "TokenUpdate") if "user-channel" not in name]
)
def test_a_token_update_completes_the_enrollment(name):
    body, sent = content("checkin", name)
    machine = machine_of(sent, name)
    machine.authenticate()

    assert check_in(machine, body).status == 200

    enrollment = machine.enrollment
    assert enrollment.state == Enrollment.State.ENROLLED
    assert enrollment.push_magic == sent["PushMagic"]
    assert unseal("push_token", enrollment.sealed_push_token) == sent["Token"]
    assert enrollment.awaiting_configuration is sent["AwaitingConfiguration"]
    escrowed = [unseal("unlock_token", row.sealed) for row in Escrow.objects.all()]
    assert escrowed == ([sent["UnlockToken"]] if "UnlockToken" in sent else [])


def test_a_users_token_update_opens_a_channel_under_the_device():
    (name,) = captured("checkin", "TokenUpdate*user-channel")
    body, sent = content("checkin", name)
    machine = machine_of(sent, name)
    machine.authenticate()
    machine.token_update()

    assert check_in(machine, body).status == 200

    user = Enrollment.objects.get(channel="user")
    assert (user.parent, user.state) == (machine.enrollment, "Enrolled")
    assert user.user_identifier == sent["UserID"]
    assert (user.user_short_name, user.user_long_name) == (
        sent["UserShortName"],
        sent["UserLongName"],
    )
    assert user.push_magic == sent["PushMagic"]
    assert unseal("push_token", user.sealed_push_token) == sent["Token"]
    assert user.not_on_console is sent["NotOnConsole"]


@pytest.mark.parametrize("name", captured("checkin", "CheckOut"))
def test_a_check_out_ends_the_enrollment(name):
    body, sent = content("checkin", name)
    machine = machine_of(sent, name)
    machine.authenticate()
    machine.token_update()

    assert check_in(machine, body).status == 200

    assert machine.enrollment.state == Enrollment.State.CHECKED_OUT
    assert machine.enrollment.period.ended_by == "CheckedOut"


# --- Connect

# The command that a message answers, where its name does not tell.
COMMANDS = {"NotNow": "ProfileList", "Errors": "RemoveProfile"}
PARAMETERS = {"RemoveProfile": {"Identifier": "org.example.profile"}}
UNKNOWN_TO_THE_CATALOG = {"AvailableOSUpdates", "InstallApplication", "ManagedApplicationList"}


def ask(machine: Machine, name: str, command_uuid: str) -> QueueEntry:
    """Queue and deliver the command that this message answers, under the CommandUUID it names."""
    kind = name.partition(".")[0]
    request_type = COMMANDS.get(kind, kind)
    parameters = PARAMETERS.get(request_type, {})
    if request_type in UNKNOWN_TO_THE_CATALOG:
        parameters = {"Plist": plistlib.dumps({"RequestType": request_type}).decode()}
        request_type = "Raw"
    made = queue.enqueue(
        Actor.system("test"),
        request_type=request_type,
        parameters=parameters,
        enrollments=[machine.enrollment.pk],
    )
    assert machine.idle().body
    Command.objects.filter(pk=made.command.pk).update(uuid=uuid.UUID(command_uuid))
    QueueEntry.objects.update(command_uuid=uuid.UUID(command_uuid))
    return QueueEntry.objects.get()


def answered(name: str) -> tuple[Machine, dict]:
    """The captured reply given to its command: the machine that gave it, and what it said."""
    body, sent = content("connect", name)
    machine = machine_of(sent, name)
    machine.authenticate()
    machine.token_update()
    ask(machine, name, sent["CommandUUID"])

    assert say(machine, body, "/mdm/connect", machines.CONNECT).status == 200
    assert not Refusal.objects.exists()
    return machine, sent


def section(name: str) -> InventorySection:
    assert consequences.drain() == 1
    return InventorySection.objects.get(section=name)


@pytest.mark.parametrize("name", captured("connect", ""))
def test_a_reply_is_recorded_for_its_command(name):
    machine, sent = answered(name)

    entry = QueueEntry.objects.get()
    assert entry.state == sent["Status"]
    if sent["Status"] == "NotNow":
        assert entry.not_now_count == 1
        assert not Reply.objects.exists()
        return
    assert entry.finished_at is not None
    reply = Reply.objects.get()
    assert (reply.enrollment, reply.command_uuid) == (machine.enrollment, entry.command_uuid)
    assert unseal(REPLY, reply.sealed_body) == content("connect", name)[0]
    chain = [
        (error["ErrorCode"], error["ErrorDomain"], error["LocalizedDescription"])
        for error in sent.get("ErrorChain", [])
    ]
    assert [
        (error["code"], error["domain"], error["localized_description"])
        for error in reply.error_chain or []
    ] == chain
    assert consequences.drain() == 1
    assert consequences.drain() == 0


@pytest.mark.parametrize("name", captured("connect", "DeviceInformation"))
def test_device_information_fills_the_devices_columns(name):
    machine, sent = answered(name)
    said = sent["QueryResponses"]

    held = section("DeviceInformation").data

    device = machine.enrollment.device
    assert device.device_name == said["DeviceName"]
    assert (device.os_version, device.build_version) == (said["OSVersion"], said["BuildVersion"])
    assert (device.model, device.model_name) == (said["Model"], said["ModelName"])
    assert device.product_name == said["ProductName"]
    assert device.supervised == said.get("IsSupervised")
    # Who a device is, only its enrollment may say.
    assert device.serial_number == machine.serial_number
    assert device.udid == machine.udid
    plain = {key: value for key, value in said.items() if isinstance(value, str | bool | float)}
    assert {key: held.get(key) for key in plain} == plain


@pytest.mark.parametrize("name", captured("connect", "SecurityInfo"))
def test_security_info_is_kept_as_reported(name):
    _, sent = answered(name)

    assert section("SecurityInfo").data == sent["SecurityInfo"]


@pytest.mark.parametrize(
    "name", captured("connect", "InstalledApplicationList") + captured("connect", "ProfileList")
)
def test_a_list_is_kept_whole_and_in_order(name):
    kind = name.partition(".")[0]
    _, sent = answered(name)

    held = section(kind)

    assert (held.data, held.item_count, held.truncated) == (sent[kind], len(sent[kind]), False)


@pytest.mark.parametrize("name", captured("connect", "CertificateList"))
def test_certificates_are_kept_with_what_they_say(name):
    _, sent = answered(name)
    said = sent["CertificateList"]

    held = section("CertificateList").data

    assert [(item["CommonName"], item["IsIdentity"]) for item in held] == [
        (item["CommonName"], item["IsIdentity"]) for item in said
    ]
    assert all(len(item["SHA256"]) == 64 and item["NotAfter"].endswith("Z") for item in held)
