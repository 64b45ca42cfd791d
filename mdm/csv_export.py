"""Tables as CSV, streamed, so that 100,000 rows take no more memory than one; `mdm/tables.py`."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.core.cache import cache
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone
from redis import RedisError

from mdm import named_views
from mdm.audit.actor import Actor
from mdm.navigation import Work
from mdm.tables import Table

# A spreadsheet takes a cell that begins so for a formula, and devices choose their own names.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


# That many lines are sent at once.
PIECE = 500


class _Echo:
    def write(self, text: str) -> str:
        return text


def response(
    actor: Actor, table: Table, rows: QuerySet[Any], filename: str
) -> StreamingHttpResponse:
    """All `rows` with every column of `table`, as a file to download, which `actor` finds in the
    list of what goes on until all of it was sent.
    """
    answer = StreamingHttpResponse(
        _watched(actor, table, rows), content_type="text/csv; charset=utf-8"
    )
    answer["Content-Disposition"] = f'attachment; filename="{filename}"'
    answer["Cache-Control"] = "no-store"
    return answer


def harmless(value: object) -> str:
    """`value` as text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    text = str(value)
    return f"'{text}" if text.lstrip(" \u00a0").startswith(_FORMULA) else text


def lines(table: Table, rows: QuerySet[Any]) -> Iterator[str]:
    """The file in pieces of many lines."""
    writer = csv.writer(_Echo())
    yield writer.writerow([column.label for column in table.columns])
    piece = []
    for number, row in enumerate(rows.iterator(chunk_size=2_000), 1):
        piece.append(writer.writerow([harmless(column.value(row)) for column in table.columns]))
        if number % PIECE == 0:
            yield "".join(piece)
            piece.clear()
    yield "".join(piece)


def going_on(actor: Actor) -> Iterator[Work]:
    """The files that `actor` is being sent, for the list of what goes on."""
    found: dict[str, Any] = {}
    with suppress(RedisError):
        found = cache.get_many([_key(actor, slug) for slug in named_views.tables])
    for each in found.values():
        yield Work(
            what=f"Export of {each['many']}",
            url=each["url"],
            words=f"{each['done']:,} of {each['total']:,} rows",
            since=each["since"],
            done=each["done"],
            total=each["total"],
        )


def _watched(actor: Actor, table: Table, rows: QuerySet[Any]) -> Iterator[str]:
    total = rows.order_by().count()
    if total <= PIECE:
        yield from lines(table, rows)
        return
    key = _key(actor, table.slug)
    known = {
        "many": table.many,
        "url": table.export_url.rpartition("/")[0] + "/",
        "since": timezone.now(),
        "total": total,
    }
    told = True
    try:
        for number, piece in enumerate(lines(table, rows)):
            # Read by who waits for it; forgotten where this process ends.
            told = told and _tell(key, {**known, "done": min(total, number * PIECE)})
            yield piece
    finally:
        if told:
            _tell(key, None)


def _tell(key: str, known: dict[str, Any] | None) -> bool:
    """Keep how far a file has come, or that it was sent (None). False with Redis away, which keeps
    no file back.
    """
    try:
        if known is None:
            cache.delete(key)
        else:
            cache.set(key, known, timeout=60)
    except RedisError:
        return False
    return True


def _key(actor: Actor, slug: str) -> str:
    # Of who is sent the file: a token of theirs may see less than they do.
    return f"export-{actor.id}-{slug}"
