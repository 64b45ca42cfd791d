"""A process of its own that ends the supervisor's children should the supervisor be killed; see
`processes.py`. It reads "hold <pid> <signal> <round>" and "free <pid>", and acts when its input
ends: those that were started side by side, in one round, are ended side by side.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

_GRACE = 5.0


def main() -> None:
    """Read until the supervisor says "done", or is gone: then end its children, round by round."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    held: dict[int, tuple[int, int]] = {}
    for line in sys.stdin:
        match line.split():
            case ["done"]:
                return
            case ["hold", group, number, started_in]:
                held[int(group)] = int(number), int(started_in)
            case ["free", group]:
                held.pop(int(group), None)
    for last in sorted({started_in for _, started_in in held.values()}, reverse=True):
        _end({group: number for group, (number, started_in) in held.items() if started_in == last})


def _end(signals: dict[int, int]) -> None:
    for group, number in signals.items():
        with suppress(ProcessLookupError):
            os.kill(group, number)
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline and any(map(_lives, signals)):
        time.sleep(0.02)
    for group in signals:
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
