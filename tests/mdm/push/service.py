"""The lab's push service on a loop in a thread, for tests that are not coroutines."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from lab.apns import ApnsStandIn, Fault, FaultKind
from lab.apns.postbox import Push
from lab.authority import Authority

T = TypeVar("T")


class Service:
    """Everything that touches the stand-in happens on its loop."""

    def __init__(self, apple: Authority) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.stand_in = ApnsStandIn(apple)
        self.port = self.wait(self.stand_in.start())
        self.url = f"https://127.0.0.1:{self.port}"

    @property
    def counts(self) -> Counter[str]:
        return self.run(lambda: Counter(self.stand_in.counts))

    def held(self, token: str) -> Push | None:
        return self.run(lambda: self.stand_in.postbox.held(token))

    def fault(self, kind: FaultKind, **fields: Any) -> None:
        self.run(lambda: self.stand_in.faults.order(Fault(kind, **fields)))

    def clear_faults(self) -> None:
        self.run(self.stand_in.faults.clear)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    def run(self, call: Callable[[], T]) -> T:
        async def work() -> T:
            return call()

        return self.wait(work())

    def hang_up(self) -> None:
        """Stop listening; another `listen` takes the same port again."""
        self.wait(self.stand_in.stop())

    def listen(self) -> None:
        self.wait(self.stand_in.start(self.port))

    def stop(self) -> None:
        self.hang_up()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
