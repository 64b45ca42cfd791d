"""Cursors: where in its list or its feed an MDM server stands. One is good for seven days, says
nothing to whoever holds it, and no two are the same."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from dataclasses import dataclass
from enum import StrEnum

from lab.errors import CursorRefused

LIFETIME = dt.timedelta(days=7)


class Kind(StrEnum):
    LIST = "l"
    """More of the list follows."""

    FEED = "f"
    """The list was read to its end; changes follow."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """`place` is how much of the list, or of the feed, was read; `began` where the feed stood when
    the list was begun; `made` is in Unix seconds."""

    kind: Kind
    server: str
    place: int
    began: int
    made: int


class Cursors:
    """Writes cursors and reads them back; `key` makes others' cursors invalid, and counting goes on
    from `written`."""

    def __init__(self, key: bytes, written: int = 0) -> None:
        self._key = key
        self._written = written

    def write(self, cursor: Cursor) -> str:
        self._written += 1
        content = json.dumps(
            [cursor.kind, cursor.server, cursor.place, cursor.began, cursor.made, self._written]
        )
        packed = base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")
        return f"{packed}.{self._mark(packed)}"

    def read(self, text: str, server: str, now: dt.datetime) -> Cursor:
        """Raises CursorRefused, whose message is Apple's word."""
        packed, _, mark = text.partition(".")
        if not hmac.compare_digest(mark.encode(), self._mark(packed).encode()):
            raise CursorRefused("INVALID_CURSOR")
        content = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
        found = Cursor(Kind(content[0]), *content[1:5])
        if found.server != server:
            raise CursorRefused("INVALID_CURSOR")
        if now.timestamp() - found.made > LIFETIME.total_seconds():
            raise CursorRefused("EXPIRED_CURSOR")
        return found

    def _mark(self, packed: str) -> str:
        return hmac.new(self._key, packed.encode(), hashlib.sha256).hexdigest()[:16]
