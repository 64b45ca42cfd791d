"""Commands sent through the API, and what became of them."""

from __future__ import annotations

from tests.e2e.waiting import until
from tests.e2e.world import World


def entries(world: World, serial: str, **which: object) -> list[dict]:
    """The device's commands, newest first."""
    found = world.admin.get("/entries/", serial_number=serial, **which)["results"]
    return sorted(found, key=lambda entry: -entry["id"])


def send(world: World, serial: str, request_type: str, **parameters: object) -> str:
    """Send a command through the API; returns its CommandUUID."""
    sent = world.admin.post(
        "/commands/", request_type=request_type, parameters=parameters, serial_numbers=[serial]
    )
    assert sent["queued"] == 1, sent
    return sent["command"]["uuid"]


def wait_for_state(world: World, serial: str, command: str, state: str) -> dict:
    """The entry of a command once it is in `state`."""

    def look() -> dict | None:
        (entry,) = entries(world, serial, command=command)
        return entry if entry["state"] == state else None

    return until(look, seen=lambda: entries(world, serial, command=command))
