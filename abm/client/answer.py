"""What came back from Apple, and which error it is; `client.py` asks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from abm.client.errors import (
    AbmError,
    AccessDenied,
    CursorError,
    CursorExhausted,
    CursorExpired,
    CursorInvalid,
    Refused,
    TermsNotSigned,
    Throttled,
    TokenExpired,
    TokenInvalid,
    Unavailable,
)
from abm.wire.records import clean_text

SESSION = "X-ADM-Auth-Session"
MAX_ANSWER = 64 * 1024 * 1024


class SessionOver(AbmError):
    """The session has to be opened anew; the client does so itself."""


class Answer:
    """An answer read whole; `json` is read when it is asked for."""

    def __init__(self, response: httpx.Response, body: bytes) -> None:
        self.status = response.status_code
        self.session = response.headers.get(SESSION, "")
        self.retry_after = _retry_after(response.headers.get("Retry-After", ""))
        self.date = _date(response.headers.get("Date", ""))
        self.body = body

    @property
    def said(self) -> str:
        """Apple's plain words, which sometimes come as a JSON string."""
        return clean_text(self.body[:300].decode("utf-8", "replace")).strip().strip('"')

    @property
    def json(self) -> Any:
        if not self.body:
            return {}
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Unavailable("Apple's answer is no JSON.") from error

    @property
    def object(self) -> dict[str, Any]:
        read = self.json
        if not isinstance(read, dict):
            raise Unavailable("Apple's answer is no JSON object.")
        return read


def session_error(answer: Answer) -> AbmError:
    """Why no session was opened: here a 401 speaks of the token."""
    if answer.status == 401:
        words = answer.said.lower()
        kind = TokenExpired if "expired" in words and "token" in words else TokenInvalid
        return kind(answer.said)
    error = error_of(answer)
    return TokenInvalid(error.said) if isinstance(error, SessionOver) else error


def error_of(answer: Answer) -> AbmError:
    """What an answer of 400 and above means."""
    said, words = answer.said, answer.said.upper()
    if answer.status == 429:
        return Throttled(said or "Too many requests.", retry_after=answer.retry_after)
    if answer.status >= 500:
        return Unavailable(
            f"Apple answered {answer.status}{': ' if said else '.'}{said[:120]}",
            retry_after=answer.retry_after,
        )
    if "T_C_NOT_SIGNED" in words:
        return TermsNotSigned(said)
    for code, kind in _CURSORS.items():
        if code in words:
            return kind(said)
    if "ACCESS_DENIED" in words:
        return AccessDenied(said)
    if answer.status == 401 or (answer.status == 403 and "FORBIDDEN" in words):
        return SessionOver(said)
    return Refused(said or f"Apple answered {answer.status}.", answer.status)


_CURSORS: dict[str, type[CursorError]] = {
    "EXPIRED_CURSOR": CursorExpired,
    "INVALID_CURSOR": CursorInvalid,
    "EXHAUSTED_CURSOR": CursorExhausted,
    "CURSOR_REQUIRED": CursorInvalid,
}


def bounded(response: httpx.Response, over: float) -> Iterator[bytes]:
    """The body, up to 64 MB and until `over` (monotonic). Raises Unavailable."""
    size = 0
    for chunk in response.iter_bytes():
        size += len(chunk)
        if size > MAX_ANSWER:
            raise Unavailable("Apple's answer is too large to be one.")
        if time.monotonic() > over:
            raise Unavailable("Apple's answer does not come to an end.")
        yield chunk


def _retry_after(value: str) -> float | None:
    """Seconds, from either form of the header."""
    if value.strip().isdecimal():
        return float(min(int(value), 7 * 86_400))
    moment = _date(value)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment else None


def _date(value: str) -> datetime | None:
    try:
        read = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
