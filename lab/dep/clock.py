"""Apple's clock, which a test may move. Its times have whole seconds, as Apple's have."""

from __future__ import annotations

import datetime as dt
import time


class Clock:
    """`ahead` is how many seconds it runs before the machine's; an `at` that is given stands still
    until it is moved."""

    def __init__(self, at: dt.datetime | None = None) -> None:
        self._at = at.timestamp() if at else None
        self.ahead = 0.0

    def now(self) -> dt.datetime:
        moment = (time.time() if self._at is None else self._at) + self.ahead
        return dt.datetime.fromtimestamp(int(moment), dt.UTC)

    def move(self, seconds: float) -> None:
        self.ahead += seconds


def stamp(moment: dt.datetime) -> str:
    """As Apple writes a time."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
