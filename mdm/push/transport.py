"""What a way to Apple's push service looks like from outside; `apns.py` is the one there is.

PushError
├── Unreachable     no connection, or one that no longer answers: nothing can be sent now
├── Interrupted     the connection or the stream ended before an answer
└── NoAnswer        this push was not answered in time, though others were
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class PushError(Exception):
    """No word from Apple about a push: it may or may not have been accepted."""


class Unreachable(PushError):
    """No push can be sent for now; the message says why."""


class Interrupted(PushError):
    """The push got no answer. `again` says that sending it once more at once is worth while."""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


class NoAnswer(PushError):
    """The deadline passed."""


@dataclass(frozen=True, slots=True)
class Push:
    """One wake-up. `token_hex` is the device's token in hex, `expiration` in Unix seconds: until
    then Apple keeps the push for a device that is away."""

    token_hex: str
    magic: str
    topic: str
    expiration: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Apple's answer: the HTTP status, and for anything but 200 the reason.

    `timestamp` comes with a 410: when the token ceased to be valid, in milliseconds since 1970.
    """

    status: int
    reason: str = ""
    timestamp: int | None = None


class Transport(Protocol):
    """Sends pushes, any number at once. Made for one push certificate and used on one loop."""

    async def send(self, push: Push) -> Outcome:
        """Apple's answer, in bounded time. Raises PushError."""
        ...

    async def close(self) -> None:
        """Let what is in flight end, and hang up."""
        ...
