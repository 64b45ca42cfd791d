"""Devices that wait in Setup Assistant: held until all that was asked is answered, or the limit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from commands import consequences, first_inventory
from commands.models import QueueEntry
from commands.queue import enqueue
from enrollment import awaiting
from enrollment.models import Arrival, Holding
from mdm.audit.actor import Actor
from mdm.models import Enrollment
from profiles import editing
from profiles.wire.content import new_content
from tests.machines import Machine

pytestmark = pytest.mark.django_db

ADMIN = Actor.system("tests")


@pytest.fixture
def ready(ca: Any, push_certificate: Any) -> None:
    """A server that devices can enroll with."""


def arrive(**more: Any) -> Machine:
    machine = Machine.new(**more)
    assert machine.authenticate().status == 200
    assert machine.token_update(AwaitingConfiguration=True).status == 200
    return machine


def sent(machine: Machine) -> list[str]:
    """The commands of which this server thought, in the order of their asking."""
    rows = QueueEntry.objects.filter(enrollment=machine.enrollment).order_by("pk")
    return list(rows.values_list("command__request_type", flat=True))


def obey(machine: Machine) -> list[str]:
    """Answer everything that waits; what it was."""
    done, answer = [], machine.idle()
    while answer.body:
        uuid = answer.plist["CommandUUID"]
        done.append(answer.command)
        answer = machine.connect("Acknowledged", uuid)
    return done


def test_it_is_held_until_all_that_was_asked_is_answered(ready: None) -> None:
    machine = arrive()
    awaiting.follow()
    held = Holding.objects.get()
    assert held.limit_at - held.began_at == timedelta(minutes=30)
    # Nothing was asked yet: that it has answered all of it says nothing.
    assert sent(machine) == []

    first_inventory.ask()
    awaiting.follow()
    assert "DeviceConfigured" not in sent(machine)
    assert "DeviceInformation" in obey(machine)
    assert awaiting.follow() == 1
    held.refresh_from_db()
    assert held.released_by == awaiting.DONE

    assert obey(machine) == ["DeviceConfigured"]
    consequences.drain()
    assert not machine.enrollment.awaiting_configuration
    assert awaiting.follow() == 0


def test_what_is_asked_meanwhile_is_waited_for_too(ready: None) -> None:
    machine = arrive()
    first_inventory.ask()
    obey(machine)
    enqueue(
        ADMIN,
        request_type="DeviceInformation",
        parameters={"Queries": ["DeviceName"]},
        enrollments=[machine.enrollment.pk],
    )
    assert awaiting.follow() == 0
    obey(machine)
    assert awaiting.follow() == 1


def test_the_time_limit_lets_it_go_in_any_case(ready: None) -> None:
    machine = arrive()
    first_inventory.ask()
    awaiting.follow()
    Holding.objects.update(limit_at=timezone.now() - timedelta(seconds=1))
    assert awaiting.follow() == 1
    assert Holding.objects.get().released_by == awaiting.LIMIT
    assert "DeviceConfigured" in sent(machine)
    assert awaiting.follow() == 0


def test_the_limit_is_that_of_the_profile_it_came_with(ready: None) -> None:
    profile = editing.create(ADMIN, "Office", new_content(), await_minutes=7)
    machine = arrive()
    Arrival.objects.create(serial_number=machine.serial_number, version=profile.current)
    awaiting.follow()
    held = Holding.objects.get()
    assert held.limit_at - held.began_at == timedelta(minutes=7)


def test_someone_lets_it_go(ready: None) -> None:
    machine = arrive()
    awaiting.follow()
    awaiting.release(ADMIN, machine.enrollment)
    assert Holding.objects.get().released_by == "tests"
    assert sent(machine) == ["DeviceConfigured"]


def test_one_that_does_not_await_is_not_held(ready: None) -> None:
    Machine.enrolled()
    awaiting.follow()
    assert not Holding.objects.exists()


def test_one_that_comes_back_is_held_anew(ready: None) -> None:
    machine = arrive()
    awaiting.follow()
    Holding.objects.update(limit_at=timezone.now() - timedelta(seconds=1))
    assert awaiting.follow() == 1
    assert machine.authenticate().status == 200
    assert machine.token_update(AwaitingConfiguration=True).status == 200
    awaiting.follow()
    held = Holding.objects.get()
    assert (held.released_at, held.period_id) == (None, machine.enrollment.period_id)


def test_many_are_followed_in_steps(ready: None) -> None:
    machines = [arrive() for _ in range(3)]
    awaiting.follow(limit=2)
    assert Holding.objects.count() == 2
    awaiting.follow(limit=2)
    assert Holding.objects.count() == 3
    Holding.objects.update(limit_at=F("began_at"))
    assert [awaiting.follow(limit=2), awaiting.follow(limit=2)] == [2, 1]
    assert all(sent(machine) == ["DeviceConfigured"] for machine in machines)
    assert Enrollment.objects.filter(awaiting_configuration=True).count() == 3
