"""From a link to an enrolled device, and through its life: over TLS, SCEP, APNs and a browser's
forms, with every process of the server at work.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from commands.first_inventory import QUESTIONS
from lab.devices.hardware import Model
from tests.e2e.sent import entries, send, wait_for_state
from tests.e2e.waiting import until
from tests.e2e.world import World

Enroll = Callable[[Model], str]


@pytest.fixture(scope="module")
def enroll(world: World) -> Enroll:
    """Enrolls a new device; returns its serial number once it has answered the first questions."""

    def new(kind: Model) -> str:
        (serial,) = world.add(kind)
        until(
            lambda: set(sections(world, serial)) >= set(QUESTIONS),
            seen=lambda: sections(world, serial),
        )
        until(lambda: not unfinished(world, serial))
        return serial

    return new


@pytest.fixture(scope="module")
def iphone(enroll: Enroll) -> str:
    return enroll(Model.IPHONE)


@pytest.fixture(scope="module")
def ipad(enroll: Enroll) -> str:
    return enroll(Model.IPAD)


@pytest.fixture(scope="module")
def mac(enroll: Enroll) -> str:
    return enroll(Model.MAC)


def sections(world: World, serial: str, channel: str = "device") -> dict[str, int]:
    """What the device has reported, with how many items."""
    enrollment = enrollment_of(world, serial, channel)
    reported = world.admin.get(f"/enrollments/{enrollment['id']}/inventory/")
    return {section["section"]: section["item_count"] for section in reported}


def enrollment_of(world: World, serial: str, channel: str = "device") -> dict:
    found = world.admin.one("/enrollments/", serial_number=serial, channel=channel)
    return world.admin.get(f"/enrollments/{found['id']}/")


def device_of(world: World, serial: str) -> dict:
    return world.admin.one("/devices/", serial_number=serial)


def unfinished(world: World, serial: str) -> list[dict]:
    return [entry for entry in entries(world, serial) if entry["finished_at"] is None]


def answered_since(world: World, serial: str, entry: dict) -> set[str]:
    """The RequestTypes that were asked for after `entry` and acknowledged."""
    acknowledged = entries(world, serial, state="Acknowledged")
    return {other["request_type"] for other in acknowledged if other["id"] > entry["id"]}


@pytest.mark.parametrize("kind", [Model.IPHONE, Model.IPAD, Model.MAC])
def test_a_device_that_follows_a_link_ends_enrolled_with_its_first_inventory(
    world: World, kind: Model, request: pytest.FixtureRequest
) -> None:
    serial = request.getfixturevalue(kind)
    itself = world.lab.device(serial)
    device = device_of(world, serial)
    assert device["enrollment"]["state"] == "Enrolled"
    assert device["standing"]["word"] == "Enrolled"
    assert device["udid"].lower() == itself["udid"].lower()
    assert device["os_version"] == itself["os"]
    assert sections(world, serial)["InstalledApplicationList"] > 1
    page = world.admin.page(f"/devices/{device['id']}/")
    assert serial in page
    assert itself["os"] in page


def test_the_user_of_a_mac_has_a_channel_with_an_inventory_of_its_own(
    world: World, mac: str
) -> None:
    user = enrollment_of(world, mac, channel="user")
    assert user["state"] == "Enrolled"
    assert user["parent"] == enrollment_of(world, mac)["id"]
    assert user["user_long_name"]
    until(lambda: "ProfileList" in sections(world, mac, channel="user"))


def test_a_command_sent_from_the_dashboard_wakes_the_device_and_is_acknowledged(
    world: World, iphone: str
) -> None:
    pushes = world.lab.device(iphone)["pushes"]
    enrollment = enrollment_of(world, iphone)
    led_to = world.admin.submit(f"/commands/send/?enrollment={enrollment['id']}&type=ProfileList")
    (entry, *_) = entries(world, iphone)
    assert entry["request_type"] == "ProfileList"
    wait_for_state(world, iphone, entry["command"], "Acknowledged")
    assert world.lab.device(iphone)["pushes"] > pushes
    assert "Acknowledged" in world.admin.page(led_to)
    reply = world.admin.get(f"/entries/{entry['id']}/reply/")["plist"]
    assert "com.apple.mdm" in reply


def test_a_command_sent_from_the_command_line_waits_for_the_answer(world: World, ipad: str) -> None:
    said = world.server.manage("guard", "send", ipad, "DeviceInformation", "--wait", "60", "--json")
    (entry,) = json.loads(said)["entries"]
    assert (entry["serial_number"], entry["state"]) == (ipad, "Acknowledged")
    shown = json.loads(world.server.manage("guard", "show", ipad, "--json"))
    assert entry["command"] in [command["command"] for command in shown["commands"]]


def test_what_a_locked_device_puts_off_is_answered_once_it_is_unlocked(
    world: World, iphone: str
) -> None:
    world.lab.order("device", serials=[iphone], fault="locked")
    command = send(world, iphone, "SecurityInfo")
    entry = wait_for_state(world, iphone, command, "NotNow")
    assert entry["finished_at"] is None
    world.lab.order("device", serials=[iphone], fault="unlocked")
    entry = wait_for_state(world, iphone, command, "Acknowledged")
    assert (entry["not_now_count"], entry["deliveries"]) == (1, 2)


def test_a_command_that_the_device_cannot_carry_out_ends_in_its_error(
    world: World, mac: str
) -> None:
    command = send(world, mac, "RemoveProfile", Identifier="com.example.none")
    entry = wait_for_state(world, mac, command, "Error")
    assert "com.example.none" in world.admin.get(f"/entries/{entry['id']}/reply/")["plist"]


def test_an_erased_device_comes_back_as_the_same_device_with_its_history(
    world: World, enroll: Enroll
) -> None:
    serial = enroll(Model.IPHONE)
    before, enrollment = device_of(world, serial), enrollment_of(world, serial)
    erase = f"/commands/send/?enrollment={enrollment['id']}&type=EraseDevice"
    world.admin.submit(erase, confirmation=serial)
    (erasure, *_) = entries(world, serial)
    until(lambda: enrollment_of(world, serial)["state"] == "Erased")
    world.wait_for(serial, "erased")
    assert "Erased" in world.admin.page(f"/devices/{before['id']}/")

    world.lab.order("enroll", serial=serial, link=world.link)
    world.wait_for(serial, "enrolled")
    after = device_of(world, serial)
    assert after["id"] == before["id"]
    assert after["enrollment"]["state"] == "Enrolled"
    periods = enrollment_of(world, serial)["periods"]
    assert [period["ended_by"] for period in periods] == ["Erased", ""]
    assert entries(world, serial, command=erasure["command"])[0]["state"] == "Acknowledged"
    until(lambda: set(QUESTIONS) <= answered_since(world, serial, erasure))


def test_a_device_told_to_remove_its_management_checks_out(world: World, enroll: Enroll) -> None:
    serial = enroll(Model.MAC)
    device = device_of(world, serial)
    world.admin.submit(f"/devices/{device['id']}/remove-management/")
    until(lambda: enrollment_of(world, serial)["state"] == "CheckedOut")
    world.wait_for(serial, "unenrolled")
    assert enrollment_of(world, serial, channel="user")["state"] == "CheckedOut"
    assert unfinished(world, serial) == []
    assert "Checked out" in world.admin.page(f"/devices/{device['id']}/")


def test_a_token_that_is_gone_at_apple_shows_on_the_device(world: World, enroll: Enroll) -> None:
    serial = enroll(Model.IPAD)
    world.lab.order("device", serials=[serial], fault="vanish")
    command = send(world, serial, "SecurityInfo")
    until(lambda: enrollment_of(world, serial)["push_problem"] == "410 Unregistered")
    device = device_of(world, serial)
    assert device["standing"]["word"] == "Push problem"
    assert "410 Unregistered" in world.admin.page(f"/devices/{device['id']}/")
    (entry,) = entries(world, serial, command=command)
    assert entry["state"] == "Queued"
