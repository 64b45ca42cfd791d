"""What every board of ordered faults has in common; which faults there are is said where they
happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from lab.errors import UnknownFault

Word = TypeVar("Word", bound=StrEnum)


class Counted(Protocol):
    """A fault that happens `count` times, or always when that is None."""

    count: int | None


Ordered = TypeVar("Ordered", bound=Counted)


class FaultBoard(Generic[Ordered]):
    """The faults ordered and not yet used up, oldest first."""

    def __init__(self) -> None:
        self._faults: list[Ordered] = []

    def order(self, fault: Ordered) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def take(self, fits: Callable[[Ordered], bool]) -> Ordered | None:
        """The first fault that fits, counted as used; None when there is none."""
        found = next(filter(fits, self._faults), None)
        if found is not None and found.count is not None:
            found.count -= 1
            if found.count <= 0:
                self._faults.remove(found)
        return found

    def __iter__(self) -> Iterator[Ordered]:
        return iter(tuple(self._faults))


def named(words: type[Word], whose: str, said: str) -> Word:
    """The fault of this word. Raises UnknownFault, naming the words there are."""
    try:
        return words(said.lower())
    except ValueError:
        there = ", ".join(words)
        raise UnknownFault(f"No {whose} fault is called {said!r}; there are {there}.") from None
