"""What tests do as SQL statements run: break off before one, look at plans, act in a thread, or
while a transaction of this one is open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from django.db import connection

T = TypeVar("T")


class Killed(BaseException):
    """As a process that is killed between two statements."""


@contextmanager
def killed_before(part: str, *, after: int) -> Iterator[None]:
    """Breaks off before the statement with this part that follows `after` others."""
    left = after

    def stop(execute, sql, params, many, context):
        nonlocal left
        if part in sql:
            if not left:
                raise Killed
            left -= 1
        return execute(sql, params, many, context)

    with connection.execute_wrapper(stop):
        yield


@contextmanager
def plans(part: str) -> Iterator[list[str]]:
    """The plan of each statement with this part, as Postgres made it when the statement ran."""
    found: list[str] = []

    def explain(execute, sql, params, many, context):
        if part in sql and not sql.startswith("EXPLAIN"):
            with connection.cursor() as cursor:
                cursor.execute("EXPLAIN " + sql, params)
                found.append("\n".join(row[0] for row in cursor.fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        yield found


def in_thread(act: Callable[[], object]) -> threading.Thread:
    """Start `act` with a connection of its own."""

    def run() -> None:
        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


class Meanwhile(Generic[T]):
    """`act`, begun in a thread of its own inside a transaction of this one: it is done by now, or
    `waits` for this one's locks.
    """

    def __init__(self, act: Callable[[], T]) -> None:
        self._said: list[T] = []
        self._thread = in_thread(lambda: self._said.append(act()))
        self.waits = False
        while self._thread.is_alive() and not self.waits:
            self.waits = _somebody_waits()

    def returned(self) -> T:
        """What it returns once it is done; an IndexError where it raised something."""
        self._thread.join()
        return self._said[0]


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted"
            " AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
        )
        return bool(cursor.fetchone()[0])
