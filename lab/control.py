"""How a running lab is spoken to: one JSON object a line, over a unix socket in the state folder.
`ControlServer` is the lab's end, `ask` everybody else's (command line, page, tests)."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.apns import ApnsStandIn, Fault, FaultKind
from lab.dep.orders import Orders
from lab.devices.faults import DeviceFault
from lab.devices.hardware import Model
from lab.devices.web_view import Person
from lab.errors import LabError, LabNotRunning
from lab.fleet import Fleet

MAX_DEVICES = 2000
MAX_LINE = 16 * 1024 * 1024
_TIMEOUT = 60.0

Answer = dict[str, Any]


def ask(path: Path, do: str, **arguments: Any) -> Answer:
    """Have the lab behind the socket `path` do something; returns its answer. Raises
    LabNotRunning, and LabError with the lab's own sentence where it refuses."""
    line = json.dumps({"do": do, **arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(str(path))
            connection.sendall(line)
            with connection.makefile("rb") as lines:
                received = lines.readline(MAX_LINE)
    except OSError as error:
        raise LabNotRunning("The lab is not running; `make demo` starts it.") from error
    if not received.endswith(b"\n"):
        raise LabNotRunning("The lab broke off before it had answered.")
    answer: Answer = json.loads(received)
    if "error" in answer:
        raise LabError(answer["error"])
    return answer


class ControlServer:
    """Listens at `path` and carries out what is asked for, on the lab's own event loop. `scene`
    is what `lab.scene` found at the start, told to whoever asks for it."""

    def __init__(
        self,
        path: Path,
        fleet: Fleet,
        apns: ApnsStandIn,
        abm: Orders,
        scene: Mapping[str, str] | None = None,
    ) -> None:
        self._path = path
        self._fleet = fleet
        self._apns = apns
        self._abm = abm
        self._scene = dict(scene or {})
        self._server: asyncio.Server | None = None
        self._orders: dict[str, Callable[[Answer], Awaitable[Answer]]] = {
            "status": self._status,
            "scene": self._tell_scene,
            "add": self._add,
            "enroll": self._enroll,
            "grow": self._grow,
            "activate": self._activate,
            "apns": self._spoil_apns,
            "device": self._spoil_device,
            "abm": self._order_abm,
        }

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._converse, self._path, limit=MAX_LINE)
        self._path.chmod(0o600)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            writer.write(json.dumps(await self._carry_out(line)).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    async def _carry_out(self, line: bytes) -> Answer:
        try:
            order = json.loads(line)
            act = self._orders[order["do"]]
        except (ValueError, KeyError, TypeError):
            return {"error": f"The lab knows only {', '.join(self._orders)}."}
        try:
            return await act(order)
        except LabError as error:
            return {"error": str(error)}
        except (KeyError, ValueError, TypeError) as error:
            return {"error": f"The order cannot be understood: {error!r}."}

    async def _status(self, order: Answer) -> Answer:
        return {
            "devices": self._fleet.rows(),
            "states": self._fleet.states(),
            "link": self._fleet.link,
            "apns": {
                "connections": len(self._apns.connections),
                "counts": dict(self._apns.counts),
                "faults": [asdict(fault) for fault in self._apns.faults],
            },
        }

    async def _tell_scene(self, order: Answer) -> Answer:
        return dict(self._scene)

    async def _add(self, order: Answer) -> Answer:
        count = int(order["count"])
        if not 0 < count <= MAX_DEVICES - len(self._fleet):
            raise LabError(f"A lab holds up to {MAX_DEVICES} devices.")
        link = order.get("link") or self._fleet.link
        authorities = (order.get("authorities") or self._fleet.authorities.decode()).encode()
        if not link or not authorities:
            raise LabError("The lab was given no enrollment link yet; say --link URL.")
        kind = Model(order["kind"]) if order.get("kind") else None
        added = self._fleet.add(count, link, authorities, kind)
        return {"added": [device.hardware.serial for device in added]}

    async def _enroll(self, order: Answer) -> Answer:
        """A device that left comes back through the lab's link."""
        device = self._fleet.device(order["serial"])
        link = order.get("link") or self._fleet.link or device.memory.link
        authorities = self._fleet.authorities or device.memory.link_authorities.encode()
        if device.memory.state == "enrolled":
            raise LabError(f"{device.hardware.serial} is enrolled already.")
        self._fleet.enroll(device, link, authorities)
        return {"enrolling": device.hardware.serial}

    async def _grow(self, order: Answer) -> Answer:
        """More devices, as they lie in their boxes."""
        count = int(order["count"])
        if not 0 < count <= MAX_DEVICES - len(self._fleet):
            raise LabError(f"A lab holds up to {MAX_DEVICES} devices.")
        kind = Model(order["kind"]) if order.get("kind") else None
        grown = self._fleet.grow(count, kind)
        return {"grown": [device.hardware.serial for device in grown]}

    async def _activate(self, order: Answer) -> Answer:
        """Devices are switched on, and ask Apple for their ADE profile. Whoever is named signs in
        where that wants it."""
        devices = [self._fleet.device(serial) for serial in order["serials"]]
        given = order.get("authorities") or self._fleet.authorities.decode()
        name = order.get("username") or ""
        person = Person(name, str(order["password"])) if name else None
        for device in devices:
            if device.memory.state == "enrolled":
                raise LabError(f"{device.hardware.serial} is enrolled already.")
        for device in devices:
            self._fleet.activate(device, given.encode(), person)
        return {"activating": [device.hardware.serial for device in devices]}

    async def _spoil_apns(self, order: Answer) -> Answer:
        if order["fault"] == "clear":
            self._apns.faults.clear()
            return {"cleared": True}
        fault = Fault(FaultKind.named(order["fault"]), order.get("count", 1))
        if order.get("serial"):
            fault.token = self._fleet.device(order["serial"]).memory.channel("device").token
        fault.timestamp = order.get("timestamp")
        fault.seconds = float(order.get("seconds") or fault.seconds)
        self._apns.faults.order(fault)
        return {"ordered": asdict(fault)}

    async def _order_abm(self, order: Answer) -> Answer:
        return self._abm.carry_out(order)

    async def _spoil_device(self, order: Answer) -> Answer:
        fault = DeviceFault.named(order["fault"])
        serials = order["serials"] or [device.hardware.serial for device in self._fleet]
        for serial in serials:
            await self._fleet.play(serial, fault, int(order.get("count") or 1))
        return {"devices": serials, "fault": fault}
