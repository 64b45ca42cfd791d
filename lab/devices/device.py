"""The machine that all simulated devices share: it enrolls, stays reachable, is woken, and leaves.
What it says to a command is in `lab.devices.commands`; a conversation in `lab.devices.channel`."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import plistlib
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric import rsa

from lab.apns.postbox import Postbox
from lab.devices import activation, checkin, commands, enrolling
from lab.devices.activation import Factory
from lab.devices.channel import DEVICE, Channel, Pace
from lab.devices.commands import Handler, Reply
from lab.devices.faults import COUNTED, DeviceFault, Mistakes
from lab.devices.hardware import Hardware
from lab.devices.identity import Presentation, present
from lab.devices.memory import Management, MemoryFile
from lab.devices.profile import Profile
from lab.devices.web_view import Person
from lab.errors import EnrollmentFailed, LabError, ServerRefused, ServerUnreachable
from lab.http import Webs

UNRECOGNIZED = "com.apple.unrecognized.device"


@dataclass
class Surroundings:
    """What a device finds in its world. `key` gives a fresh RSA key of the size asked for."""

    postbox: Postbox
    webs: Webs
    key: Callable[[int], Awaitable[rsa.RSAPrivateKey]]
    pace: Pace = field(default_factory=Pace)
    factory: Factory | None = None
    presentation: Presentation = Presentation.AS_PROFILE
    digest: str = "sha256"


class Device:
    """`memory.state` is new, enrolling, enrolled, failed, unenrolled or erased. `counts` says how
    often it was pushed, obeyed, spoke; `problem` is the last thing that went wrong."""

    user_agent: ClassVar[str]

    def __init__(
        self, hardware: Hardware, surroundings: Surroundings, file: MemoryFile | None = None
    ) -> None:
        self.hardware = hardware
        self.surroundings = surroundings
        self._file = file or MemoryFile()
        self.memory = self._file.load()
        self.faults = Mistakes()
        self.counts: Counter[str] = Counter()
        self.problem = ""
        self.channels: dict[str, Channel] = {}
        self._later: set[asyncio.TimerHandle] = set()

    # What platforms decide

    def authenticate_message(self) -> dict[str, Any]:
        return checkin.authenticate(self.hardware, self.managed, self.memory.os_version)

    def token_update_message(self, channel: Channel) -> dict[str, Any]:
        return checkin.token_update(channel.ids, self.managed, channel.memory)

    async def after_first_token_update(self) -> None:
        """What the platform says once it is enrolled."""

    def channel_names(self) -> Mapping[str, dict[str, Any]]:
        """The channels there are, with the identifiers that their messages carry."""
        return {DEVICE: {"UDID": self.hardware.udid}}

    def commands(self, channel: str) -> Mapping[str, Handler]:
        raise NotImplementedError

    def may_defer(self, request: str) -> bool:
        """Whether the platform answers NotNow to this while it is locked."""
        raise NotImplementedError

    def unknown_command(self, request: str) -> Reply:
        raise NotImplementedError

    def missing_key(self, request: str, key: str) -> Reply:
        return commands.FORMAT_ERROR

    # Enrollment

    async def enroll(self, link: str, authorities: bytes) -> None:
        """Enroll through a link, trusting `authorities` (PEM) for TLS; what was begun earlier is
        taken up again. Raises EnrollmentFailed, ServerUnreachable, ServerRefused."""
        if self.memory.state == "enrolled":
            raise EnrollmentFailed(f"{self.hardware.serial} is enrolled already.")
        self.memory.link, self.memory.link_authorities = link, authorities.decode("ascii")
        if self.memory.state != "enrolling" or self.memory.management is None:
            await self._install_enrollment_profile(link, authorities)
        await self._check_in_first()
        self.memory.state, self.problem = "enrolled", ""
        self.save()
        for channel in self.channels.values():
            channel.open()

    async def activate(
        self, profile: Mapping[str, Any], authorities: bytes, person: Person | None = None
    ) -> None:
        """Go through Setup Assistant with the ADE profile that Apple gave, trusting `authorities`
        (PEM) where it names no anchors; `person` signs in where the profile wants that. Raises
        EnrollmentFailed, ServerUnreachable, ServerRefused.
        """
        if self.memory.state == "enrolled":
            raise EnrollmentFailed(f"{self.hardware.serial} is enrolled already.")
        trusted = activation.anchors(profile) or authorities
        if self.memory.state != "enrolling" or self.memory.management is None:
            found = await activation.obtain(self, profile, trusted, person)
            await self._install(found, trusted)
            self.memory.ade = {k: v for k, v in profile.items() if k not in activation.SECRET}
            self.memory.awaiting = bool(profile.get("await_device_configured"))
            self.save()
        await self._check_in_first()
        self.memory.state, self.problem = "enrolled", ""
        self.save()
        for channel in self.channels.values():
            channel.open()

    async def renew(self, profile: Profile) -> None:
        """Replace the identity by one that the renewed enrollment profile brings."""
        management = self.managed
        web = self.surroundings.webs.trusting(management.authorities.encode())
        key = await self.surroundings.key(profile.identity().key_size)
        trusted = self.memory.link_authorities.encode()
        self.memory.management = await enrolling.obtain_management(web, profile, key, trusted)
        try:
            await self.check_in(self.authenticate_message())
        except LabError:
            self.memory.management = management
            raise
        self.memory.profiles[profile.identifier] = base64.b64encode(profile.data).decode("ascii")
        for channel in self.channels.values():
            await self.insist(self.token_update_message(channel))
        self.save()

    async def remove_management(self) -> None:
        """The MDM profile goes, by command or by its user; one CheckOut is tried."""
        management = self.managed
        if management.check_out_when_removed:
            message = checkin.check_out(self.channel_names()[DEVICE], management)
            try:
                await self.check_in(message)
            except (ServerRefused, ServerUnreachable) as error:
                self.problem = str(error)
        self._drop("unenrolled")

    async def erase(self) -> None:
        """Everything is gone; the machine can be enrolled again as a fresh one."""
        self._drop("erased")
        self.memory.name, self.memory.passcode = "", True
        self.memory.locked = self.memory.pin_locked = False
        self.save()

    # Daily life

    def start(self) -> None:
        """Be there again after the lab was stopped."""
        if self.memory.state == "enrolled" and self.memory.powered:
            self._open_channels()

    def stop(self) -> None:
        """The lab ends; the device's memory is kept."""
        for timer in self._later:
            timer.cancel()
        self._close_channels()
        self.save()

    def lock(self) -> None:
        self.memory.locked = True
        self.save()

    def unlock(self) -> None:
        """The person is back: what was put off is asked for again."""
        self.memory.locked = False
        if self.memory.pin_locked:
            self.memory.pin_locked = False
            self.power_on()
        self.save()
        for channel in self.channels.values():
            if channel.memory.deferred:
                channel.wanted.set()

    def power_off(self) -> None:
        self.memory.powered = False
        self._close_channels()
        self.save()

    def power_on(self) -> None:
        if self.memory.powered:
            return
        self.memory.powered = True
        self.save()
        self.start()

    async def new_token(self) -> None:
        """APNs gave the device another token, and it tells the server."""
        channel = self.channels[DEVICE]
        old = channel.memory.token
        self._register(channel)
        await self.insist(self.token_update_message(channel))
        self.surroundings.postbox.retire(old)
        self.surroundings.postbox.attach(channel.memory.token, channel.push)
        self.save()

    async def play(self, fault: DeviceFault, count: int = 1) -> None:
        """Do to the device what `fault` says. Raises LabError where it is in no state for it."""
        if fault in COUNTED:
            self.faults.order(fault, count)
        elif fault is DeviceFault.RESET:
            await self.erase()
        elif fault in _SIMPLE:
            _SIMPLE[fault](self)
        elif self.memory.state != "enrolled":
            raise LabError(f"{self.hardware.serial} is not enrolled.")
        elif fault is DeviceFault.NEW_TOKEN:
            await self.new_token()
        elif fault is DeviceFault.REMOVE:
            if self.memory.ade is not None and not self.memory.ade.get("is_mdm_removable", True):
                raise LabError(f"The management of {self.hardware.serial} cannot be removed.")
            await self.remove_management()
        elif fault is DeviceFault.VANISH:
            self._drop("unenrolled")

    async def answer(self, channel: Channel, command: dict[str, Any]) -> Reply:
        """The reply to one command, given the state the device is in."""
        request = command.get("RequestType")
        if not isinstance(request, str):
            return commands.FORMAT_ERROR
        if self.memory.locked and self.may_defer(request):
            return commands.NOT_NOW
        if self.faults.take(DeviceFault.ERROR):
            return commands.failed("MCMDMErrorDomain", 12013, f"{request} failed.")
        return await commands.obey(self, channel.name, command)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something after a while, unless the lab has stopped by then."""
        loop = asyncio.get_running_loop()
        self._later = {timer for timer in self._later if timer.when() > loop.time()}
        self._later.add(loop.call_later(seconds, act))

    # Speaking

    @property
    def managed(self) -> Management:
        if self.memory.management is None:
            raise LabError(f"{self.hardware.serial} is not managed.")
        return self.memory.management

    async def check_in(self, message: dict[str, Any]) -> bytes:
        """Send a check-in message once; returns the answer's body."""
        body = plistlib.dumps(message)
        return await self.put(self.managed.check_in_url, checkin.CHECK_IN_TYPE, body)

    async def insist(self, message: dict[str, Any]) -> bytes:
        """Send a check-in message until it is taken, or until trying is pointless."""
        pace = self.surroundings.pace
        for attempt in range(pace.attempts):
            try:
                return await self.check_in(message)
            except ServerRefused as error:
                if error.status in (400, 401):
                    raise
                self.problem = str(error)
            except ServerUnreachable as error:
                self.problem = str(error)
            await asyncio.sleep(pace.retry(attempt))
        return await self.check_in(message)

    async def put(self, url: str, content_type: str, body: bytes) -> bytes:
        """PUT with proof of identity; returns the body of a 2xx. Raises ServerRefused,
        ServerUnreachable."""
        management = self.managed
        headers = {"Content-Type": content_type, "User-Agent": self.user_agent}
        headers |= present(
            body, management, self.surroundings.presentation, self.surroundings.digest
        )
        web = self.surroundings.webs.trusting(management.authorities.encode())
        answer = await web.ask("PUT", url, body, headers)
        self.counts[str(answer.status)] += 1
        if not 200 <= answer.status < 300:
            raise ServerRefused(answer.status, answer.body)
        return answer.body

    async def heed_refusal(self, error: ServerRefused) -> bool:
        """Whether a refusal ends the matter: 401 and "unrecognized device" end the management,
        400 drops the message. Anything else is tried again later."""
        if error.status == 401 or (error.status == 403 and _unrecognized(error.body)):
            self._drop("unenrolled")
            return True
        return error.status == 400

    def save(self) -> None:
        self._file.save(self.memory)

    # Inner workings

    @property
    def large(self) -> bool:
        return self.hardware.large or self.memory.large

    async def _install_enrollment_profile(self, link: str, authorities: bytes) -> None:
        web = self.surroundings.webs.trusting(authorities)
        await self._install(await enrolling.download(web, link), authorities)

    async def _install(self, profile: Profile, authorities: bytes) -> None:
        self.memory.link_authorities = authorities.decode("ascii")
        key = await self.surroundings.key(profile.identity().key_size)
        trusting = self.surroundings.webs.trusting(authorities + profile.authorities())
        management = await enrolling.obtain_management(trusting, profile, key, authorities)
        self.memory.management, self.memory.state = management, "enrolling"
        encoded = base64.b64encode(profile.data).decode("ascii")
        self.memory.profiles = {profile.identifier: encoded}
        self.save()

    async def _check_in_first(self) -> None:
        try:
            await self.check_in(self.authenticate_message())
        except ServerRefused as error:
            # One that is only busy is asked again.
            if error.status < 500:
                self._drop("failed")
            raise
        self.memory.unlock_token = base64.b64encode(os.urandom(1500)).decode("ascii")
        self.channels = {}
        for name in (DEVICE, *(n for n in self.channel_names() if n != DEVICE)):
            channel = self._channel(name)
            self._register(channel)
            await self.insist(self.token_update_message(channel))
            self.channels[name] = channel
            if name == DEVICE:
                await self.after_first_token_update()

    def _channel(self, name: str) -> Channel:
        return Channel(self, name, self.memory.channel(name), dict(self.channel_names()[name]))

    def _register(self, channel: Channel) -> None:
        channel.memory.token = os.urandom(32).hex()
        channel.memory.push_magic = str(uuid.uuid4()).upper()
        self.surroundings.postbox.register(channel.memory.token, self.managed.topic)

    def _open_channels(self) -> None:
        for name, remembered in self.memory.channels.items():
            if self.surroundings.postbox.topic(remembered.token) is None:
                self.surroundings.postbox.register(remembered.token, self.managed.topic)
            self.channels[name] = self._channel(name)
            self.channels[name].open()

    def _close_channels(self) -> None:
        for channel in self.channels.values():
            channel.close()
        self.channels = {}

    def _drop(self, state: str) -> None:
        """End the management: tokens cease to be valid, nothing of it is kept."""
        self._close_channels()
        for channel in self.memory.channels.values():
            self.surroundings.postbox.retire(channel.token)
        self.memory.forget_management()
        self.memory.state = state
        self.save()


def _unrecognized(body: bytes) -> bool:
    try:
        content = plistlib.loads(body) if body.lstrip().startswith(b"<") else json.loads(body)
        return bool(content["code"] == UNRECOGNIZED)
    except Exception:  # plistlib's failures have no common base
        return False


def _large(device: Device) -> None:
    device.memory.large = True


_SIMPLE: dict[DeviceFault, Callable[[Device], None]] = {
    DeviceFault.LOCKED: Device.lock,
    DeviceFault.UNLOCKED: Device.unlock,
    DeviceFault.OFF: Device.power_off,
    DeviceFault.ON: Device.power_on,
    DeviceFault.LARGE: _large,
}
