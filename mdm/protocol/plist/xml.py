"""Reads XML property lists with libxml2; the binary form is `mdm.protocol.plist.binary`.

libxml2 is given neither entities nor a DTD nor the network, and what could still make its tree
larger than the body deserves (unknown elements, attributes, entity references) is counted in the
bytes before it sees them.
"""

import binascii
import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice

from lxml import etree

from mdm.protocol.errors import BadPlist
from mdm.protocol.plist.budget import INTEGER_MAX, INTEGER_MIN, Budget

_ENCODINGS = {"iso-8859-1": "latin-1", "latin1": "latin-1", "windows-1252": "cp1252"}
_DECLARED = re.compile(rb"<\?xml\s[^>]{0,100}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_DOCTYPE_PATTERN = (
    rb"<!DOCTYPE\s{1,9}plist\s{0,9}"
    rb"(?:(?:PUBLIC\s{1,9}\"[^\"<>\[\]]{0,200}\"|SYSTEM)\s{1,9}\"[^\"<>\[\]]{0,200}\"\s{0,9})?>"
)
_DOCTYPE = re.compile(_DOCTYPE_PATTERN)
# What Apple's own writer puts in front, which then need not be parsed every time.
_USUAL_PROLOG = re.compile(
    rb"<\?xml version=\"1\.0\" encoding=\"UTF-8\"\?>\s{0,9}" + _DOCTYPE_PATTERN
)
# Every '<' and '&' that an ordinary property list has no reason to contain.
_ODD = re.compile(
    rb"<(?!/?(?:key|string|dict|integer|true|false|array|data|date|real)\s{0,9}/?>)"
    rb"|&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9A-Fa-f]{1,6});)"
)
_ODD_LIMIT = 512  # comments and CDATA sections may contain some; a bomb has thousands
_SMALL = 8 * 1024  # nothing in a body this small can be costly to parse
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}|(0[xX][0-9A-Fa-f]{1,16})", re.ASCII)
_REAL = re.compile(r"[+-]?(?:[0-9]{1,320}\.?[0-9]{0,320}|\.[0-9]{1,320})(?:[eE][+-]?[0-9]{1,4})?")
_REAL_NAMES = {"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"}
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", re.ASCII)

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_local = threading.local()


def read_xml(data: bytes, budget: Budget) -> object:
    """The value in the XML property list, its containers all fresh; raises BadPlist."""
    usual = _USUAL_PROLOG.match(data)
    document = data[usual.end() :] if usual else _as_utf8(data)
    _check_doctype(document, most=0 if usual else 1)
    if len(document) > _SMALL:
        _check_size(document, budget)
    try:
        root = etree.fromstring(document, _parser())
    except (etree.LxmlError, ValueError) as error:
        raise BadPlist("not-xml", "The property list is not well-formed XML.") from error
    if root.tag == "plist":
        if len(root) != 1:
            raise BadPlist("not-one-value", "The property list does not hold exactly one value.")
        root = root[0]
    return _Tree(budget).value(root, budget.depth)


def xml_text(text: str) -> str:
    """The text without the characters that XML 1.0 cannot hold (section 2.2)."""
    return text if text.isascii() and text.isprintable() else _NOT_XML.sub("", text)


class _Tree:
    """Turns elements into values, spending one budget."""

    __slots__ = ("nodes",)

    def __init__(self, budget: Budget) -> None:
        self.nodes = budget.nodes

    def value(self, element: etree._Element, depth: int) -> object:
        tag = element.tag
        if tag == "dict" or tag == "array":
            if depth <= 0:
                raise BadPlist("too-deep", "The property list is nested too deeply.")
            self._spend(len(element))
            return (
                self._dict(element, depth - 1)
                if tag == "dict"
                else [self.value(child, depth - 1) for child in element]
            )
        read = _SCALARS.get(tag)
        if read is None or len(element):
            raise _unexpected()
        return read(element.text or "")

    def _dict(self, element: etree._Element, depth: int) -> dict[str, object]:
        children: Iterator[etree._Element] = iter(element)
        result: dict[str, object] = {}
        for key in children:
            child = next(children, None)
            if key.tag != "key" or len(key) or child is None:
                raise _unexpected()
            result[key.text or ""] = self.value(child, depth)
        return result

    def _spend(self, nodes: int) -> None:
        self.nodes -= nodes
        if self.nodes < 0:
            raise BadPlist("too-many-values", "The property list holds too many values.")


def _as_utf8(data: bytes) -> bytes:
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16").encode()
        if data.startswith((b"<\x00", b"\x00<")):
            return data.decode("utf-16-le" if data[0] else "utf-16-be").encode()
        document = data.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
        declared = _DECLARED.match(document)
        name = declared.group(1).decode("ascii").lower() if declared else "utf-8"
        if name in _ENCODINGS:
            return document.decode(_ENCODINGS[name]).encode()
    except UnicodeError as error:
        raise BadPlist("not-xml", "The property list is not in its declared encoding.") from error
    # Whatever else is declared, ASCII-compatible bytes are read as UTF-8 or refused by the parser.
    return document


def _check_doctype(document: bytes, most: int) -> None:
    found = document.count(b"<!DOCTYPE")
    if found == 0:
        return
    if found > most or _DOCTYPE.match(document, document.find(b"<!DOCTYPE")) is None:
        raise BadPlist("doctype", "The property list has a document type of its own.")


def _check_size(document: bytes, budget: Budget) -> None:
    # Every element costs two '<' at most, every attribute an '=' (as does the end of base64).
    if document.count(b"<") > 2 * budget.nodes + 64 or document.count(b"=") > budget.nodes // 8:
        raise BadPlist("too-many-values", "The property list holds too many values.")
    if sum(1 for _ in islice(_ODD.finditer(document), _ODD_LIMIT)) == _ODD_LIMIT:
        raise BadPlist("not-a-plist", "The document is not a property list.")


def _parser() -> etree.XMLParser:
    # libxml2's parsers are locked while in use: one per thread lets them work side by side.
    parser: etree.XMLParser | None = getattr(_local, "parser", None)
    if parser is None:
        parser = _local.parser = etree.XMLParser(
            encoding="utf-8",
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            dtd_validation=False,
            attribute_defaults=False,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
    return parser


def _integer(text: str) -> int:
    match = _INTEGER.fullmatch(text.strip())
    if match is None:
        raise BadPlist("integer", "An integer in the property list cannot be read.")
    value = int(match.group(), 16 if match.group(1) else 10)
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise BadPlist("integer", "An integer in the property list is too large.")
    return value


def _real(text: str) -> float:
    text = text.strip()
    if _REAL.fullmatch(text) is None and text.lower() not in _REAL_NAMES:
        raise BadPlist("real", "A real number in the property list cannot be read.")
    return float(text)


def _date(text: str) -> datetime:
    match = _DATE.fullmatch(text.strip())
    if match is None:
        raise BadPlist("date", "A date in the property list cannot be read.")
    try:
        year, month, day, hour, minute, second = map(int, match.groups())
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - as plistlib
    except ValueError as error:
        raise BadPlist("date", "A date in the property list does not exist.") from error


def _data(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text)
    except ValueError as error:
        raise BadPlist("data", "Data in the property list is not base64.") from error


def _unexpected() -> BadPlist:
    return BadPlist("not-a-plist", "The property list has an element where none is allowed.")


_SCALARS: dict[object, Callable[[str], object]] = {
    "string": str,
    "integer": _integer,
    "true": lambda _: True,
    "false": lambda _: False,
    "data": _data,
    "date": _date,
    "real": _real,
}
