"""Finds the ASN.1 in a downloaded or mailed file, whatever wraps it: mail, PEM, base64, nothing.

What the ASN.1 holds is for `abm.wire.server_token`. It looks for base64 instead of parsing mail:
a mail program may have added headers, parts, a signature or line breaks anywhere around it.
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterator
from itertools import islice

_MOST = 8
_LAYERS = 2
_SEQUENCE = 0x30

# Base64 of a SEQUENCE with a length of some size ("M"), or of a text that holds base64 in turn:
# "Content-", "MIME-V", "MIA" to "MII". Shorter runs are words.
_BASE64 = re.compile(
    r"^[ \t]*(?=M[A-P]|Q29udGVudC|TUlNRS1W|TUlB|TUlJ)(?=([A-Za-z0-9+/\s]{48,}={0,2}))",
    re.MULTILINE,
)
_QUOTED_PRINTABLE = re.compile(r"=(3D|\n)")


def asn1_candidates(data: bytes) -> Iterator[bytes]:
    """Bytes that begin as a SEQUENCE does, at most 8 of them, each perhaps with others behind."""
    return islice(_candidates(data, _LAYERS), _MOST)


def as_text(data: bytes) -> str:
    """The text with line feeds only; anything is some text."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    else:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _candidates(data: bytes, layers: int) -> Iterator[bytes]:
    if data[:1] == bytes((_SEQUENCE,)):
        yield data
    if not layers:
        return
    text = as_text(data)
    yield from _in_base64(text, layers)
    if _QUOTED_PRINTABLE.search(text):
        yield from _in_base64(quopri.decodestring(text.encode()).decode("latin-1"), layers)


def _in_base64(text: str, layers: int) -> Iterator[bytes]:
    for match in islice(_BASE64.finditer(text), _MOST):
        decoded = _decoded("".join(match[1].split()))
        if decoded[:1] == bytes((_SEQUENCE,)):
            yield decoded
        else:
            yield from _candidates(decoded, layers - 1)


def _decoded(base64: str) -> bytes:
    """What can be read of it: a file that was cut off may end within a group of four."""
    digits = base64.rstrip("=")
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return binascii.a2b_base64(digits + "=" * (-len(digits) % 4))
