"""A worker process of a test: `python -m tests.abm.worker SERVER STEP NUMBER` syncs a server, says
"here" when it comes to a step for the NUMBERth time, and goes on when it is sent a line. "none" is
never reached. In the end it says "ran" or "left".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import django

STEPS = ("ask", "asked", "_write_devices", "_mark_listed", "_write_ledger", "_tell", "_count")


def _say(word: str) -> None:
    print(word, flush=True)


def _stopping(number: int, call: Callable[..., Any], *, after: bool = False) -> Callable[..., Any]:
    calls = iter(range(1, 1_000_000))

    def stopped(*given: Any, **more: Any) -> Any:
        here = next(calls) == number
        if here and not after:
            _stop()
        answer = call(*given, **more)
        if here and after:
            _stop()
        return answer

    return stopped


def _stop() -> None:
    _say("here")
    sys.stdin.readline()


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mdm.settings")
    django.setup()

    from abm import store, sync
    from abm.client import Client
    from tests.abm.patience import PATIENT

    server, step, number = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if step in ("ask", "asked"):
        stopped = _stopping(number, Client._send, after=step == "asked")
        Client._send = lambda *given: stopped(*given)  # type: ignore[method-assign]
    elif step == "committed":
        store.write = _stopping(number, store.write, after=True)
    elif step in STEPS:
        setattr(store, step, _stopping(number, getattr(store, step)))
    elif step == "begin":
        _stop()
    _say("ran" if sync.sync(server, PATIENT) else "left")


if __name__ == "__main__":
    main()
