"""Any part may be killed at any moment: no command is lost, none is carried out twice, no answer
is asked for again, and nobody is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.e2e import strikes
from tests.e2e.diary import ORDERED, Diary, WatchedWebs
from tests.e2e.waiting import until
from tests.e2e.world import World

DEVICES = 200
# A claim to push that was its worker's last is free again after a minute.
PATIENCE = 150


class Strike(Protocol):
    def __call__(self, world: World) -> AbstractContextManager[None]: ...


class Fleet:
    """200 enrolled devices whose diary is kept; everything below is about them alone."""

    def __init__(self, world: World, diary: Diary) -> None:
        self.world = world
        self.diary = diary
        self.serials = world.add(count=DEVICES)

    def send(self, request_type: str, **parameters: object) -> str:
        """Have every device asked for something; returns the CommandUUID."""
        sent = self.world.admin.post(
            "/commands/",
            request_type=request_type,
            parameters=parameters,
            serial_numbers=self.serials,
        )
        assert (sent["queued"] + sent["coalesced"], sent["refused"]) == (DEVICES, [])
        return str(sent["command"]["uuid"])

    def rows(self, statement: str, **parameters: object) -> list[dict]:
        return self.world.rows(statement, serials=self.serials, **parameters)

    def waiting(self, command: str) -> int:
        """How many have yet to answer the command."""
        (row,) = self.rows(_WAITING, uuid=command)
        return int(row["waiting"])

    def statuses(self) -> set[str]:
        """The HTTP statuses that these devices were ever answered with."""
        counts = self.world.lab.run(lambda lab: [lab.fleet.device(s).counts for s in self.serials])
        return {word for seen in counts for word in seen if word.isdigit()}

    def finish(self) -> None:
        """Return when there is nothing left to do."""
        until(lambda: not any(self.left().values()), within=PATIENCE, seen=self.left)

    def left(self) -> dict[str, int]:
        """What there still is to do, by sort."""
        (row,) = self.rows(_LEFT)
        return row

    def forgotten(self) -> list[dict]:
        """Enrollments that have something to do and that nobody will wake."""
        return self.rows(_FORGOTTEN)

    def entries(self) -> list[dict]:
        """Every command of every enrollment, with what is stored as its answer."""
        return self.rows(_ENTRIES)


@pytest.fixture(scope="module")
def fleet(world: World) -> Iterator[Fleet]:
    # What a key costs is the devices' business; certificates are the product's own, over SCEP.
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    async def shared(size: int) -> rsa.RSAPrivateKey:
        return key

    diary = Diary()
    with world.lab.surrounded_by(webs=WatchedWebs(diary), key=shared):
        yield Fleet(world, diary)


def test_whatever_is_killed_each_command_is_carried_out_and_answered_once(
    world: World, fleet: Fleet
) -> None:
    blows: list[tuple[Strike, bool]] = [
        (strikes.a_child_of_the_celery_worker, True),
        (strikes.the_celery_worker, True),
        (strikes.the_beat, True),
        (strikes.postgres, False),
        (strikes.the_broker, True),
        (strikes.a_web_worker, True),
        (strikes.all_that_the_broker_holds, True),
    ]
    for strike, takes_commands in blows:
        _strike_at_work(fleet, strike, takes_commands=takes_commands)
    fleet.finish()
    _assert_each_was_answered_once(fleet)


def test_a_command_whose_wake_up_the_broker_never_heard_of_is_carried_out_all_the_same(
    world: World, fleet: Fleet
) -> None:
    fleet.finish()
    with strikes.the_broker(world):
        fleet.send("SecurityInfo")
    fleet.finish()
    _assert_each_was_answered_once(fleet)


def test_a_worker_outlives_a_broker_that_went_while_its_tasks_ran(
    world: World, fleet: Fleet
) -> None:
    fleet.finish()
    with strikes.the_broker_under_running_tasks(world):
        pass
    fleet.send("SecurityInfo")
    fleet.finish()
    _assert_each_was_answered_once(fleet)


def _strike_at_work(fleet: Fleet, strike: Strike, *, takes_commands: bool) -> None:
    """Kill something while a command is on its way to the devices."""
    command = fleet.send("RemoveProfile", Identifier="com.example.none")
    until(lambda: fleet.waiting(command) < DEVICES - 10, within=PATIENCE)
    assert fleet.waiting(command) > 0
    with strike(fleet.world):
        if takes_commands:
            fleet.send("DeviceInformation")
    assert fleet.forgotten() == []


def _assert_each_was_answered_once(fleet: Fleet) -> None:
    assert fleet.forgotten() == []
    assert fleet.statuses() <= {"200", "503"}
    entries = fleet.entries()
    asked = {(entry["udid"], entry["user_id"], entry["command_uuid"]) for entry in entries}
    ours = {entry["udid"] for entry in entries}
    assert {order for order in fleet.diary.events if order[0] in ours} == asked
    for entry in entries:
        key = (entry["udid"], entry["user_id"], entry["command_uuid"])
        assert entry["state"] in {"Acknowledged", "Error"}, entry
        assert entry["replies"] == [entry["state"]], entry
        assert fleet.diary.events[key] == [ORDERED, entry["state"]], entry


_OURS = """
WITH ours AS (
    SELECT e.*, d.udid FROM mdm_enrollment e JOIN mdm_device d ON d.id = e.device_id
    WHERE d.serial_number = ANY(%(serials)s)
)"""
_WAITING = (
    _OURS
    + """
SELECT count(*) AS waiting FROM commands_queueentry q JOIN ours ON ours.id = q.enrollment_id
WHERE q.command_uuid = %(uuid)s AND q.finished_at IS NULL
"""
)
_LEFT = (
    _OURS
    + """
SELECT (SELECT count(*) FROM ours WHERE inventory_asked_at IS NULL) AS never_asked,
       (SELECT count(*) FROM commands_queueentry q JOIN ours ON ours.id = q.enrollment_id
        WHERE q.finished_at IS NULL) AS unanswered,
       (SELECT count(*) FROM commands_reply r JOIN ours ON ours.id = r.enrollment_id
        WHERE r.drained_at IS NULL) AS undrained
"""
)
_FORGOTTEN = (
    _OURS
    + """
SELECT id, state, pushed_at, last_seen_at FROM ours
WHERE wake_at IS NULL AND EXISTS (
    SELECT FROM commands_queueentry q WHERE q.enrollment_id = ours.id AND q.finished_at IS NULL)
"""
)
_ENTRIES = (
    _OURS
    + """
SELECT lower(ours.device_identifier) AS udid, lower(ours.user_identifier) AS user_id,
       q.command_uuid::text AS command_uuid, q.state, q.deliveries,
       ARRAY(SELECT r.status::text FROM commands_reply r WHERE r.enrollment_id = q.enrollment_id
             AND r.command_uuid = q.command_uuid) AS replies
FROM commands_queueentry q JOIN ours ON ours.id = q.enrollment_id
"""
)
