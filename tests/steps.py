"""What tests do as SQL statements run: break off before one, look at plans, act in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection


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
