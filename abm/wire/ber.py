"""Rewrites BER as DER: Apple has sent token files in indefinite lengths, their content in pieces.

asn1crypto reads only some of those forms. `mdm.protocol.der` reads BER too, but rewrites nothing.
"""

from __future__ import annotations

from typing import NamedTuple

# Far more than an envelope has; they bound what a hostile file costs.
_NESTING = 24
_ELEMENTS = 20_000

_CONSTRUCTED = 0x20
_LONG_TAG = 0x1F
_OCTET_STRING = 0x04
_CONTEXT_0 = 0xA0


class BadBer(ValueError):
    """The bytes are not BER."""


class Incomplete(BadBer):
    """The bytes end before the element does."""


def to_der(data: bytes) -> bytes:
    """The first element of `data` with definite lengths and its octet strings in one piece.

    What follows the element is left out. Raises BadBer. Source: X.690.
    """
    element, _after = _Reader(data).element(0, len(data), 0)
    return _encoded(element)


class _Element(NamedTuple):
    tag: int
    body: bytes


class _Header(NamedTuple):
    """`end` is None where the length is indefinite."""

    tag: int
    content: int
    end: int | None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = _ELEMENTS

    def element(self, at: int, limit: int, depth: int) -> tuple[_Element, int]:
        """The element at `at`, rewritten, and where the next one begins."""
        self._left -= 1
        if depth > _NESTING or self._left < 0:
            raise BadBer("nested too deep or too many elements")
        header = self._header(at, limit)
        if header.tag & _CONSTRUCTED:
            parts, after = self._parts(header, limit, depth + 1)
            return _joined(header.tag, parts), after
        if header.end is None:
            raise BadBer("a primitive element of indefinite length")
        return _Element(header.tag, self._data[header.content : header.end]), header.end

    def _parts(self, header: _Header, limit: int, depth: int) -> tuple[list[_Element], int]:
        parts: list[_Element] = []
        at = header.content
        while at != header.end:
            if header.end is None and self._data[at : min(at + 2, limit)] == b"\0\0":
                return parts, at + 2
            part, at = self.element(at, limit if header.end is None else header.end, depth)
            parts.append(part)
        return parts, at

    def _header(self, at: int, limit: int) -> _Header:
        if at + 2 > limit:
            raise Incomplete("the data end in a header")
        tag, length, content = self._data[at], self._data[at + 1], at + 2
        if tag & _LONG_TAG == _LONG_TAG:
            raise BadBer("a tag that no envelope has")
        if length == 0x80:
            return _Header(tag, content, None)
        if length > 0x80:
            content += length & 0x7F
            if length > 0x84:
                raise BadBer("a length of more than four bytes")
            length = int.from_bytes(self._data[at + 2 : content], "big")
        if content + length > limit:
            raise Incomplete("the data end in an element")
        return _Header(tag, content, content + length)


def _joined(tag: int, parts: list[_Element]) -> _Element:
    in_pieces = bool(parts) and all(part.tag == _OCTET_STRING for part in parts)
    if tag == _OCTET_STRING | _CONSTRUCTED and parts and not in_pieces:
        raise BadBer("an octet string of other things")
    # In CMS, nothing but an octet string in pieces has octet strings only under a [0].
    if tag == _OCTET_STRING | _CONSTRUCTED or (tag == _CONTEXT_0 and in_pieces):
        return _Element(tag & ~_CONSTRUCTED, b"".join(part.body for part in parts))
    return _Element(tag, b"".join(map(_encoded, parts)))


def _encoded(element: _Element) -> bytes:
    length = len(element.body)
    if length < 0x80:
        return bytes((element.tag, length)) + element.body
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((element.tag, 0x80 | len(size))) + size + element.body
