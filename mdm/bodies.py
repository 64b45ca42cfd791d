"""Bodies of requests, read whole before anything is done, and of long answers, kept whole before
anything is sent: no client is waited for in between. Devices' requests (mdm/endpoints.py) and all
others (mdm/wsgi.py) pass here. How long a client is waited for, `mdm/patience.py` knows.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Protocol

from django.conf import settings

from mdm.patience import Wait
from mdm.refusals import Refused

# Results of commands and status reports can be large; nothing that anybody sends is larger.
MAX_BODY = 16 * 1024 * 1024

_PIECE = 64 * 1024
# What is longer lies in a file: threads that wait must not fill the memory.
_IN_MEMORY = 1024 * 1024
# Whoever takes an answer more slowly may be cut off.
_BYTES_A_SECOND = 100_000


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read(environ: Mapping[str, Any], limit: int = MAX_BODY) -> IO[bytes]:
    """The whole body of a request, `limit` bytes at most. Raises Refused."""
    declared = _declared_length(environ)
    if declared == 0:
        return io.BytesIO()
    if declared is not None and declared > limit:
        raise _too_large(limit)
    with Wait(environ, settings.ENV.body_seconds) as wait:
        body = _up_to(limit + 1 if declared is None else declared, environ["wsgi.input"])
    length = size(body)
    if length > limit:
        raise _too_large(limit)
    if wait.given_up and length != declared:
        raise Refused("body_too_slow", "The body did not come in time.", status=408)
    if declared is not None and length < declared:
        raise Refused("body_cut_short", "The body ended early.", status=400)
    return body


def size(body: IO[bytes]) -> int:
    """How long `body` is; it will be read from its beginning."""
    length = body.seek(0, os.SEEK_END)
    body.seek(0)
    return length


def keep(chunks: Iterable[bytes]) -> IO[bytes]:
    """All `chunks`, to be sent later."""
    body = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - whoever gets it closes it
    for chunk in chunks:
        body.write(chunk)
    return body


def send(body: IO[bytes], environ: Mapping[str, Any]) -> Iterable[bytes]:
    """What a WSGI application returns to answer with `body`."""
    length = size(body)
    if length <= _PIECE:
        with body:
            return [body.read()]
    return _pieces(body, Wait(environ, settings.ENV.body_seconds + length / _BYTES_A_SECOND))


def _pieces(body: IO[bytes], wait: Wait) -> Iterator[bytes]:
    with body, wait:
        while piece := body.read(_PIECE):
            yield piece


def _up_to(most: int, source: _Source) -> IO[bytes]:
    """The next `most` bytes of `source`, or all that there are."""
    piece = source.read(min(most, _PIECE))
    if len(piece) < _PIECE:
        return io.BytesIO(piece)
    body = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - whoever gets it closes it
    while piece:
        body.write(piece)
        piece = source.read(min(most - body.tell(), _PIECE))
    return body


def _declared_length(environ: Mapping[str, Any]) -> int | None:
    """None where only the end of the body shows how long it is. Raises Refused."""
    text = environ.get("CONTENT_LENGTH")
    if not text:
        return None if "HTTP_TRANSFER_ENCODING" in environ else 0
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refused("bad_length", "The Content-Length is no length.", status=400)
    return int(text)


def _too_large(limit: int) -> Refused:
    return Refused("body_too_large", f"The body is over {limit} bytes.", status=413)
