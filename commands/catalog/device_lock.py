"""DeviceLock: locks the device at once; a Mac with a PIN that it asks for before it starts."""

from __future__ import annotations

from collections.abc import Mapping

from commands.catalog.base import CommandType
from commands.catalog.parameters import Parameter, ParameterType, pin
from commands.catalog.types import (
    DEVICE_ONLY,
    AccessRight,
    Effect,
    Facts,
    Platform,
    Priority,
    Support,
)

_RIGHT = AccessRight.ALLOW_PASSCODE_REMOVAL_AND_LOCK


class DeviceLock(CommandType):
    """`mdm/commands/device.lock.yaml` of Apple's device-management schema."""

    request_type = "DeviceLock"
    purpose = "Lock the device now, with a message on its screen if you like."
    parameters = (
        Parameter(
            key="Message",
            type=ParameterType.STRING,
            label="Message",
            help="Shown on the lock screen.",
            multiline=True,
            limits={Platform.IOS: "7.0", Platform.MACOS: "10.14", Platform.VISIONOS: None},
        ),
        Parameter(
            key="PhoneNumber",
            type=ParameterType.STRING,
            label="Phone number",
            help="Shown on the lock screen, for whoever finds the device.",
            max_length=64,
            limits={Platform.IOS: "7.0", Platform.MACOS: "11.5", Platform.VISIONOS: None},
        ),
        pin("Six digits that unlock the Mac again. Macs need it, other devices leave it out."),
    )
    support = {
        Platform.IOS: Support(
            min_version="4.0", user_enrollment=True, shared_ipad=DEVICE_ONLY, access=_RIGHT
        ),
        Platform.MACOS: Support(min_version="10.7", access=_RIGHT),
        Platform.VISIONOS: Support(min_version="2.0", user_enrollment=True, access=_RIGHT),
        Platform.WATCHOS: Support(min_version="10.0", access=_RIGHT),
    }
    effect = Effect.DESTRUCTIVE
    priority = Priority.LOCK
    sealed = True
    secret_keys = frozenset({"PIN"})
    never_not_now = frozenset({Platform.IOS, Platform.MACOS})

    def _why_not_with(self, facts: Facts, params: Mapping[str, object]) -> str | None:
        if facts.platform != Platform.MACOS or params.get("PIN"):
            return None
        # A Mac that says it needs no PIN is believed; one that has not been asked yet is not.
        if facts.pin_required_for_lock is False:
            return None
        return "A Mac is locked with a six-digit PIN, and none was given."
