"""ShutDownDevice: powers the device off; someone has to be there to start it again."""

from __future__ import annotations

from commands.catalog.base import CommandType
from commands.catalog.types import DEVICE_ONLY, AccessRight, Platform, Support

_RIGHT = AccessRight.ALLOW_PASSCODE_REMOVAL_AND_LOCK


class ShutDownDevice(CommandType):
    """`mdm/commands/device.shutdown.yaml` of Apple's device-management schema."""

    request_type = "ShutDownDevice"
    purpose = "Power the device off. Only someone beside it can start it again."
    support = {
        Platform.IOS: Support(
            min_version="10.3",
            supervised=True,
            shared_ipad=DEVICE_ONLY,
            access=_RIGHT,
        ),
        Platform.MACOS: Support(min_version="10.13", access=_RIGHT),
    }
