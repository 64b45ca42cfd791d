"""SecurityInfo: passcode, encryption, firewall and boot security as the device reports them."""

from __future__ import annotations

from collections.abc import Mapping

from commands.catalog import sections
from commands.catalog.base import CommandType
from commands.catalog.types import (
    DEVICE_AND_USER,
    DEVICE_ONLY,
    AccessRight,
    Change,
    Effect,
    Platform,
    Priority,
    ReplaceSection,
    Support,
)

SECTION = "SecurityInfo"
_RIGHT = AccessRight.ALLOW_QUERY_SECURITY


class SecurityInfo(CommandType):
    """`mdm/commands/information.security.yaml` of Apple's device-management schema."""

    request_type = "SecurityInfo"
    purpose = "Ask the device whether it is encrypted, has a passcode and how it is secured."
    support = {
        Platform.IOS: Support(
            min_version="4.0", user_enrollment=True, shared_ipad=DEVICE_ONLY, access=_RIGHT
        ),
        Platform.MACOS: Support(
            min_version="10.7", user_enrollment=True, channels=DEVICE_AND_USER, access=_RIGHT
        ),
        Platform.TVOS: Support(min_version="9.0", access=_RIGHT),
        Platform.VISIONOS: Support(min_version="1.1", user_enrollment=True, access=_RIGHT),
        Platform.WATCHOS: Support(min_version="10.0", access=_RIGHT),
    }
    priority = Priority.INVENTORY
    effect = Effect.READS
    coalesce = True

    def _changes(
        self, content: Mapping[str, object], command: Mapping[str, object]
    ) -> list[Change]:
        reported = content.get(SECTION)
        if not isinstance(reported, Mapping):
            return []
        return [ReplaceSection(SECTION, sections.dictionary(reported))]
