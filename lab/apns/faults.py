"""Faults that the push stand-in plays to order, for one token or for every push; what happens
without one is in `lab.apns.rules`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from lab.errors import UnknownFault


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
        try:
            return cls(word.lower())
        except ValueError:
            words = ", ".join(cls)
            raise UnknownFault(f"No push fault is called {word!r}; there are {words}.") from None


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


class FaultBoard:
    """The faults ordered and not yet used up, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def order(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def take(self, token: str) -> Fault | None:
        """The fault to play for a push to `token`, counted as used; None when there is none."""
        for fault in self._faults:
            if fault.token in (None, token):
                self._use(fault)
                return fault
        return None

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._faults))

    def _use(self, fault: Fault) -> None:
        if fault.count is None:
            return
        fault.count -= 1
        if fault.count <= 0:
            self._faults.remove(fault)
