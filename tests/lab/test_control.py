"""A running lab, spoken to through its socket as the command line and the page do."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.control import ask
from lab.devices.channel import Pace
from lab.errors import LabError, LabNotRunning
from lab.place import Place
from lab.process import Lab, running_lab
from tests.lab.loop import in_loop
from tests.lab.scripted import ScriptedServer

QUICK = Pace(retry_first=0.01, retry_most=0.02, unlock_after=None, restart=0.01, attempts=3)


def place_in(folder: Path) -> Place:
    return Place(folder / "lab", folder / "lab.sock")


async def order(place: Place, do: str, **arguments: Any) -> dict[str, Any]:
    return await asyncio.to_thread(ask, place.socket, do, **arguments)


@asynccontextmanager
async def with_devices(
    folder: Path, count: int = 2
) -> AsyncIterator[tuple[Lab, Place, ScriptedServer]]:
    """A lab whose devices are enrolled at a scripted server."""
    place = place_in(folder)
    async with ScriptedServer() as server, running_lab(place, pace=QUICK) as lab:
        authorities = server.ca_pem.decode()
        link = f"{server.url}/enroll"
        await order(place, "add", count=count, link=link, authorities=authorities)
        await lab.fleet.settle()
        yield lab, place, server


@in_loop
async def test_devices_are_added_and_listed(tmp_path: Path) -> None:
    async with with_devices(tmp_path) as (_, place, _):
        status = await order(place, "status")
        assert status["states"] == {"enrolled": 2}
        assert len({row["serial"] for row in status["devices"]}) == 2


@in_loop
async def test_more_devices_come_through_the_same_link(tmp_path: Path) -> None:
    async with with_devices(tmp_path, 1) as (lab, place, _):
        added = (await order(place, "add", count=1, kind="mac"))["added"]
        await lab.fleet.settle()
        rows = {row["serial"]: row for row in (await order(place, "status"))["devices"]}
        assert rows[added[0]]["kind"] == "mac"
        assert rows[added[0]]["state"] == "enrolled"


@in_loop
async def test_a_device_is_locked_and_unlocked(tmp_path: Path) -> None:
    async with with_devices(tmp_path) as (lab, place, _):
        first, second = lab.fleet.rows()
        for fault, locked in (("locked", True), ("unlocked", False)):
            await order(place, "device", serials=[first["serial"]], fault=fault, count=1)
            now = (await order(place, "status"))["devices"]
            assert [row["locked"] for row in now] == [locked, second["locked"]]


@in_loop
async def test_a_device_that_left_comes_back_through_the_labs_link(tmp_path: Path) -> None:
    async with with_devices(tmp_path, 1) as (lab, place, server):
        serial = lab.fleet.rows()[0]["serial"]
        await order(place, "device", serials=[serial], fault="remove", count=1)
        assert (await order(place, "status"))["states"] == {"unenrolled": 1}
        await order(place, "enroll", serial=serial)
        await lab.fleet.settle()
        assert (await order(place, "status"))["states"] == {"enrolled": 1}
        assert len(server.messages("Authenticate")) == 2


@in_loop
async def test_push_faults_are_ordered_for_a_device_and_cleared(tmp_path: Path) -> None:
    async with with_devices(tmp_path, 1) as (lab, place, _):
        row = lab.fleet.rows()[0]
        await order(place, "apns", fault="503", count=None, serial=row["serial"])
        (fault,) = (await order(place, "status"))["apns"]["faults"]
        assert (fault["kind"], fault["count"]) == ("503", None)
        assert fault["token"] == row["tokens"]["device"]
        await order(place, "apns", fault="clear")
        assert (await order(place, "status"))["apns"]["faults"] == []


@pytest.mark.parametrize(
    ("do", "arguments", "reason"),
    [
        ("dance", {}, "knows only"),
        ("add", {"count": 0}, "up to 2000"),
        ("add", {"count": 1}, "no enrollment link"),
        ("add", {}, "cannot be understood"),
        ("enroll", {"serial": "NOBODY"}, "No device in this lab"),
        ("device", {"serials": ["NOBODY"], "fault": "locked"}, "No device in this lab"),
        ("device", {"serials": [], "fault": "melt"}, "No device fault is called 'melt'"),
        ("apns", {"fault": "418"}, "No push fault is called '418'"),
    ],
)
@in_loop
async def test_an_order_that_makes_no_sense_is_refused_with_a_sentence(
    tmp_path: Path, do: str, arguments: dict[str, Any], reason: str
) -> None:
    place = place_in(tmp_path)
    async with running_lab(place, pace=QUICK):
        with pytest.raises(LabError, match=reason):
            await order(place, do, **arguments)


@in_loop
async def test_nonsense_on_the_socket_ends_one_conversation_only(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    async with running_lab(place, pace=QUICK):
        for nonsense in (b"\xff\xfe\n", b"[]\n", b"null\n", b"{\n"):
            answer = json.loads(await asyncio.to_thread(_say, place.socket, nonsense))
            assert "knows only" in answer["error"]
        assert (await order(place, "status"))["devices"] == []


def test_a_lab_that_does_not_run_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(LabNotRunning, match="not running"):
        ask(tmp_path / "lab.sock", "status")


@in_loop
async def test_only_its_owner_may_give_orders(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    async with running_lab(place, pace=QUICK):
        assert place.socket.stat().st_mode & 0o077 == 0


@in_loop
async def test_a_second_run_finds_devices_and_push_tokens_as_they_were(tmp_path: Path) -> None:
    async with with_devices(tmp_path, 2) as (lab, place, _):
        gone, kept = lab.fleet.rows()
        await order(place, "device", serials=[gone["serial"]], fault="vanish", count=1)
        retired = gone["tokens"]["device"]
    async with running_lab(place_in(tmp_path), pace=QUICK) as again:
        assert again.fleet.states() == {"unenrolled": 1, "enrolled": 1}
        assert again.fleet.device(kept["serial"]).memory.channels.keys() == kept["tokens"].keys()
        assert again.apns.postbox.retired_at(retired) is not None
        assert again.apns.postbox.retired_at(kept["tokens"]["device"]) is None


def _say(path: Path, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(line)
        return connection.makefile("rb").readline()
