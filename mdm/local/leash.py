"""A process of its own that ends the supervisor's children should the supervisor be killed; see
`processes.py`. It reads "hold <pid> <signal>" and "free <pid>", and acts when its input ends.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

_GRACE = 5.0


def main() -> None:
    """Read until the supervisor says "done", or is gone: then end its children, last one first."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    held: dict[int, int] = {}
    for line in sys.stdin:
        match line.split():
            case ["done"]:
                return
            case ["hold", group, number]:
                held[int(group)] = int(number)
            case ["free", group]:
                held.pop(int(group), None)
    for group, number in reversed(held.items()):
        _end(group, number)


def _end(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(group, number)
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline and _lives(group):
        time.sleep(0.02)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
