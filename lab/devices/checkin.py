"""The check-in messages of a simulated device, as property lists; `lab.devices.device` sends
them. Source of the keys: captured messages and Apple's "Check-in" pages."""

from __future__ import annotations

import base64
from typing import Any

from lab.devices.hardware import Hardware
from lab.devices.memory import ChannelMemory, Management, Memory

CHECK_IN_TYPE = "application/x-apple-aspen-mdm-checkin"


def authenticate(machine: Hardware, management: Management, os_version: str = "") -> dict[str, Any]:
    """As iOS sends it; a Mac adds its names."""
    message = {
        "MessageType": "Authenticate",
        "Topic": management.topic,
        "UDID": machine.udid,
        "SerialNumber": machine.serial,
        "ProductName": machine.product,
        "OSVersion": os_version or machine.os_version,
        "BuildVersion": machine.build,
    }
    if machine.imei:
        message["IMEI"] = machine.imei
    return message


def token_update(
    ids: dict[str, Any], management: Management, channel: ChannelMemory
) -> dict[str, Any]:
    return {
        "MessageType": "TokenUpdate",
        "Topic": management.topic,
        "Token": bytes.fromhex(channel.token),
        "PushMagic": channel.push_magic,
        **ids,
    }


def with_unlock_token(message: dict[str, Any], memory: Memory) -> dict[str, Any]:
    return {**message, "UnlockToken": base64.b64decode(memory.unlock_token)}


def set_bootstrap_token(ids: dict[str, Any], memory: Memory) -> dict[str, Any]:
    return {
        "MessageType": "SetBootstrapToken",
        "BootstrapToken": base64.b64decode(memory.bootstrap_token),
        **ids,
    }


def check_out(ids: dict[str, Any], management: Management) -> dict[str, Any]:
    return {"MessageType": "CheckOut", "Topic": management.topic, **ids}
