"""This process's way to the push service: one event loop in a thread of its own, and on it the
transport of the push certificate in use, kept from one task to the next.

Made at the first push, and anew in every child that a worker forks: neither threads nor
connections survive a fork.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future

from mdm.push.transport import Outcome, Push, Transport


class Courier:
    """Threads may share it. `close` ends its loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="push courier", daemon=True
        )
        self._thread.start()
        self._lock = threading.Lock()
        self._name: Hashable = None
        self._transport: Transport | None = None

    def send(
        self, name: Hashable, make: Callable[[], Transport], pushes: Sequence[Push]
    ) -> list[Future[Outcome]]:
        """Start sending and return at once; each future ends in an Outcome or a PushError.

        `name` stands for what the transport was made with: another name hangs up the old
        transport and makes a new one. Raises what `make` raises.
        """
        transport = self._take(name, make)
        futures: list[Future[Outcome]] = [Future() for _ in pushes]
        self._loop.call_soon_threadsafe(_start, transport, pushes, futures)
        return futures

    def close(self) -> None:
        """Hang up and end the thread."""
        with self._lock:
            if self._transport is not None:
                asyncio.run_coroutine_threadsafe(self._transport.close(), self._loop).result()
                self._transport = None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _take(self, name: Hashable, make: Callable[[], Transport]) -> Transport:
        with self._lock:
            if self._transport is None or name != self._name:
                transport = make()
                if self._transport is not None:
                    asyncio.run_coroutine_threadsafe(self._transport.close(), self._loop)
                self._transport, self._name = transport, name
            return self._transport


def courier() -> Courier:
    """The one of this process."""
    global _courier
    with _making:
        if _courier is None:
            _courier = Courier()
        return _courier


_courier: Courier | None = None
_making = threading.Lock()


def _forget() -> None:
    global _courier, _making
    _courier, _making = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)

# The loop holds its tasks by weak references only.
_tasks: set[asyncio.Task[None]] = set()


def _start(
    transport: Transport, pushes: Sequence[Push], futures: Sequence[Future[Outcome]]
) -> None:
    for push, future in zip(pushes, futures, strict=True):
        task = asyncio.get_running_loop().create_task(_send(transport, push, future))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


async def _send(transport: Transport, push: Push, future: Future[Outcome]) -> None:
    try:
        future.set_result(await transport.send(push))
    except BaseException as error:
        future.set_exception(error)
        if not isinstance(error, Exception):
            raise
