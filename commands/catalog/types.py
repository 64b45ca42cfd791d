"""The vocabulary of the catalog: platforms, rights, facts about a receiver, changes after a reply.

What a command is stands in `base`, the fields it takes in `parameters`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum
from typing import Literal

Channel = Literal["device", "user", "shared_ipad_user"]
EnrollmentKind = Literal["device", "user_enrollment"]
SupportChannel = Literal["device", "user"]

DEVICE_ONLY: frozenset[SupportChannel] = frozenset({"device"})
DEVICE_AND_USER: frozenset[SupportChannel] = frozenset({"device", "user"})


class Platform(StrEnum):
    """Apple's platforms, as people name them; `mdm.protocol.platform` tells a machine's."""

    IOS = "iOS"
    IPADOS = "iPadOS"
    MACOS = "macOS"
    TVOS = "tvOS"
    VISIONOS = "visionOS"
    WATCHOS = "watchOS"

    @property
    def described_as(self) -> Platform:
        """The platform whose facts Apple's schema gives for this one: iPadOS stands under iOS."""
        return Platform.IOS if self is Platform.IPADOS else self


class AccessRight(IntFlag):
    """AccessRights of the MDM payload, in the names of Apple's command schema."""

    ALLOW_INSPECTION = 1
    ALLOW_INSTALLATION_REMOVAL = 2
    ALLOW_PASSCODE_REMOVAL_AND_LOCK = 4
    ALLOW_DEVICE_ERASE = 8
    ALLOW_QUERY_DEVICE_INFORMATION = 16
    ALLOW_QUERY_NETWORK_INFORMATION = 32
    ALLOW_PROVISIONING_INSPECTION = 64
    ALLOW_PROVISIONING_INSTALLATION_REMOVAL = 128
    ALLOW_QUERY_APPLICATIONS = 256
    ALLOW_QUERY_RESTRICTIONS = 512
    ALLOW_QUERY_SECURITY = 1024
    ALLOW_SETTINGS = 2048
    ALLOW_APP_INSTALLATION = 4096


NO_RIGHT = AccessRight(0)
ALL_RIGHTS = AccessRight(8191)


class Effect(StrEnum):
    """What a command does to a device and whoever uses it."""

    READS = "reads"
    CHANGES = "changes"
    # Data is lost, people are locked out, or management ends.
    DESTRUCTIVE = "destructive"


class Priority(IntEnum):
    """The order of delivery within one channel: the larger number goes first."""

    INVENTORY = -10
    NORMAL = 0
    LOCK = 50
    ERASE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """What one platform asks for before it takes a command or a query.

    `user_enrollment` is False too where the platform knows no user enrollment. `shared_ipad` holds
    the channels that take the command on a Shared iPad; empty means that it is forbidden there.
    """

    min_version: str
    supervised: bool = False
    channels: frozenset[SupportChannel] = DEVICE_ONLY
    user_enrollment: bool = False
    shared_ipad: frozenset[SupportChannel] = frozenset()
    shared_ipad_only: bool = False
    access: AccessRight = NO_RIGHT


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one receiver; None is "not known", and what is not known refuses nothing.

    Hashable, so that receivers with the same facts can be judged once. The two PIN facts are a
    Mac's own answers (DeviceInformation: PINRequiredForDeviceLock, PINRequiredForEraseDevice).
    """

    platform: Platform | None = None
    os_version: str | None = None
    supervised: bool | None = None
    channel: Channel | None = None
    kind: EnrollmentKind | None = None
    access_rights: int | None = None
    has_unlock_token: bool | None = None
    shared_ipad: bool | None = None
    pin_required_for_lock: bool | None = None
    pin_required_for_erase: bool | None = None


UNKNOWN = Facts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What only this one receiver's command carries, decrypted by the caller."""

    unlock_token: bytes | None = field(default=None, repr=False)


NO_EXTRAS = Extras()


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """Columns of the device row to set: strings, booleans and finite numbers only."""

    values: Mapping[str, str | bool | float]


@dataclass(frozen=True, slots=True)
class ReplaceSection:
    """An inventory section's new content, ready for JSON; `truncated` when a list was cut."""

    section: str
    data: dict[str, object] | list[dict[str, object]]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class UpdateSection:
    """Keys to set and keys to forget within an inventory section; all others stay."""

    section: str
    data: dict[str, object]
    forget: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AskAgain:
    """An inventory query that is out of date now and should be queued (coalesced)."""

    request_type: str


@dataclass(frozen=True, slots=True)
class Erased:
    """The device has acknowledged that it erases itself: its enrollment is over."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The device does not await its configuration any more."""


Change = DeviceFacts | ReplaceSection | UpdateSection | AskAgain | Erased | Configured


def version_key(text: str | None) -> tuple[int, ...] | None:
    """A version such as `11.3.1` as numbers that compare, without zeros at the end.

    None where the text does not begin with a version.
    """
    match = _VERSION.match(text or "")
    if match is None:
        return None
    numbers = [int(part) for part in match.group().split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


_VERSION = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,4}")
