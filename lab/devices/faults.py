"""What can be done to a simulated device from outside: states it is put into, and mistakes it
makes with its next commands."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from lab import faults


class DeviceFault(StrEnum):
    """The value is the word for the command line.

    LOCKED and UNLOCKED: the screen (on a Mac: asleep in Power Nap). OFF and ON: no network, no
    power. ERROR: the next commands fail. LOST_REPLY: it takes a command and is cut off before it
    answers. REPEAT: it sends an answer twice. NEW_TOKEN: its push token changes. REMOVE: its user
    removes the MDM profile. VANISH: it loses the profile without a CheckOut. LARGE: it reports
    hundreds of apps. RESET: its user erases it by hand. UNSIGNED and FOREIGN: it asks to enroll by
    ADE without a signature, or with one of a CA that nobody knows.
    """

    LOCKED = "locked"
    UNLOCKED = "unlocked"
    OFF = "off"
    ON = "on"
    ERROR = "error"
    LOST_REPLY = "lost-reply"
    REPEAT = "repeat"
    NEW_TOKEN = "new-token"
    REMOVE = "remove"
    VANISH = "vanish"
    LARGE = "large"
    RESET = "reset"
    UNSIGNED = "unsigned"
    FOREIGN = "foreign"

    @classmethod
    def named(cls, word: str) -> DeviceFault:
        """Raises UnknownFault, naming the words there are."""
        return faults.named(cls, "device", word)


COUNTED = frozenset(
    {
        DeviceFault.ERROR,
        DeviceFault.LOST_REPLY,
        DeviceFault.REPEAT,
        DeviceFault.UNSIGNED,
        DeviceFault.FOREIGN,
    }
)


class Mistakes:
    """The mistakes ordered and not yet made."""

    def __init__(self) -> None:
        self._left: Counter[DeviceFault] = Counter()

    def order(self, fault: DeviceFault, count: int) -> None:
        self._left[fault] += count

    def take(self, fault: DeviceFault) -> bool:
        """Whether to make this mistake now; counts it as made."""
        if self._left[fault] <= 0:
            return False
        self._left[fault] -= 1
        return True
