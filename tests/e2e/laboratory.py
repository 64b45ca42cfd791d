"""The lab on a loop in a thread, beside a server that runs as processes of its own; tests order
things of it through its control socket, as everybody does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import rsa

from lab.control import ask
from lab.devices.channel import Pace
from lab.http import Webs
from lab.place import Place
from lab.process import Lab, running_lab

T = TypeVar("T")
KeySource = Callable[[int], Awaitable[rsa.RSAPrivateKey]]

# Nothing waits for a person, and what was not taken is sent again soon.
PACE = Pace(retry_first=0.1, retry_most=1.0, unlock_after=None, restart=0.1, attempts=100)


class Laboratory:
    """`apns_url`, `apns_ca` and `dep_url` are what the server needs to know of it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lab", daemon=True)
        self._thread.start()
        self._running: AbstractAsyncContextManager[Lab] = running_lab(place, pace=PACE)
        self._lab = self._wait(self._running.__aenter__())
        self.apns_url = self._lab.apns_url
        self.dep_url = self._lab.dep_url
        self.apns_ca = self._lab.authority.root.certificate

    def order(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Raises LabError."""
        return ask(self.place.socket, do, **arguments)

    def device(self, serial: str) -> dict[str, Any]:
        """What the lab says of one of its devices."""
        (row,) = (row for row in self.order("status")["devices"] if row["serial"] == serial)
        return dict(row)

    def run(self, call: Callable[[Lab], T]) -> T:
        """Do something that no order stands for, on the lab's loop."""

        async def work() -> T:
            return call(self._lab)

        return self._wait(work())

    @contextmanager
    def surrounded_by(self, *, webs: Webs, key: KeySource) -> Iterator[None]:
        """Let devices speak over `webs` and get their keys from `key` for the length of a block."""
        usual = self.run(lambda lab: replace(lab.surroundings))
        self._surround(webs, key)
        try:
            yield
        finally:
            self._surround(usual.webs, usual.key)
            self._wait(webs.close())

    def stop(self) -> None:
        self._wait(self._running.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _surround(self, webs: Webs, key: KeySource) -> None:
        def change(lab: Lab) -> None:
            lab.surroundings.webs, lab.surroundings.key = webs, key

        self.run(change)

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)
