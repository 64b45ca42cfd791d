"""RestartDevice: restarts the device at once."""

from __future__ import annotations

from commands.catalog.base import CommandType
from commands.catalog.parameters import Parameter, ParameterType
from commands.catalog.types import DEVICE_ONLY, AccessRight, Platform, Support

_RIGHT = AccessRight.ALLOW_PASSCODE_REMOVAL_AND_LOCK


class RestartDevice(CommandType):
    """`mdm/commands/device.restart.yaml` of Apple's device-management schema."""

    request_type = "RestartDevice"
    purpose = "Restart the device now. One with a passcode leaves the Wi-Fi until it is unlocked."
    parameters = (
        Parameter(
            key="NotifyUser",
            type=ParameterType.BOOLEAN,
            label="Ask the user first",
            help="A Mac tells its user, who restarts when it suits; nothing happens by force.",
            default=False,
            limits={Platform.IOS: None, Platform.MACOS: "11.4", Platform.TVOS: None},
        ),
        Parameter(
            key="RebuildKernelCache",
            type=ParameterType.BOOLEAN,
            label="Rebuild the kernel cache",
            help="A Mac loads new kernel extensions with this restart.",
            default=False,
            limits={Platform.IOS: None, Platform.MACOS: "11.0", Platform.TVOS: None},
        ),
        Parameter(
            key="KextPaths",
            type=ParameterType.ARRAY,
            label="Kernel extensions",
            help="Paths to add to the kernel cache when it is rebuilt, one a line.",
            max_length=100,
            limits={Platform.IOS: None, Platform.MACOS: "11.0", Platform.TVOS: None},
            item=Parameter(key="KextPath", type=ParameterType.STRING, label="Path"),
        ),
    )
    support = {
        Platform.IOS: Support(
            min_version="10.3",
            supervised=True,
            shared_ipad=DEVICE_ONLY,
            access=_RIGHT,
        ),
        Platform.MACOS: Support(min_version="10.13", access=_RIGHT),
        Platform.TVOS: Support(min_version="10.2", supervised=True, access=_RIGHT),
    }
