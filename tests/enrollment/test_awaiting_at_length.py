"""Devices that wait in Setup Assistant, at length: many, two workers, those that leave and return.

How one is held and let go is `test_awaiting.py`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from commands import consequences, first_inventory
from commands.models import Command, QueueEntry
from commands.queue import NobodyCanRunIt
from enrollment import awaiting
from enrollment.models import Arrival, Holding
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed
from mdm.models import Device, Enrollment
from profiles import editing
from profiles.models import Version
from profiles.wire.content import new_content
from tests.enrollment.test_awaiting import ADMIN, arrive, obey, sent
from tests.machines import Machine
from tests.steps import Meanwhile

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def ready(ca: Any, push_certificate: Any) -> None:
    """A server that devices can enroll with."""


def over() -> None:
    """The time of all that are held is over."""
    Holding.objects.update(limit_at=timezone.now() - timedelta(seconds=1))


def comes_back(machine: Machine) -> None:
    assert machine.authenticate().status == 200
    assert machine.token_update(AwaitingConfiguration=True).status == 200


# --- For how long --------------------------------------------------------------------------------


def version(name: str, minutes: int) -> Version:
    made = editing.create(ADMIN, name, new_content(), await_minutes=minutes).current
    assert made is not None
    return made


def held_for(machine: Machine) -> timedelta:
    awaiting.follow()
    held = Holding.objects.get(pk=machine.enrollment.pk)
    return held.limit_at - held.began_at


def test_the_newest_arrival_of_that_device_counts() -> None:
    machine = arrive()
    own = str(machine.serial_number)
    for serial, minutes in ((own, 7), (own, 9), ("SOMEOTHER1", 11)):
        Arrival.objects.create(serial_number=serial, version=version(f"For {minutes}", minutes))
    assert held_for(machine) == timedelta(minutes=9)


def test_it_is_half_an_hour_where_the_profile_is_gone() -> None:
    machine = arrive()
    serial = str(machine.serial_number)
    Arrival.objects.create(serial_number=serial, version=version("Old", 7))
    Arrival.objects.create(serial_number=serial, version=None)
    assert held_for(machine) == timedelta(minutes=30)


def test_one_without_a_serial_number_is_held_too() -> None:
    assert held_for(arrive(serial_number=None)) == timedelta(minutes=30)


def test_a_users_channel_is_not_held() -> None:
    mac = arrive(product_name="Mac15,3")
    user = {"UserID": "user-1", "UserShortName": "ada", "UserLongName": "Ada"}
    assert mac.token_update(AwaitingConfiguration=True, **user).status == 200
    assert Enrollment.objects.filter(awaiting_configuration=True).count() == 2
    awaiting.follow()
    assert Holding.objects.get().enrollment == mac.enrollment


# --- Let go --------------------------------------------------------------------------------------


def test_one_that_has_left_meanwhile_is_not_let_go() -> None:
    machine = arrive()
    awaiting.follow()
    machine.check_in("CheckOut")
    over()
    assert awaiting.follow() == 0
    assert Holding.objects.get().released_at is None


def test_one_that_checked_out_before_is_not_held() -> None:
    machine = arrive()
    machine.check_in("CheckOut")
    Enrollment.objects.update(awaiting_configuration=True)
    awaiting.follow()
    assert not Holding.objects.exists()


def test_one_that_does_not_wait_anymore_is_not_told_to_go() -> None:
    machine = arrive()
    awaiting.follow()
    assert machine.token_update().status == 200
    over()
    assert awaiting.follow() == 0
    assert sent(machine) == []


def test_an_answer_still_to_come_keeps_it() -> None:
    machine = arrive()
    first_inventory.ask()
    waiting = machine.idle()
    assert waiting.plist is not None
    QueueEntry.objects.exclude(command_uuid=waiting.plist["CommandUUID"]).delete()
    assert awaiting.follow() == 0
    machine.connect("NotNow", waiting.plist["CommandUUID"])
    assert awaiting.follow() == 0
    machine.connect("Error", waiting.plist["CommandUUID"])
    assert awaiting.follow() == 1


def test_someones_own_release_does_not_count_as_something_to_wait_for() -> None:
    """The command waits already, without the holding: it is let go all the same, by one command."""
    machine = arrive()
    awaiting.release(ADMIN, machine.enrollment)
    first_inventory.ask()
    QueueEntry.objects.exclude(command__request_type="DeviceConfigured").delete()
    assert awaiting.follow() == 1
    assert sent(machine) == ["DeviceConfigured"]


def test_who_let_it_go_stays_and_is_audited() -> None:
    machine = arrive()
    awaiting.follow()
    over()
    assert awaiting.follow() == 1
    awaiting.release(ADMIN, machine.enrollment)
    assert Holding.objects.get().released_by == awaiting.LIMIT

    actors = AuditEvent.objects.filter(action="command.send").order_by("pk")
    assert list(actors.values_list("actor_name", flat=True)) == ["await configuration", "tests"]


def test_whoever_is_switched_off_lets_nobody_go() -> None:
    machine = arrive()
    former = Actor(kind=ADMIN.kind, id="1", name="Former", active=False)
    with pytest.raises(NotAllowed, match=r"enrollment\.configured"):
        awaiting.release(former, machine.enrollment)
    assert sent(machine) == []


def test_a_release_that_the_device_cannot_take_is_said_and_changes_nothing() -> None:
    machine = arrive()
    awaiting.follow()
    Device.objects.update(supervised=False)
    with pytest.raises(NobodyCanRunIt):
        awaiting.release(ADMIN, machine.enrollment)
    assert Holding.objects.get().released_at is None


def test_one_that_cannot_take_it_stops_none_of_the_others() -> None:
    machines = [arrive(), arrive()]
    awaiting.follow()
    unable, able = machines
    Device.objects.filter(pk=unable.enrollment.device_id).update(supervised=False)
    over()
    awaiting.follow()
    assert (sent(unable), sent(able)) == ([], ["DeviceConfigured"])


def test_where_nobody_can_take_it_the_worker_goes_on() -> None:
    machine = arrive()
    awaiting.follow()
    Device.objects.update(supervised=False)
    over()
    awaiting.follow()
    assert sent(machine) == []


# --- Coming back ---------------------------------------------------------------------------------


def test_one_that_was_configured_and_comes_back_is_asked_and_let_go_again() -> None:
    machine = arrive()
    first_inventory.ask()
    obey(machine)
    assert awaiting.follow() == 1
    assert obey(machine) == ["DeviceConfigured"]
    consequences.drain()

    comes_back(machine)
    assert awaiting.follow() == 0
    held = Holding.objects.get()
    assert (held.released_at, held.released_by) == (None, "")
    first_inventory.ask()
    assert awaiting.follow() == 0
    obey(machine)
    assert awaiting.follow() == 1
    assert obey(machine) == ["DeviceConfigured"]


@pytest.mark.django_db(transaction=True)
def test_an_answer_of_before_does_not_count_as_that_it_is_configured_now() -> None:
    machine = arrive()
    awaiting.follow()
    awaiting.release(ADMIN, machine.enrollment)
    assert obey(machine) == ["DeviceConfigured"]
    comes_back(machine)
    consequences.drain()
    assert machine.enrollment.awaiting_configuration


def test_the_limit_of_before_does_not_let_it_go() -> None:
    """Where there are many, it is told to go only once it is held anew."""
    first = arrive()
    second = arrive()
    awaiting.follow()
    comes_back(first)
    comes_back(second)
    over()
    assert awaiting.follow(limit=1) == 0
    assert sent(second) == []


# --- Many, and several workers -------------------------------------------------------------------


def crowd(size: int) -> None:
    """So many more that have just enrolled, each as the one that is there."""
    pattern = Enrollment.objects.get()
    devices = Device.objects.bulk_create(
        Device(serial_number=f"CROWD{number:05}") for number in range(size)
    )
    fields = {each.attname: getattr(pattern, each.attname) for each in Enrollment._meta.fields}
    made = []
    for device in devices:
        key = str(device.serial_number).lower()
        own: dict[str, object] = {"id": None, "device_id": device.pk, "identity_sha256": None}
        own |= {"key": key, "device_identifier": key}
        made.append(Enrollment(**fields | own))
    Enrollment.objects.bulk_create(made)


def test_five_hundred_are_taken_at_a_time() -> None:
    arrive()
    crowd(504)
    for held in (500, 505, 505):
        assert awaiting.follow() == 0
        assert Holding.objects.count() == held

    over()
    assert [awaiting.follow() for _ in range(3)] == [500, 5, 0]
    released = QueueEntry.objects.filter(command__request_type="DeviceConfigured")
    assert released.values("enrollment").distinct().count() == released.count() == 505
    assert Command.objects.filter(request_type="DeviceConfigured").count() == 2


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_let_a_device_go_by_one_command() -> None:
    machine = arrive()
    awaiting.follow()
    over()
    with transaction.atomic():
        assert awaiting.follow() == 1
        other = Meanwhile(awaiting.follow)
    assert not other.waits
    assert other.returned() == 0
    assert sent(machine) == ["DeviceConfigured"]
    assert Command.objects.filter(request_type="DeviceConfigured").count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_hold_a_device_once() -> None:
    arrive()
    with transaction.atomic():
        awaiting.follow()
        began = Holding.objects.get().began_at
        other = Meanwhile(awaiting.follow)
    assert not other.waits
    assert other.returned() == 0
    assert Holding.objects.get().began_at == began
