"""InstallProfile: puts one configuration profile on the device, or replaces it.

Which device should have which profile is decided in the app `profiles`.
"""

from __future__ import annotations

from collections.abc import Mapping

from commands.catalog.base import CommandType
from commands.catalog.parameters import Parameter, ParameterType
from commands.catalog.types import (
    DEVICE_AND_USER,
    AccessRight,
    AskAgain,
    Change,
    Platform,
    Support,
)
from mdm.protocol.errors import ProtocolError
from mdm.protocol.plist import safe_plist_loads

PROFILE_RIGHT = AccessRight.ALLOW_INSTALLATION_REMOVAL
PROFILE_SUPPORT: Mapping[Platform, Support] = {
    Platform.IOS: Support(
        min_version="4.0", user_enrollment=True, shared_ipad=DEVICE_AND_USER, access=PROFILE_RIGHT
    ),
    Platform.MACOS: Support(
        min_version="10.7", user_enrollment=True, channels=DEVICE_AND_USER, access=PROFILE_RIGHT
    ),
    Platform.TVOS: Support(min_version="9.0", access=PROFILE_RIGHT),
    Platform.VISIONOS: Support(min_version="1.1", user_enrollment=True, access=PROFILE_RIGHT),
    Platform.WATCHOS: Support(min_version="10.0", access=PROFILE_RIGHT),
}

_NOT_A_PROFILE = "This is not a configuration profile."
_DER_SEQUENCE = b"\x30"


def profile_complaint(payload: object) -> str | None:
    """A sentence where these bytes cannot be a configuration profile, or None.

    A signed profile is only recognized, not opened.
    """
    if not isinstance(payload, bytes):
        return _NOT_A_PROFILE
    if payload.startswith(_DER_SEQUENCE):
        return None
    try:
        profile = safe_plist_loads(payload)
    except ProtocolError:
        return _NOT_A_PROFILE
    return None if profile.get("PayloadType") == "Configuration" else _NOT_A_PROFILE


class InstallProfile(CommandType):
    """`mdm/commands/profile.install.yaml` of Apple's device-management schema."""

    request_type = "InstallProfile"
    purpose = "Install a configuration profile, or replace the one with the same identifier."
    parameters = (
        Parameter(
            key="Payload",
            type=ParameterType.DATA,
            label="Profile",
            help="A .mobileconfig file, signed or not.",
            required=True,
            # A profile may hold Wi-Fi and VPN passwords.
            secret=True,
            max_length=4 * 1024 * 1024,
            check=profile_complaint,
        ),
    )
    support = PROFILE_SUPPORT
    secret_keys = frozenset({"Payload"})

    def _changes(
        self, content: Mapping[str, object], command: Mapping[str, object]
    ) -> list[Change]:
        return [AskAgain("ProfileList")]
