"""A simulated Apple TV: no passcode, nothing to lock, no channel for a user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.devices.channel import Channel
from lab.devices.commands import Handler
from lab.devices.mobile import Mobile

_WITHOUT = frozenset({"DeviceLock", "ClearPasscode"})


class AppleTV(Mobile):
    def token_update_message(self, channel: Channel) -> dict[str, Any]:
        message = super().token_update_message(channel)
        del message["UnlockToken"]
        return message

    def commands(self, channel: str) -> Mapping[str, Handler]:
        known = super().commands(channel)
        return {name: handler for name, handler in known.items() if name not in _WITHOUT}
