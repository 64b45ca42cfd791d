"""Who speaks: the ids that every device message carries; whether to believe them is elsewhere.

`mdm.identity` decides which certificate may speak for which enrollment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mdm.protocol.errors import BadMessage

Kind = Literal["device", "user_enrollment"]
Channel = Literal["device", "user", "shared_ipad_user"]

ID_LENGTH = 255
SHARED_IPAD_USER_ID = "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"

# A colon separates device and user in the key: an id with a colon could pose as another's user.
_DEVICE_ID = re.compile(r"[!-9;-~]{1,255}", re.ASCII)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class EnrollmentID:
    """The enrollment and channel a message belongs to, as the device says.

    `device_id` is the UDID, or the EnrollmentID of a User Enrollment, as sent. `user_id` is the
    UserID or EnrollmentUserID on a user channel. Source: mdm/checkin/*.yaml and Apple's "Identify
    the enrollment type".
    """

    device_id: str
    kind: Kind = "device"
    channel: Channel = "device"
    user_id: str | None = None
    user_short_name: str | None = None
    user_long_name: str | None = None

    @classmethod
    def from_message(cls, message: Mapping[str, object]) -> "EnrollmentID":
        """The id in a parsed message; raises BadMessage where it is missing or unusable."""
        kind: Kind = "device" if "UDID" in message else "user_enrollment"
        device_id = message.get("UDID" if kind == "device" else "EnrollmentID")
        if not isinstance(device_id, str) or _DEVICE_ID.fullmatch(device_id) is None:
            raise BadMessage("device-id", "The message has no usable UDID or EnrollmentID.")
        user_id = _identifier(message, "UserID")
        if user_id is None:
            user_id = _identifier(message, "EnrollmentUserID")
        short_name = _name(message, "UserShortName")
        channel: Channel = "device" if user_id is None else "user"
        if user_id is not None and user_id.upper() == SHARED_IPAD_USER_ID:
            channel = "shared_ipad_user"
            if short_name is None:
                raise BadMessage("user-short-name", "A Shared iPad message names no user.")
        return cls(device_id, kind, channel, user_id, short_name, _name(message, "UserLongName"))

    @property
    def device_key(self) -> str:
        """The key of the device channel: one for all spellings of the id's case."""
        return self.device_id.lower()

    @property
    def key(self) -> str:
        """The key of this enrollment and channel, at most 511 characters long."""
        user = self.user_short_name if self.channel == "shared_ipad_user" else self.user_id
        return (
            self.device_key
            if user is None or self.channel == "device"
            else (f"{self.device_key}:{user.lower()}")
        )


def _identifier(message: Mapping[str, object], field: str) -> str | None:
    value = message.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or not value or not _fits(value):
        raise BadMessage("user-id", f"{field} is not a usable id.")
    return value


def _name(message: Mapping[str, object], field: str) -> str | None:
    value = message.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _fits(value):
        raise BadMessage("user-name", f"{field} is not a usable name.")
    return value


def _fits(value: str) -> bool:
    # Lower case may be longer than what was sent, and the key is made of it.
    return len(value.lower()) <= ID_LENGTH and _UNPRINTABLE.search(value) is None
