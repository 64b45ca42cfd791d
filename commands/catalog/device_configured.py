"""DeviceConfigured: lets a device that awaits its configuration leave Setup Assistant."""

from __future__ import annotations

from collections.abc import Mapping

from commands.catalog.base import CommandType
from commands.catalog.types import DEVICE_ONLY, Change, Configured, Platform, Support


class DeviceConfigured(CommandType):
    """`mdm/commands/device.configured.yaml` of Apple's device-management schema."""

    request_type = "DeviceConfigured"
    purpose = "Let a device that awaits its configuration go on with Setup Assistant."
    support = {
        Platform.IOS: Support(min_version="9.0", supervised=True, shared_ipad=DEVICE_ONLY),
        Platform.MACOS: Support(min_version="10.11"),
        Platform.TVOS: Support(min_version="10.2", supervised=True),
        Platform.VISIONOS: Support(min_version="2.0", supervised=True),
    }
    coalesce = True

    def _changes(
        self, content: Mapping[str, object], command: Mapping[str, object]
    ) -> list[Change]:
        return [Configured()]
