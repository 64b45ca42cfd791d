"""Faults that the push stand-in plays to order, for one token or for every push; what happens
without one is in `lab.apns.rules`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lab import faults


class FaultKind(StrEnum):
    """The value is the word for the command line: a status, or what happens to the connection."""

    BAD_TOKEN = "400"
    FORBIDDEN = "403"
    UNREGISTERED = "410"
    TOO_MANY_REQUESTS = "429"
    INTERNAL_ERROR = "500"
    UNAVAILABLE = "503"
    GOAWAY = "goaway"
    RESET = "reset"
    SILENCE = "silence"
    CLOSE = "close"
    SLOW = "slow"

    @classmethod
    def named(cls, word: str) -> FaultKind:
        """Raises UnknownFault, naming the words there are."""
        return faults.named(cls, "push", word)


@dataclass
class Fault:
    """`count` pushes are spoiled, every one when it is None. `token` (lowercase hex) limits it to
    one device. `timestamp` (milliseconds) goes with a 410, the present when None. `seconds` is
    how slow SLOW is. A 429 comes without a body, as it was seen from Apple, unless `body`."""

    kind: FaultKind
    count: int | None = 1
    token: str | None = None
    timestamp: int | None = None
    seconds: float = 1.0
    body: bool = False


class FaultBoard(faults.FaultBoard[Fault]):
    """Faults of the push stand-in."""

    def take_for(self, token: str) -> Fault | None:
        """The fault to play for a push to `token`, counted as used; None when there is none."""
        return self.take(lambda fault: fault.token in (None, token))
