"""Property lists for the tests beside it: ordinary ones, and bombs built by hand."""

from __future__ import annotations

import datetime
import plistlib
import struct

from hypothesis import strategies as st

PROLOG = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" '
    b'"http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n'
)
DOCUMENT = PROLOG + b'<plist version="1.0">\n'


def document(content: bytes) -> bytes:
    return DOCUMENT + content + b"\n</plist>\n"


def under_a_key(content: bytes) -> bytes:
    return document(b"<dict><key>a</key>" + content + b"</dict>")


def binary(objects: list[bytes], top: int = 0) -> bytes:
    """A binary property list of these encoded objects, which name each other by one byte."""
    body, offsets = b"bplist00", []
    for encoded in objects:
        offsets.append(len(body))
        body += encoded
    table = b"".join(struct.pack(">H", offset) for offset in offsets)
    return body + table + struct.pack(">6xBBQQQ", 2, 1, len(objects), top, len(body))


def binary_of(encoded: bytes) -> bytes:
    """A binary property list `{"a": encoded}`."""
    return binary([b"\xd1\x01\x02", b"\x51a", encoded])


def alias_bomb() -> bytes:
    """Eleven lists, each naming the next sixteen times: 2**44 values in a few hundred bytes."""
    lists = [b"\xaf\x10\x10" + bytes([number + 1]) * 16 for number in range(2, 13)]
    return binary([b"\xd1\x01\x02", b"\x51a", *lists, b"\x51z"])


def text_alias_bomb() -> bytes:
    """A thousand names for one text of a hundred kilobytes."""
    text = b"\x5f\x12" + struct.pack(">I", 50_000) + b"z" * 50_000
    return binary([b"\xd1\x01\x02", b"\x51a", b"\xaf\x11\x04\x00" + b"\x03" * 1024, text])


_texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=12
)
_moments = st.datetimes(
    datetime.datetime(1, 1, 1),  # noqa: DTZ001
    datetime.datetime(9999, 12, 31),  # noqa: DTZ001
).map(lambda moment: moment.replace(microsecond=0))
_scalars = st.one_of(
    _texts,
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.binary(max_size=20),
    st.floats(allow_nan=False),
    _moments,
)
values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_texts, inner, max_size=5),
    max_leaves=25,
)
dictionaries = st.dictionaries(_texts, values, max_size=6)
uids = st.integers(0, 2**32 - 1).map(plistlib.UID)


@st.composite
def damaged(draw: st.DrawFn, bodies: list[bytes]) -> bytes:
    """One of the bodies with a few bytes changed, cut out or put in."""
    body = bytearray(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, 2**16)) % (len(body) + 1)
        inserted = draw(st.binary(max_size=8))
        body[at : at + draw(st.integers(0, 30))] = inserted
    return bytes(body)
