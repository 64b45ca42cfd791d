"""ProfileList: the configuration profiles that are installed."""

from __future__ import annotations

from collections.abc import Mapping

from commands.catalog import sections
from commands.catalog.base import CommandType
from commands.catalog.parameters import MANAGED_ONLY
from commands.catalog.types import (
    DEVICE_AND_USER,
    AccessRight,
    Change,
    Effect,
    Platform,
    Priority,
    Support,
)

SECTION = "ProfileList"
_RIGHT = AccessRight.ALLOW_INSPECTION


class ProfileList(CommandType):
    """`mdm/commands/profile.list.yaml` of Apple's device-management schema."""

    request_type = "ProfileList"
    purpose = "Ask the device which configuration profiles are installed."
    parameters = (MANAGED_ONLY,)
    support = {
        Platform.IOS: Support(
            min_version="4.0", user_enrollment=True, shared_ipad=DEVICE_AND_USER, access=_RIGHT
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
    never_not_now = frozenset({Platform.IOS})

    def _changes(
        self, content: Mapping[str, object], command: Mapping[str, object]
    ) -> list[Change]:
        if command.get("ManagedOnly"):
            return []
        section = sections.list_section(SECTION, content.get(SECTION), _CERTIFICATES)
        return [section] if section else []


# The signers' certificates repeat in every profile and make most of a long list's size.
_CERTIFICATES = frozenset({"SignerCertificates"})
