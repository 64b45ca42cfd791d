"""EraseDevice: wipes the device, which ends its enrollment.

How many may be erased at once, and who has to agree, is decided where commands are enqueued.
"""

from __future__ import annotations

from collections.abc import Mapping

from commands.catalog.base import CommandType
from commands.catalog.install_profile import profile_complaint
from commands.catalog.parameters import Parameter, ParameterType, pin
from commands.catalog.types import (
    DEVICE_ONLY,
    AccessRight,
    Change,
    Effect,
    Erased,
    Facts,
    Platform,
    Priority,
    Support,
)

_RIGHT = AccessRight.ALLOW_DEVICE_ERASE
_IOS_ALONE = {Platform.MACOS: None, Platform.TVOS: None, Platform.VISIONOS: None}
_MACOS_ALONE = {
    Platform.IOS: None,
    Platform.TVOS: None,
    Platform.VISIONOS: None,
    Platform.WATCHOS: None,
}

_RETURN_TO_SERVICE = Parameter(
    key="ReturnToService",
    type=ParameterType.DICTIONARY,
    label="Return to Service",
    help="The device sets itself up again and enrolls without anyone touching it.",
    # Erased without it, a device would wait in Setup Assistant wherever it happens to be.
    essential=True,
    limits={
        Platform.IOS: "17.0",
        Platform.MACOS: None,
        Platform.TVOS: "18.0",
        Platform.VISIONOS: "26.0",
        Platform.WATCHOS: None,
    },
    fields=(
        Parameter(
            key="Enabled",
            type=ParameterType.BOOLEAN,
            label="Return to Service",
            required=True,
        ),
        Parameter(
            key="WiFiProfileData",
            type=ParameterType.DATA,
            label="Wi-Fi profile",
            help="A profile with the network to join after the erase.",
            secret=True,
            max_length=1024 * 1024,
            check=profile_complaint,
        ),
        Parameter(
            key="MDMProfileData",
            type=ParameterType.DATA,
            label="Enrollment profile",
            help="Left out, the device asks Apple Business Manager where to enroll.",
            secret=True,
            max_length=1024 * 1024,
            check=profile_complaint,
        ),
        Parameter(
            key="BootstrapToken",
            type=ParameterType.DATA,
            label="Bootstrap token",
            help="Keeps the managed apps over the erase.",
            secret=True,
            max_length=64 * 1024,
            limits={Platform.IOS: "26.0", Platform.VISIONOS: "26.0"},
        ),
        Parameter(
            key="ShouldRetryEnrollment",
            type=ParameterType.BOOLEAN,
            label="Keep trying to enroll",
            default=False,
            limits={Platform.IOS: "27.0"},
        ),
    ),
)


class EraseDevice(CommandType):
    """`mdm/commands/device.erase.yaml` of Apple's device-management schema."""

    request_type = "EraseDevice"
    purpose = "Erase everything on the device. This cannot be undone."
    parameters = (
        Parameter(
            key="PreserveDataPlan",
            type=ParameterType.BOOLEAN,
            label="Keep the data plan",
            help="An eSIM's data plan survives the erase.",
            default=False,
            limits={Platform.IOS: "11.0", **_IOS_ALONE},
        ),
        Parameter(
            key="DisallowProximitySetup",
            type=ParameterType.BOOLEAN,
            label="No Quick Start",
            help="The next Setup Assistant does not offer to copy from a device nearby.",
            default=False,
            limits={Platform.IOS: "11.3", Platform.WATCHOS: None, **_IOS_ALONE},
        ),
        pin("Six digits that unlock the Mac after the erase. Older Macs with Intel need it."),
        Parameter(
            key="ObliterationBehavior",
            type=ParameterType.STRING,
            label="If a Mac cannot erase all content and settings",
            help="What a Mac with Apple silicon or a T2 does when the quick way of erasing fails.",
            default="Default",
            choices=("Default", "DoNotObliterate", "ObliterateWithWarning", "Always"),
            limits={Platform.MACOS: "12.0", **_MACOS_ALONE},
        ),
        _RETURN_TO_SERVICE,
    )
    support = {
        Platform.IOS: Support(min_version="4.0", shared_ipad=DEVICE_ONLY, access=_RIGHT),
        Platform.MACOS: Support(min_version="10.7", access=_RIGHT),
        Platform.TVOS: Support(min_version="10.2", access=_RIGHT),
        Platform.VISIONOS: Support(min_version="1.1", access=_RIGHT),
        Platform.WATCHOS: Support(min_version="10.0", access=_RIGHT),
    }
    effect = Effect.DESTRUCTIVE
    priority = Priority.ERASE
    sealed = True
    secret_keys = frozenset({"PIN", "WiFiProfileData", "MDMProfileData", "BootstrapToken"})
    never_not_now = frozenset({Platform.IOS, Platform.MACOS})

    def _why_not_with(self, facts: Facts, params: Mapping[str, object]) -> str | None:
        if facts.pin_required_for_erase and not params.get("PIN"):
            return "This Mac is erased with a six-digit PIN, and none was given."
        return None

    def _changes(
        self, content: Mapping[str, object], command: Mapping[str, object]
    ) -> list[Change]:
        return [Erased()]
