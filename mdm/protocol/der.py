"""A reader for the few ASN.1 structures in a CMS signature and a certificate.

It never copies and never recurses deeper than its limit. Signatures are judged in
`mdm.protocol.signature`.
"""

from typing import NamedTuple

SEQUENCE = 0x30
SET = 0x31
BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
CONTEXT_0 = 0xA0
CONTEXT_1 = 0xA1
CONTEXT_3 = 0xA3

# Deeper than any certificate or signature, far below the interpreter's own limit.
_NESTING = 24


# A third of what calling the class costs, and a signature has some fifty elements.
_new = tuple.__new__


class BadDer(ValueError):
    """The bytes are not the ASN.1 that was asked for."""


class Element(NamedTuple):
    """One element: its tag byte and where it lies.

    `start` is its header, `content` and `end` bound what it holds, `after` is where the next
    element begins: past the end marker where the length is indefinite.
    """

    tag: int
    start: int
    content: int
    end: int
    after: int


def read(data: bytes, at: int, limit: int, nesting: int = _NESTING) -> Element:
    """The element whose header is at `at`, wholly before `limit`; raises BadDer.

    Lengths may be indefinite where the tag is constructed (BER, which Apple's encoder emits).
    Source: X.690.
    """
    if at + 2 > limit:
        raise BadDer("truncated")
    tag, length, content = data[at], data[at + 1], at + 2
    if length > 0x7F:
        if length == 0x80:
            end = _end_marker(data, tag, content, limit, nesting)
            return Element(tag, at, content, end, end + 2)
        content += length & 0x7F
        if content > at + 6 or content > limit:
            raise BadDer("length")
        length = int.from_bytes(data[at + 2 : content], "big")
    end = content + length
    if end > limit or tag & 0x1F == 0x1F:
        raise BadDer("truncated or long tag")
    return _new(Element, (tag, at, content, end, end))


def only(data: bytes, tag: int) -> Element:
    """The one element that fills the data, which must have this tag and a definite length."""
    element = read(data, 0, len(data))
    if element.tag != tag or element.after != len(data) or element.end != element.after:
        raise BadDer("not one element")
    return element


def children(data: bytes, parent: Element, most: int = 64) -> list[Element]:
    """The elements inside a constructed one, at most `most` of them."""
    found: list[Element] = []
    at, limit = parent.content, parent.end
    while at < limit:
        if len(found) == most:
            raise BadDer("too many elements")
        element = read(data, at, limit)
        found.append(element)
        at = element.after
    return found


def exactly(data: bytes, parent: Element, tag: int, count: int) -> list[Element]:
    """The elements inside one of this tag, which must be so many."""
    found = at_least(data, parent, tag, count)
    if len(found) != count:
        raise BadDer("too many elements")
    return found


def at_least(data: bytes, parent: Element, tag: int, count: int) -> list[Element]:
    """The elements inside one of this tag, which must be so many or more."""
    if parent.tag != tag:
        raise BadDer("tag")
    found = children(data, parent)
    if len(found) < count:
        raise BadDer("too few elements")
    return found


def require(tags: tuple[int, ...], *elements: Element) -> None:
    """Raises BadDer unless the elements have these tags."""
    if tags != tuple([element.tag for element in elements]):
        raise BadDer("tag")


def content(data: bytes, element: Element, tag: int) -> bytes:
    """The bytes inside a primitive element of this tag."""
    if element.tag != tag:
        raise BadDer("tag")
    return data[element.content : element.end]


def whole(data: bytes, element: Element) -> bytes:
    """The element's bytes with its header; its length must be definite."""
    if element.end != element.after:
        raise BadDer("indefinite length")
    return data[element.start : element.end]


def _end_marker(data: bytes, tag: int, at: int, limit: int, nesting: int) -> int:
    if tag & 0x1F == 0x1F or not tag & 0x20 or nesting <= 0:
        raise BadDer("indefinite length")
    while data[at : at + 2] != b"\x00\x00":
        at = read(data, at, limit, nesting - 1).after
    if at + 2 > limit:
        raise BadDer("truncated")
    return at
