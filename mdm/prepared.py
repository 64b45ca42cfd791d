"""Runs the statements of the device path: prepared once per connection, and sent by libpq itself.

What they say is `statements.py` and `commands/connect.py`; everything else goes through the ORM.
Between a statement and libpq, Django and psycopg spend several times what libpq does, and that at
every request of every device (docs/performance.md).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any, NamedTuple, cast
from weakref import WeakKeyDictionary

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg import pq


class Rows(NamedTuple):
    """What a statement returned: the names of its columns, and its rows."""

    names: list[str]
    values: list[tuple[Any, ...]]


def run(statement: str, parameters: Mapping[str, Any]) -> Rows:
    """Run one statement; %(name)s stands for a parameter, of which there may be more than it uses.

    Raises Django's database errors. Django's own cursor runs it inside a transaction, since that
    one knows when to begin, and where somebody looks at what it runs.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    watched = connection.queries_logged or connection.execute_wrappers
    if watched or connection.in_atomic_block or not connection.get_autocommit():
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return Rows([column.name for column in cursor.description], cursor.fetchall())
    with connection.wrap_database_errors:
        try:
            return _execute(connection.connection, statement, parameters)
        except psycopg.errors.InvalidSqlStatementName:
            # psycopg deallocates everything after a ROLLBACK, ours too.
            del _prepared[connection.connection]
            return _execute(connection.connection, statement, parameters)


@dataclass(slots=True)
class _Prepared:
    """A statement as one connection knows it; `load` and `names` are its columns, once seen."""

    name: bytes
    load: list[Callable[[bytes], Any]] | None = None
    names: list[str] | None = None


_numbers = count()
_Signature = tuple[bytes, tuple[int, ...]]
_prepared: WeakKeyDictionary[psycopg.Connection[Any], dict[_Signature, _Prepared]] = (
    WeakKeyDictionary()
)


def _execute(
    connection: psycopg.Connection[Any], statement: str, parameters: Mapping[str, Any]
) -> Rows:
    sql, names = _numbered(statement)
    dumped = [_dump(parameters[name]) for name in names]
    prepared = _prepare(connection, (sql, tuple([oid for oid, _, _ in dumped])))
    result = connection.pgconn.exec_prepared(
        prepared.name,
        cast("list[bytes]", [value for _, value, _ in dumped]),  # None is NULL
        [form for _, _, form in dumped],
        pq.Format.BINARY,
    )
    _check(connection, result)
    return _read(prepared, result)


def _prepare(connection: psycopg.Connection[Any], signature: _Signature) -> _Prepared:
    held = _prepared.get(connection)
    if held is None:
        held = _prepared[connection] = {}
    prepared = held.get(signature)
    if prepared is None:
        prepared = _Prepared(b"guard_%d" % next(_numbers))
        _check(connection, connection.pgconn.prepare(prepared.name, *signature))
        held[signature] = prepared
    return prepared


def _check(connection: psycopg.Connection[Any], result: pq.abc.PGresult) -> None:
    if result.status in _WENT_WELL:
        return
    if connection.pgconn.status == pq.ConnStatus.BAD:
        raise psycopg.OperationalError(result.get_error_message())
    raise psycopg.errors.error_from_result(result)


_WENT_WELL = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


@cache
def _numbered(statement: str) -> tuple[bytes, list[str]]:
    """The statement with $1 for the first of the returned names, and so on."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    return re.sub(r"%\((\w+)\)s", number, statement).encode(), names


# --- Values ---------------------------------------------------------------------------------------
#
# What may hold a zero byte goes out in binary form: libpq would end a text there, Postgres refuses
# it. What comes back is binary throughout. Numbers are the types' OIDs (pg_type.dat).

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def _integer(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


_DUMPERS: dict[type, tuple[int, Callable[[Any], bytes], pq.Format]] = {
    bytes: (17, bytes, pq.Format.BINARY),
    str: (25, str.encode, pq.Format.BINARY),
    bool: (16, lambda value: b"t" if value else b"f", pq.Format.TEXT),
    int: (20, lambda value: b"%d" % value, pq.Format.TEXT),
    datetime: (1184, lambda value: value.isoformat().encode(), pq.Format.TEXT),
    uuid.UUID: (2950, lambda value: value.hex.encode(), pq.Format.TEXT),
}
_LOADERS: dict[int, Callable[[bytes], Any]] = {
    16: lambda data: data != b"\0",
    17: bytes,
    20: _integer,
    21: _integer,
    23: _integer,
    25: bytes.decode,
    1043: bytes.decode,
    1184: lambda data: _EPOCH + timedelta(microseconds=_integer(data)),
}


def _dump(value: object) -> tuple[int, bytes | None, pq.Format]:
    if value is None:
        return 0, None, pq.Format.TEXT
    kind = type(value)
    if kind not in _DUMPERS:
        if not isinstance(value, str):  # a word of a TextChoices
            raise TypeError(f"a statement of the device path takes no {kind.__name__}")
        kind = str
    oid, dump, form = _DUMPERS[kind]
    return oid, dump(value), form


def _read(prepared: _Prepared, result: pq.abc.PGresult) -> Rows:
    columns = range(result.nfields)
    if prepared.load is None or prepared.names is None:
        prepared.load = [_LOADERS[result.ftype(column)] for column in columns]
        prepared.names = [(result.fname(column) or b"").decode() for column in columns]
    rows = []
    for row in range(result.ntuples):
        held = [result.get_value(row, column) for column in columns]
        rows.append(
            tuple(
                [
                    None if data is None else load(data)
                    for load, data in zip(prepared.load, held, strict=True)
                ]
            )
        )
    return Rows(prepared.names, rows)
