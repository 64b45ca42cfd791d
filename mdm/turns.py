"""Turns: how many requests a web process works on at a time, and with which connection to Postgres.

A thread that waits for a client (mdm/bodies.py) has none, so there may be many threads and still
few connections. Whoever holds a turn never waits for a client.
"""

from __future__ import annotations

from collections import deque
from queue import SimpleQueue
from threading import Lock
from types import TracebackType

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

# More did not serve more requests per second (docs/performance.md).
TURNS = 4

# Whoever has waited longest comes next. A queue shared by all who wait would not do: a thread that
# is running takes from it what was meant for one that has yet to wake up.
_door = Lock()
_free: list[BaseDatabaseWrapper] = []
_waiting: deque[SimpleQueue[BaseDatabaseWrapper]] = deque()


class Turn:
    """Enter it to work on a request: until then others may come first.

    Inside, `django.db.connection` is the turn's. It connects when it is first used, and stays. A
    thread that has a connection of its own keeps that: so do tests, inside their transactions.
    """

    __slots__ = ("_connection",)

    def __enter__(self) -> None:
        self._connection: BaseDatabaseWrapper | None = None
        if not connections.all(initialized_only=True):
            self._connection = _take()
            connections[DEFAULT_DB_ALIAS] = self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            try:
                del connections[DEFAULT_DB_ALIAS]
            finally:
                _give(self._connection)


def load() -> tuple[int, int]:
    """How many turns of this process are taken now, and how many requests wait for one."""
    return TURNS - len(_free), len(_waiting)


def _take() -> BaseDatabaseWrapper:
    with _door:
        if _free:
            return _free.pop()
        mine: SimpleQueue[BaseDatabaseWrapper] = SimpleQueue()
        _waiting.append(mine)
    return mine.get()


def _give(connection: BaseDatabaseWrapper) -> None:
    with _door:
        if _waiting:
            _waiting.popleft().put(connection)
        else:
            _free.append(connection)


def _new() -> BaseDatabaseWrapper:
    connection = connections.create_connection(DEFAULT_DB_ALIAS)
    connection.inc_thread_sharing()
    return connection


for _ in range(TURNS):
    _free.append(_new())
