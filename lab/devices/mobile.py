"""What iPhone and iPad have in common; supervised only if they came with an ADE profile."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, ClassVar

from lab.devices import checkin, commands
from lab.devices.channel import Channel
from lab.devices.commands import Command, Handler, Reply
from lab.devices.device import Device


class Mobile(Device):
    user_agent: ClassVar[str] = "MDM/1.0"

    def token_update_message(self, channel: Channel) -> dict[str, Any]:
        message = super().token_update_message(channel)
        message["AwaitingConfiguration"] = self.memory.awaiting
        return checkin.with_unlock_token(message, self.memory)

    def commands(self, channel: str) -> Mapping[str, Handler]:
        return _COMMANDS

    def may_defer(self, request: str) -> bool:
        return request not in commands.NEVER_DEFERRED_ON_IOS

    def unknown_command(self, request: str) -> Reply:
        return commands.FORMAT_ERROR


async def _device_lock(device: Device, channel: str, command: Command) -> Reply:
    content = {}
    if "Message" in command or "PhoneNumber" in command:
        content["MessageResult"] = "Success" if device.memory.passcode else "NoPasscodeSet"
    if device.memory.passcode:
        device.lock()
        patience = device.surroundings.pace.unlock_after
        if patience is not None:
            device.later(patience, device.unlock)
    return Reply(content=content)


async def _clear_passcode(device: Device, channel: str, command: Command) -> Reply:
    token = command.get("UnlockToken")
    if not isinstance(token, bytes):
        return commands.FORMAT_ERROR
    if token != base64.b64decode(device.memory.unlock_token):
        return commands.failed("MCPasscodeErrorDomain", 5013, "The passcode cannot be cleared.")
    device.memory.passcode = False
    device.unlock()
    return Reply()


async def _restart(device: Device, channel: str, command: Command) -> Reply:
    if not device.memory.supervised:
        return _supervised_only(command)
    return Reply(then=_restarting(device))


async def _shut_down(device: Device, channel: str, command: Command) -> Reply:
    if not device.memory.supervised:
        return _supervised_only(command)

    async def shut_down() -> None:
        device.power_off()

    return Reply(then=shut_down)


def _restarting(device: Device) -> commands.Then:
    async def restart() -> None:
        device.power_off()
        device.later(device.surroundings.pace.restart, device.power_on)

    return restart


def _supervised_only(command: Command) -> Reply:
    text = f"{command['RequestType']} is available on supervised devices only."
    return commands.failed("MCMDMErrorDomain", 12021, text)


_COMMANDS: dict[str, Handler] = {
    **commands.EVERYWHERE,
    "DeviceLock": _device_lock,
    "ClearPasscode": _clear_passcode,
    "EraseDevice": commands.erase_device,
    "RestartDevice": _restart,
    "ShutDownDevice": _shut_down,
}
