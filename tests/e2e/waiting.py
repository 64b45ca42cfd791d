"""Waiting for something that another process does, within a bound that only a failure meets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_LOOK_EVERY = 0.05


def until(look: Callable[[], T], *, within: float = 60.0, seen: Callable[[], object] = str) -> T:
    """The first true thing that `look` returns. Raises AssertionError after `within` seconds, with
    what `seen` then returns.
    """
    deadline = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within:.0f} s in vain; last seen: {seen() or found!r}")
        time.sleep(_LOOK_EVERY)
    return found
