"""One conversation with the server, as a device or as a user on it: woken by a push, it connects,
obeys, reports, until there is nothing more to do. How a command is answered is in
`lab.devices.commands`."""

from __future__ import annotations

import asyncio
import logging
import plistlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.devices.faults import DeviceFault
from lab.devices.memory import ChannelMemory
from lab.errors import LabError, ServerRefused, ServerUnreachable

if TYPE_CHECKING:
    from lab.devices.commands import Reply
    from lab.devices.device import Device

CONNECT_TYPE = "application/x-apple-aspen-mdm; charset=UTF-8"
DEVICE, USER = "device", "user"
log = logging.getLogger(__name__)


@dataclass
class Pace:
    """How long things take, in seconds. A reply that was not taken is sent again after
    `retry_first`, then twice that, up to `retry_most`. A person unlocks a device that was locked
    by command after `unlock_after` (never, when None); a restart takes `restart`."""

    retry_first: float = 1.0
    retry_most: float = 60.0
    unlock_after: float | None = 30.0
    restart: float = 5.0
    attempts: int = 10

    def retry(self, attempt: int) -> float:
        return float(min(self.retry_first * 2.0 ** min(attempt, 30), self.retry_most))


@dataclass
class Channel:
    """`wanted` is set by whatever gives a reason to connect."""

    device: Device
    name: str
    memory: ChannelMemory
    ids: dict[str, Any]
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False
    _talking: bool = False
    _task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Hold the push connection, and take up what was left undone."""
        self.closed = False
        self._task = asyncio.get_running_loop().create_task(self._run())
        self.device.surroundings.postbox.attach(self.memory.token, self.push)
        if self.memory.unsent is not None or self.memory.deferred:
            self.wanted.set()

    def close(self) -> None:
        """Let go of the push connection and stop talking, at once."""
        self.closed = True
        self.device.surroundings.postbox.detach(self.memory.token)
        from_within = self._task is asyncio.current_task()
        self.memory.deferred |= self.wanted.is_set() or (self._talking and not from_within)
        if self._task is not None and not from_within:
            self._task.cancel()

    def push(self, magic: str) -> None:
        """A push arrived; one with another enrollment's magic is none of ours."""
        if magic == self.memory.push_magic:
            self.device.counts["push"] += 1
            self.wanted.set()

    async def _run(self) -> None:
        while not self.closed:
            if not self.wanted.is_set():
                self.idle.set()
            await self.wanted.wait()
            self.wanted.clear()
            self.idle.clear()
            self._talking = True
            try:
                await self._converse()
            except LabError as error:
                self.device.problem = str(error)
            except Exception:
                log.exception("%s stumbled in its conversation", self.device.hardware.serial)
            self._talking = False

    async def _converse(self) -> None:
        report: bytes | None = self._unsent() or self._report("Idle")
        while report is not None and not self.closed:
            body = await self._deliver(report)
            self._keep(None)
            report = await self._obey(body) if body and not self.closed else None

    async def _deliver(self, report: bytes) -> bytes:
        """Send a report until the server takes it; returns what it wants next."""
        attempt = 0
        while True:
            try:
                return await self.device.put(self._server_url(), CONNECT_TYPE, report)
            except ServerUnreachable as error:
                self.device.problem = str(error)
            except ServerRefused as error:
                self.device.problem = str(error)
                if await self.device.heed_refusal(error):
                    return b""
            self.device.save()
            await asyncio.sleep(self.device.surroundings.pace.retry(attempt))
            attempt += 1

    async def _obey(self, body: bytes) -> bytes | None:
        order = _read(body)
        self.device.counts["command"] += 1
        if self.device.faults.take(DeviceFault.LOST_REPLY):
            self._come_back_later()
            return None
        reply = await self.device.answer(self, order["Command"])
        if reply.silent:
            return None
        report = self._report(reply.status, CommandUUID=order["CommandUUID"], **_content(reply))
        self.memory.deferred = self.memory.deferred or reply.status == "NotNow"
        self._keep(report)
        if self.device.faults.take(DeviceFault.REPEAT):
            await self._deliver(report)
        if reply.then is None:
            return report
        await self._say_once(report)
        await reply.then()
        return None

    async def _say_once(self, report: bytes) -> None:
        """The last words before a restart or an erasure: said once, heard or not."""
        try:
            await self.device.put(self._server_url(), CONNECT_TYPE, report)
        except (ServerRefused, ServerUnreachable) as error:
            self.device.problem = str(error)
        else:
            self._keep(None)

    def _come_back_later(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self.device.surroundings.pace.retry(0), self.wanted.set)

    def _unsent(self) -> bytes | None:
        return self.memory.unsent.encode() if self.memory.unsent is not None else None

    def _keep(self, report: bytes | None) -> None:
        """Remember a report until the server has taken it."""
        self.memory.unsent = report.decode() if report is not None else None

    def _report(self, status: str, **content: Any) -> bytes:
        if status == "Idle":
            self.memory.deferred = False
        return plistlib.dumps({"Status": status, **self.ids, **content})

    def _server_url(self) -> str:
        management = self.device.memory.management
        if management is None:
            raise LabError("The device is not managed any more.")
        return management.server_url


def _read(body: bytes) -> dict[str, Any]:
    try:
        order = plistlib.loads(body)
        if not isinstance(order["CommandUUID"], str) or not isinstance(order["Command"], dict):
            raise TypeError("wrong types")
    except Exception as error:  # plistlib's failures have no common base
        raise LabError(f"The server sent something that is no command: {error}.") from error
    return dict(order)


def _content(reply: Reply) -> dict[str, Any]:
    if reply.errors:
        return {**reply.content, "ErrorChain": reply.errors}
    return reply.content
