"""A simulated Mac: it escrows a bootstrap token and opens a channel for its user."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from lab.devices import checkin, commands
from lab.devices.channel import DEVICE, USER, Channel
from lab.devices.commands import Command, Handler, Reply
from lab.devices.device import Device


class Mac(Device):
    user_agent: ClassVar[str] = "MDM-OSX/1.0 mdmclient/1460.40.3"

    def authenticate_message(self) -> dict[str, Any]:
        machine = self.hardware
        return super().authenticate_message() | {
            "DeviceName": self.memory.name or machine.name,
            "Model": machine.model,
            "ModelName": machine.model_name,
        }

    def token_update_message(self, channel: Channel) -> dict[str, Any]:
        message = super().token_update_message(channel)
        if channel.name == DEVICE:
            return message | {"AwaitingConfiguration": self.memory.awaiting}
        return message | {"NotOnConsole": False}

    async def after_first_token_update(self) -> None:
        if "com.apple.mdm.bootstraptoken" not in self.managed.capabilities:
            return
        self.memory.bootstrap_token = base64.b64encode(os.urandom(384)).decode("ascii")
        ids = self.channel_names()[DEVICE]
        await self.insist(checkin.set_bootstrap_token(ids, self.memory))

    def channel_names(self) -> Mapping[str, dict[str, Any]]:
        channels = dict(super().channel_names())
        if "com.apple.mdm.per-user-connections" in self.managed.capabilities:
            owner = self.hardware.owner
            channels[USER] = {
                **channels[DEVICE],
                "UserID": owner.user_id,
                "UserShortName": owner.short_name,
                "UserLongName": owner.long_name,
            }
        return channels

    def commands(self, channel: str) -> Mapping[str, Handler]:
        return _DEVICE_COMMANDS if channel == DEVICE else commands.EVERYWHERE

    def may_defer(self, request: str) -> bool:
        return request not in commands.NEVER_DEFERRED_ON_MAC

    def unknown_command(self, request: str) -> Reply:
        text = f"‘{request}’ is not a supported command <MDMClientError:91>"
        return commands.failed("MDMClientError", 91, text)

    def missing_key(self, request: str, key: str) -> Reply:
        text = f"No '{key}' in '{request}' command <MDMClientError:97>"
        return commands.failed("MDMClientError", 97, text)


async def _device_lock(device: Device, channel: str, command: Command) -> Reply:
    """A Mac restarts into a screen that wants the PIN; until then it is away."""
    if not re.fullmatch(r"[0-9]{6}", str(command.get("PIN", ""))):
        return commands.failed("MDMClientError", 97, "A PIN of six digits is required.")

    async def lock() -> None:
        device.memory.pin_locked = True
        device.power_off()

    return Reply(then=lock)


async def _restart(device: Device, channel: str, command: Command) -> Reply:
    async def restart() -> None:
        device.power_off()
        device.later(device.surroundings.pace.restart, device.power_on)

    return Reply(then=restart)


async def _shut_down(device: Device, channel: str, command: Command) -> Reply:
    async def shut_down() -> None:
        device.power_off()

    return Reply(then=shut_down)


_DEVICE_COMMANDS: dict[str, Handler] = {
    **commands.EVERYWHERE,
    "DeviceLock": _device_lock,
    "EraseDevice": commands.erase_device,
    "RestartDevice": _restart,
    "ShutDownDevice": _shut_down,
}
