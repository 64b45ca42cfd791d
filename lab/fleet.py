"""All devices of one lab: who is there, enrolling many at a time, and what survives a restart.
A single device is `lab.devices.device`; orders from outside come in through `lab.control`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from lab.authority import write_private
from lab.devices import (
    AppleTV,
    Device,
    IPad,
    IPhone,
    Mac,
    Model,
    Surroundings,
    Vision,
    hardware,
)
from lab.devices.faults import DeviceFault
from lab.devices.memory import MemoryFile
from lab.devices.web_view import Person
from lab.errors import LabError, ServerRefused, ServerUnreachable, UnknownDevice

CLASSES: dict[Model, type[Device]] = {
    Model.IPHONE: IPhone,
    Model.IPAD: IPad,
    Model.MAC: Mac,
    Model.APPLE_TV: AppleTV,
    Model.VISION: Vision,
}
NO_PROFILE = "Apple has no ADE profile for it; it went on without management."
# An office's mix: for every twelve phones five tablets and eight computers.
MIX = tuple(
    {"p": Model.IPHONE, "t": Model.IPAD, "m": Model.MAC}[letter]
    for letter in "pmptpmpmtpmpmptpmpmtpmptp"
)
# In their boxes: switched on once Apple was told what they get.
BOXED = (
    *(Model.IPHONE, Model.IPHONE, Model.IPAD, Model.IPAD),
    *(Model.MAC, Model.MAC, Model.APPLE_TV, Model.VISION),
)
AT_ONCE = 4
log = logging.getLogger(__name__)


class Fleet:
    """The devices in `folder`, or only in memory when it is None. The same `seed` gives the same
    machines in every lab. `activation` is what Apple says to a device that is switched on: the ADE
    profile that was assigned to its serial number, or None."""

    def __init__(
        self,
        surroundings: Surroundings,
        folder: Path | None = None,
        seed: int = 0,
        activation: Callable[[str], dict[str, Any] | None] = lambda serial: None,
    ) -> None:
        self._surroundings = surroundings
        self._activation = activation
        self._folder = folder
        self._seed = seed
        self._devices: dict[str, Device] = {}
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._enrolling: dict[str, asyncio.Task[None]] = {}
        self.link, self.authorities = "", b""

    def resume(self) -> None:
        """Take up where an earlier run of the lab ended."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._read_about()
        for path in sorted(self._folder.glob("device-*.json")):
            _, number, kind = path.stem.split("-")
            device = self._make(Model(kind), int(number))
            if device.memory.state == "enrolled":
                device.start()
            elif device.memory.state in ("new", "enrolling"):
                self._resume(device)

    def _resume(self, device: Device) -> None:
        authorities = device.memory.link_authorities.encode()
        if device.memory.activates:
            self.activate(device, authorities)
        elif device.memory.link:
            self.enroll(device, device.memory.link, authorities)

    def grow(self, count: int, kind: Model | None = None) -> list[Device]:
        """`count` more devices that nobody has switched on yet."""
        taken = len(self._devices)
        numbers = range(taken + 1, taken + count + 1)
        grown = [self._make(kind or MIX[(number - 1) % len(MIX)], number) for number in numbers]
        for device in grown:
            device.save()
        return grown

    def add(
        self, count: int, link: str, authorities: bytes, kind: Model | None = None
    ) -> list[Device]:
        """`count` more devices, which begin to enroll through `link` in the background, trusting
        `authorities` (PEM). The lab's mix of models, unless one `kind` is asked for."""
        self.link, self.authorities = link, authorities
        taken = len(self._devices)
        added = []
        for number in range(taken + 1, taken + count + 1):
            device = self._make(kind or MIX[(number - 1) % len(MIX)], number)
            self.enroll(device, link, authorities)
            added.append(device)
        self._write_about()
        return added

    def box(self) -> None:
        """Have one device of every kind, and a few more, that nobody has switched on."""
        if not any(device.memory.activates or not device.memory.link for device in self):
            for kind in BOXED:
                self.grow(1, kind)

    def enroll(self, device: Device, link: str, authorities: bytes) -> None:
        """Have a device enroll in the background; again and again while nobody answers it."""
        if device.hardware.serial in self._enrolling:
            return
        device.memory.link, device.memory.activates = link, False
        device.memory.link_authorities = authorities.decode("ascii")
        device.save()
        self._begin(device, self._enroll(device, lambda: device.enroll(link, authorities)))

    def activate(self, device: Device, authorities: bytes, person: Person | None = None) -> None:
        """Switch a device on for the first time, or after an erase: it asks Apple for its ADE
        profile and enrolls with it in the background; `person` is there to sign in."""
        if device.hardware.serial in self._enrolling:
            return
        device.memory.activates, device.memory.link = True, ""
        device.memory.link_authorities = authorities.decode("ascii")
        device.save()
        self._begin(device, self._activate(device, authorities, person))

    def _begin(self, device: Device, work: Coroutine[Any, Any, None]) -> None:
        serial = device.hardware.serial
        task = asyncio.get_running_loop().create_task(work)
        self._enrolling[serial] = task
        task.add_done_callback(lambda _: self._enrolling.pop(serial, None))

    async def _activate(self, device: Device, authorities: bytes, person: Person | None) -> None:
        profile = self._activation(device.hardware.serial)
        if profile is None:
            device.problem = NO_PROFILE
            return
        await self._enroll(device, lambda: device.activate(profile, authorities, person))

    async def settle(self) -> None:
        """Wait until nobody is enrolling any more."""
        while self._enrolling:
            await asyncio.wait(tuple(self._enrolling.values()))

    async def play(self, serial: str, fault: DeviceFault, count: int = 1) -> None:
        """Raises UnknownDevice, LabError."""
        await self.device(serial).play(fault, count)

    def device(self, serial: str) -> Device:
        """By serial number, in whatever case. Raises UnknownDevice."""
        try:
            return self._devices[serial.upper()]
        except KeyError:
            raise UnknownDevice(f"No device in this lab has the serial number {serial}.") from None

    def states(self) -> dict[str, int]:
        """How many devices are in each state."""
        return dict(Counter(device.memory.state for device in self))

    def rows(self) -> list[dict[str, Any]]:
        """One line about each device, as JSON."""
        return [_row(device) for device in self]

    def stop(self) -> None:
        for task in tuple(self._enrolling.values()):
            task.cancel()
        for device in self:
            device.stop()

    def __iter__(self) -> Iterator[Device]:
        return iter(tuple(self._devices.values()))

    def __len__(self) -> int:
        return len(self._devices)

    def _make(self, kind: Model, number: int) -> Device:
        machine = hardware(kind, number, self._seed)
        path = self._folder / f"device-{number:05}-{kind}.json" if self._folder else None
        device = CLASSES[kind](machine, self._surroundings, MemoryFile(path))
        self._devices[machine.serial] = device
        return device

    async def _enroll(
        self, device: Device, attempt_it: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        pace = self._surroundings.pace
        for attempt in range(1_000_000):
            try:
                async with self._turn:
                    await attempt_it()
                return
            except (ServerUnreachable, ServerRefused) as error:
                device.problem = str(error)
                if isinstance(error, ServerRefused) and error.status < 500:
                    break
            except LabError as error:
                device.problem = str(error)
                break
            except Exception:
                log.exception("%s stumbled while enrolling", device.hardware.serial)
                device.problem = "The lab stumbled; its log says where."
                break
            await asyncio.sleep(pace.retry(attempt))
        device.memory.state = "failed"
        device.save()

    def _read_about(self) -> None:
        assert self._folder is not None
        path = self._folder / "about.json"
        if path.exists():
            about = json.loads(path.read_bytes())
            self.link, self.authorities = about["link"], about["authorities"].encode()

    def _write_about(self) -> None:
        if self._folder is None:
            return
        about = {"link": self.link, "authorities": self.authorities.decode("ascii")}
        write_private(self._folder / "about.json", json.dumps(about).encode())


def _row(device: Device) -> dict[str, Any]:
    memory, machine = device.memory, device.hardware
    return {
        "serial": machine.serial,
        "name": memory.name or machine.name,
        "kind": machine.kind,
        "product": machine.product,
        "model": machine.model_name,
        "os": memory.os_version or machine.os_version,
        "way": "link" if memory.link else "ade",
        "udid": machine.udid,
        "owner": machine.owner.long_name,
        "state": memory.state,
        "locked": memory.locked or memory.pin_locked,
        "powered": memory.powered,
        "pushes": device.counts["push"],
        "commands": device.counts["command"],
        "problem": device.problem,
        "tokens": {name: channel.token for name, channel in memory.channels.items()},
    }
