"""Automated Device Enrollment, the whole way: Apple is told which profile each device gets, and
devices of every platform enroll with it as they are switched on. All of the server's processes
work.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab.devices.hardware import Model
from lab.scene import ABM_SERVER
from tests.e2e.waiting import until
from tests.e2e.world import World


@pytest.fixture(scope="module")
def played(world: World) -> Iterator[dict[str, Any]]:
    """The scene of the demo, with its devices switched on; other stories find none of it."""
    world.server.manage("lab", "connect", "--devices", "30")
    yield dict(json.loads(world.server.manage("lab", "ade", "--json")))
    for each in world.admin.get("/ade-defaults/"):
        world.admin.post("/ade-defaults/", os=each["os"], server=None, profile=None)
    for each in world.admin.get("/abm-servers/")["results"]:
        if each["name"] == ABM_SERVER:
            world.admin.delete(f"/abm-servers/{each['id']}/")


def test_devices_of_every_platform_enroll_as_they_are_switched_on(
    world: World, played: dict[str, Any]
) -> None:
    assert len(played["activated"]) == 7
    until(
        lambda: all(
            world.lab.device(serial)["state"] == "enrolled" for serial in played["activated"]
        ),
        seen=lambda: [world.lab.device(serial) for serial in played["activated"]],
    )
    rows = [world.lab.device(serial) for serial in played["activated"]]
    kinds = {row["kind"] for row in rows}
    assert kinds == {Model.IPHONE, Model.IPAD, Model.MAC, Model.APPLE_TV}
    for row in rows:
        [enrolled] = world.admin.get("/devices/", serial_number=row["serial"])["results"]
        assert enrolled["enrollment"]["state"] == "Enrolled"
        [listed] = world.admin.get("/abm-devices/", serial_number=row["serial"])["results"]
        assert listed["device"] == enrolled["id"]


def test_the_one_without_a_default_is_unassigned_and_goes_on_unmanaged(
    world: World, played: dict[str, Any]
) -> None:
    [serial] = played["without"]
    assert world.lab.device(serial)["state"] == "new"
    assert "no ADE profile" in world.lab.device(serial)["problem"]


def test_someone_signs_in_at_the_macs_in_their_web_view(
    world: World, played: dict[str, Any]
) -> None:
    rows = [world.lab.device(serial) for serial in played["activated"]]
    macs = {row["serial"] for row in rows if row["kind"] == Model.MAC}
    until(lambda: all(world.lab.device(serial)["state"] == "enrolled" for serial in macs))
    arrived = world.rows("SELECT DISTINCT serial_number FROM enrollment_arrival WHERE person <> ''")
    assert {row["serial_number"] for row in arrived} == macs


def test_macs_are_held_in_setup_assistant_until_they_are_configured(
    world: World, played: dict[str, Any]
) -> None:
    macs = [
        serial for serial in played["activated"] if world.lab.device(serial)["kind"] == Model.MAC
    ]
    held = (
        "SELECT count(*) FROM enrollment_holding h JOIN mdm_enrollment e ON e.id = h.enrollment_id"
    )
    until(lambda: world.value(f"{held} WHERE NOT e.awaiting_configuration") == len(macs))
    released = world.rows("SELECT DISTINCT released_by FROM enrollment_holding")
    assert released == [{"released_by": "all that was asked was answered"}]


def test_a_wrong_password_lets_no_mac_in(world: World, played: dict[str, Any]) -> None:
    [serial] = world.lab.order("grow", count=1, kind=Model.MAC)["grown"]
    world.lab.order("abm", act="own", name=ABM_SERVER)
    [server] = [s for s in world.admin.get("/abm-servers/")["results"] if s["name"] == ABM_SERVER]
    world.admin.post(f"/abm-servers/{server['id']}/sync/")
    given = f"SELECT count(*) FROM abm_abmdevice WHERE serial_number = '{serial}'"
    until(lambda: world.value(f"{given} AND profile_status = 'assigned'") == 1)
    who = {"username": world.username, "password": "wrong"}
    own = world.authorities
    world.lab.order("activate", serials=[serial], authorities=own, **who)
    until(lambda: world.lab.device(serial)["problem"] != "")
    assert "do not go together" in world.lab.device(serial)["problem"]
    world.lab.order("activate", serials=[serial], authorities=own)
    until(lambda: "Nobody is there" in world.lab.device(serial)["problem"])
    who["password"] = world.password
    world.lab.order("activate", serials=[serial], authorities=own, **who)
    until(lambda: world.lab.device(serial)["state"] == "enrolled")
