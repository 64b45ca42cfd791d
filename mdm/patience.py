"""How long a client may keep a thread waiting: for the body of its request, or until it has taken
a long answer. `mdm/bodies.py` does the reading and the sending.

A thread that waits for a client cannot be told to stop; only the end of its connection frees it.
One watcher in each process looks after all that wait, and ends the connections of the late.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import structlog

from mdm import forwarded

log = structlog.get_logger(__name__)

# Of each web process (mdm/local/server.py, docker-compose.yml). Most of them are there to wait:
# what they do when a request has come is rationed by mdm/turns.py.
THREADS = 32

_LOOK_EVERY = 1.0
_LEAST = 5.0

# The address of a client and the port of ours that it came to.
Client = tuple[str, int]


class Wait:
    """Enter it to wait for a client, for `seconds` at most where most threads are free.

    `given_up` says that the connection was ended by us.
    """

    __slots__ = ("_environ", "given_up", "seconds", "since")

    def __init__(self, environ: Mapping[str, Any], seconds: float) -> None:
        self._environ = environ
        self.seconds = seconds
        self.given_up = False
        self.since = time.monotonic()

    def __enter__(self) -> Self:
        _waits.add(self)
        # Whoever comes while the connections of its address are being ended loses its own too.
        if _ending and self.client in _ending:
            self.given_up = True
        if _watcher is None:
            _start_watcher()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _waits.discard(self)

    @property
    def client(self) -> Client:
        return _plain(forwarded.peer(self._environ)), int(self._environ["SERVER_PORT"])

    def late(self, now: float, waiting: int) -> bool:
        """Whether to give up, `waiting` threads in all being kept waiting."""
        # The fewer threads are left for others, the less patience, down to five seconds.
        patience = max(min(_LEAST, self.seconds), self.seconds * (1 - waiting / THREADS))
        return now - self.since > patience


_waits: set[Wait] = set()
_ending: frozenset[Client | None] = frozenset()
_watcher: threading.Thread | None = None
_starting = threading.Lock()


def _start_watcher() -> None:
    global _watcher
    with _starting:
        if _watcher is None:
            _watcher = threading.Thread(target=_watch, name="patience", daemon=True)
            _watcher.start()


def _watch() -> None:
    while True:
        time.sleep(_LOOK_EVERY)
        if _waits:
            # The watch goes on, whatever happens: without it, threads are lost one by one.
            try:
                _give_up_on_the_late()
            except Exception:
                log.exception("watch_failed")


def _give_up_on_the_late() -> None:
    """End the connections of clients that are late.

    The server does not say which connection a request came on, so that all of an address end.
    Whoever shares it with somebody late loses at most a request, which every device repeats.
    """
    global _ending
    now, waits = time.monotonic(), list(_waits)
    _ending = frozenset(wait.client for wait in waits if wait.late(now, len(waits)))
    if not _ending:
        return
    try:
        for wait in list(_waits):
            wait.given_up |= wait.client in _ending
        for connection in _connections():
            with connection, suppress(OSError):
                if _client(connection) in _ending:
                    # What is sent still goes out, so that the client gets its answer.
                    connection.shutdown(socket.SHUT_RD)
    finally:
        _ending = frozenset()


def _connections() -> Iterator[socket.socket]:
    """Every socket of this process, as a copy: its number may be another's a moment later."""
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):
            copy = os.dup(int(name))
            try:
                connection = socket.socket(fileno=copy)
            except OSError:
                os.close(copy)
            else:
                yield connection


def _client(connection: socket.socket) -> Client | None:
    """Who is at the other end. Our own connections, as to Postgres, come from other ports."""
    here, there = connection.getsockname(), connection.getpeername()
    return (_plain(there[0]), here[1]) if isinstance(here, tuple) else None


def _plain(address: str) -> str:
    """`address` as it is written everywhere: IPv4 not as IPv6, and without the interface."""
    return address.removeprefix("::ffff:").partition("%")[0]
