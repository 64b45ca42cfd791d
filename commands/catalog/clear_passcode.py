"""ClearPasscode: removes the passcode with the unlock token that the device gave at enrollment."""

from __future__ import annotations

from collections.abc import Mapping

from commands.catalog.base import CommandType
from commands.catalog.errors import MissingUnlockToken
from commands.catalog.types import (
    NO_EXTRAS,
    UNKNOWN,
    AccessRight,
    AskAgain,
    Change,
    Extras,
    Facts,
    Platform,
    Priority,
    Support,
)

_RIGHT = AccessRight.ALLOW_PASSCODE_REMOVAL_AND_LOCK


class ClearPasscode(CommandType):
    """`mdm/commands/passcode.clear.yaml` of Apple's device-management schema."""

    request_type = "ClearPasscode"
    purpose = "Remove the passcode, so that whoever holds the device can open it."
    support = {
        Platform.IOS: Support(min_version="4.0", access=_RIGHT),
        Platform.VISIONOS: Support(min_version="1.1", access=_RIGHT),
        Platform.WATCHOS: Support(min_version="10.0", access=_RIGHT),
    }
    priority = Priority.LOCK
    sealed = True
    needs_unlock_token = True
    secret_keys = frozenset({"UnlockToken"})
    never_not_now = frozenset({Platform.IOS})

    def build(
        self,
        params: Mapping[str, object],
        facts: Facts = UNKNOWN,
        extras: Extras = NO_EXTRAS,
    ) -> dict[str, object]:
        if extras.unlock_token is None:
            raise MissingUnlockToken("This device has given no unlock token.")
        return {"RequestType": self.request_type, "UnlockToken": extras.unlock_token}

    def _why_not(self, facts: Facts) -> str | None:
        if facts.has_unlock_token is False:
            return "This device has given no unlock token, without which its passcode stays."
        return None

    def _changes(
        self, content: Mapping[str, object], command: Mapping[str, object]
    ) -> list[Change]:
        return [AskAgain("SecurityInfo")]
