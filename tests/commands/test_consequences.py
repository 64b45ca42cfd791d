"""What replies change: inventory and facts, once, in order, whatever happens in between."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from commands import consequences, first_inventory, queue
from commands.connect import REPLY
from commands.models import QueueEntry, Reply
from mdm import refusals
from mdm.audit.actor import Actor
from mdm.models import Enrollment, InventorySection
from mdm.secrets import seal
from tests import machines
from tests.machines import Machine

pytestmark = pytest.mark.django_db

ADMIN = Actor.system("test")


@pytest.fixture(autouse=True)
def server(db):
    machines.install_authority()
    machines.install_push_certificate()
    refusals.tally.__init__()


def answer(machine: Machine, request_type: str, parameters=None, **reply) -> Reply:
    made = queue.enqueue(
        ADMIN,
        request_type=request_type,
        parameters=parameters or {},
        enrollments=[machine.enrollment.pk],
    )
    machine.idle()
    machine.connect("Acknowledged", made.command.uuid, **reply)
    return Reply.objects.get(command_uuid=made.command.uuid)


def test_device_information_sets_the_devices_facts_and_inventory():
    machine = Machine.enrolled()
    answer(
        machine,
        "DeviceInformation",
        QueryResponses={
            "DeviceName": "Ada's iPhone",
            "OSVersion": "26.2",
            "IsSupervised": True,
            "ModelName": "iPhone",
            "BatteryLevel": 0.5,
        },
    )

    assert consequences.drain() == 1

    device = machine.enrollment.device
    assert (device.device_name, device.os_version, device.supervised) == (
        "Ada's iPhone",
        "26.2",
        True,
    )
    section = InventorySection.objects.get(section="DeviceInformation")
    assert section.data["BatteryLevel"] == 0.5
    assert Reply.objects.get().drained_at is not None
    assert consequences.drain() == 0


def test_draining_twice_changes_nothing_more():
    machine = Machine.enrolled()
    answer(machine, "ProfileList", ProfileList=[])
    consequences.drain()
    before = InventorySection.objects.values().get()

    Reply.objects.update(drained_at=None)
    assert consequences.drain() == 1

    assert InventorySection.objects.values().get() == before


def test_an_older_report_never_replaces_a_newer_one():
    machine = Machine.enrolled()
    older = answer(machine, "CertificateList", CertificateList=[])
    Reply.objects.filter(pk=older.pk).update(received_at=F("received_at") - timedelta(hours=1))
    newer = answer(
        machine,
        "CertificateList",
        CertificateList=[{"CommonName": "new", "IsIdentity": False, "Data": b"x"}],
    )
    Reply.objects.filter(pk=older.pk).update(drained_at=newer.received_at)
    consequences.drain()
    Reply.objects.filter(pk=older.pk).update(drained_at=None)

    consequences.drain()

    assert InventorySection.objects.get().item_count == 1


def test_a_changed_profile_asks_for_the_list_again_once():
    machine = Machine.enrolled()
    for _ in range(2):
        answer(machine, "RemoveProfile", {"Identifier": "org.example"})

    consequences.drain()

    assert QueueEntry.objects.filter(command__request_type="ProfileList").count() == 1


def test_an_acknowledged_erase_ends_the_enrollment_and_clears_the_queue():
    machine = Machine.enrolled()
    queue.enqueue(
        ADMIN,
        request_type="ProfileList",
        parameters={},
        enrollments=[machine.enrollment.pk],
    )
    answer(machine, "EraseDevice")

    consequences.drain()

    assert machine.enrollment.state == Enrollment.State.ERASED
    assert machine.enrollment.period.ended_by == "Erased"
    assert not QueueEntry.objects.filter(finished_at__isnull=True).exists()


def test_an_erased_device_enrolls_again_without_an_admin():
    machine = Machine.enrolled()
    answer(machine, "EraseDevice")
    consequences.drain()
    machine.certificate = machines.issue()

    assert machine.authenticate().status == 200
    assert machine.token_update().status == 200


def test_a_reply_that_cannot_be_applied_does_not_hold_up_the_others():
    machine = Machine.enrolled()
    broken = answer(machine, "SecurityInfo", SecurityInfo={"A": 1})
    Reply.objects.filter(pk=broken.pk).update(sealed_body=seal(REPLY, b"not a plist"))
    answer(machine, "ProfileList", ProfileList=[])

    consequences.drain()

    assert not Reply.objects.filter(drained_at__isnull=True).exists()
    assert InventorySection.objects.filter(section="ProfileList").exists()


def test_hostile_text_is_stored_as_text():
    machine = Machine.enrolled()
    answer(
        machine,
        "DeviceInformation",
        QueryResponses={"DeviceName": "<script>alert(1)</script>" * 50, "Odd": [1, {"a": b"\0"}]},
    )

    consequences.drain()

    assert len(machine.enrollment.device.device_name) <= 255


def test_a_new_enrollment_is_asked_about_itself_once():
    machine = Machine.enrolled()

    assert first_inventory.ask() == 1
    assert first_inventory.ask() == 0

    asked = set(QueueEntry.objects.values_list("command__request_type", flat=True))
    assert asked == set(first_inventory.QUESTIONS)
    assert machine.idle().body


def test_many_new_enrollments_share_the_questions():
    for _ in range(3):
        Machine.enrolled()
    from commands.models import Command

    assert first_inventory.ask() == 3

    assert Command.objects.count() == len(first_inventory.QUESTIONS)
    assert QueueEntry.objects.count() == 3 * len(first_inventory.QUESTIONS)


def test_a_users_channel_is_asked_only_what_it_can_answer():
    mac = Machine.enrolled(product_name="Mac15,3", os_version="15.1")
    mac.token_update(UserID=str(uuid.uuid4()), UserShortName="ada")

    first_inventory.ask()

    asked = QueueEntry.objects.filter(enrollment__channel="user")
    assert "ProfileList" in set(asked.values_list("command__request_type", flat=True))


def test_draining_reads_as_often_for_many_replies_as_for_one():
    def reads(replies: int) -> int:
        for _ in range(replies):
            machine = Machine.enrolled()
            answer(machine, "DeviceInformation", QueryResponses={"DeviceName": "One"})
        with CaptureQueriesContext(connection) as queries:
            assert consequences.drain() == replies
        said = [query["sql"].split()[0] for query in queries.captured_queries]
        return said.count("SELECT")

    assert reads(1) == reads(3)
