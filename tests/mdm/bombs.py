"""Bodies that no device sends: each is small or cheap to make, and meant to be costly to read."""

from __future__ import annotations

import gzip
import plistlib
import struct

from tests.mdm.protocol import plists
from tests.mdm.protocol.plists import PROLOG, binary, binary_of, document

_LAUGHS = "".join(
    f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, 10)
).encode()


def bombs(message: dict[str, object]) -> dict[str, bytes]:
    """Bodies by name; those that can be hide in `message`, which alone would be accepted."""
    return _hidden_in_xml(message) | _whole_documents() | _binary_ones() | _no_plists(message)


def large_bombs(message: dict[str, object]) -> dict[str, bytes]:
    """Bodies of megabytes, for which memory is watched."""
    inside = _inside(message)
    return {
        "elements": inside(b"<array>" + b"<true/>" * 2_000_000 + b"</array>"),
        "dictionaries": inside(b"<array>" + b"<dict/>" * 2_000_000 + b"</array>"),
        "as many dictionaries as are read": inside(
            b"<array>" + b"<dict/>" * 399_000 + b"<bogus/></array>"
        ),
        "as many pairs as are read": inside(
            b"<array>" + b"<dict><key>k</key><true/></dict>" * 132_000 + b"<bogus/></array>"
        ),
        "as many texts as are read": binary(
            [
                b"\xd1\x01\x04",
                b"\x51a",
                b"\x5f\x10\x50" + b"z" * 80,
                b"\xff",
                b"\xaf\x12" + struct.pack(">I", 399_000) + b"\x02" * 398_999 + b"\x03",
            ]
        ),
        "attributes": inside(b"<string " + b'a="b" ' * 1_000_000 + b"/>"),
        "distinct attributes": inside(
            b"<string " + b" ".join(b'a%d="b"' % number for number in range(500_000)) + b"/>"
        ),
        "comments": inside(b"<!---->" * 2_000_000 + b"<true/>"),
        "instructions": inside(b"<?a?>" * 2_000_000 + b"<true/>"),
        "character references": inside(b"<string>" + b"&#65;" * 3_000_000 + b"</string>") + b"<",
        "entity references": inside(b"<string>" + b"&amp;" * 3_000_000 + b"</string>") + b"<",
        "depth": inside(b"<array>" * 500_000 + b"</array>" * 500_000),
        "unclosed": inside(b"<array>" * 1_000_000),
        "data": inside(b"<data>" + b"AAAA" * 3_900_000 + b"!") + b"<",
        "text": inside(b"<string>" + b"x" * 15_000_000) + b"<",
        "one million names": b"bplist00"
        + b"\xa0" * 15_000_000
        + struct.pack(">6xBBQQQ", 1, 1, 15_000_000, 0, 8),
        "zeros": bytes(16 * 1024 * 1024),
        "gzip bomb": gzip.compress(bytes(64 * 1024 * 1024)),
    }


def _hidden_in_xml(message: dict[str, object]) -> dict[str, bytes]:
    inside = _inside(message)
    return {
        "integer of ten thousand digits": inside(b"<integer>" + b"9" * 10_000 + b"</integer>"),
        "integer of 65 bits": inside(b"<integer>18446744073709551616</integer>"),
        "integer that is none": inside(b"<integer>0x</integer>"),
        "empty integer": inside(b"<integer/>"),
        "real of ten thousand digits": inside(b"<real>" + b"9" * 10_000 + b"</real>"),
        "real that is none": inside(b"<real>1_0</real>"),
        "year 99999": inside(b"<date>99999-01-01T00:00:00Z</date>"),
        "year 0": inside(b"<date>0000-01-01T00:00:00Z</date>"),
        "30 February": inside(b"<date>2026-02-30T00:00:00Z</date>"),
        "25 o'clock": inside(b"<date>2026-02-03T25:00:00Z</date>"),
        "data that is none": inside(b"<data>A</data>"),
        "depth": inside(b"<array>" * 80 + b"</array>" * 80),
        "great depth": inside(b"<dict><key>a</key>" * 3000 + b"<true/>" + b"</dict>" * 3000),
        "unknown element": inside(b"<script>1</script>"),
        "element in text": inside(b"<string>a<string>b</string></string>"),
        "another namespace": inside(b'<x:string xmlns:x="urn:x">a</x:string>'),
        "inclusion": inside(
            b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>'
        ),
        "undeclared entity": inside(b"<string>&laugh;</string>"),
        "lone surrogate": inside(b"<string>&#xD800;</string>"),
        "NUL": inside(b"<string>&#0;</string>"),
        "raw NUL": inside(b"<string>a\0b</string>"),
        "broken UTF-8": inside(b"<string>\xff\xfe</string>"),
        "key without value": inside(b"<true/><key>b</key>"),
        "value without key": inside(b"<true/><true/>"),
    }


def _whole_documents() -> dict[str, bytes]:
    def declaring(subset: bytes, content: bytes = b"<dict/>") -> bytes:
        return b"<!DOCTYPE plist [" + subset + b"]>\n<plist>" + content + b"</plist>"

    text = b"<dict><key>a</key><string>%s</string></dict>"
    return {
        "a billion laughs": declaring(b'<!ENTITY l0 "ha">' + _LAUGHS, text % b"&l9;"),
        "quadratic entity": declaring(
            b'<!ENTITY a "' + b"x" * 20_000 + b'">', text % (b"&a;" * 20_000)
        ),
        "entity of a file": declaring(b'<!ENTITY a SYSTEM "file:///etc/passwd">', text % b"&a;"),
        "entity of an address": declaring(
            b'<!ENTITY a SYSTEM "http://127.0.0.1:9/">', text % b"&a;"
        ),
        "parameter entity": declaring(b'<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;'),
        "document type of another": b'<!DOCTYPE html SYSTEM "http://127.0.0.1:9/x.dtd"><plist/>',
        "two document types": PROLOG + PROLOG + b"<plist><dict/></plist>",
        "list on top": document(b"<array/>"),
        "text on top": document(b"<string>a</string>"),
        "number on top": document(b"<integer>1</integer>"),
        "nothing on top": document(b""),
        "two on top": document(b"<dict/><dict/>"),
        "no plist element": PROLOG + b"<dict><key>a</key></dict>",
        "another root": b"<html><body/></html>",
        "only a prolog": PROLOG,
        "cut short": document(b"<dict><key>a</key><string>b")[:-20],
        "UTF-16 without its end": document(b"<dict/>").decode().encode("utf-16")[:-1],
        "UTF-32": document(b"<dict/>").decode().encode("utf-32"),
        "unknown encoding": b'<?xml version="1.0" encoding="x-none"?><plist><dict/></plist>',
        "UTF-7": b'<?xml version="1.0" encoding="UTF-7"?><plist>+ADw-dict/+AD4-</plist>',
    }


def _binary_ones() -> dict[str, bytes]:
    def trailer(offset_size: int, ref_size: int, count: int, top: int, table: int) -> bytes:
        return struct.pack(">6xBBQQQ", offset_size, ref_size, count, top, table)

    return {
        "aliases": plists.alias_bomb(),
        "aliases of a text": plists.text_alias_bomb(),
        "a dictionary that holds itself": binary([b"\xd1\x01\x00", b"\x51a"]),
        "a list that holds itself": binary([b"\xd1\x01\x02", b"\x51a", b"\xa1\x02"]),
        "binary list on top": binary([b"\xa0"]),
        "a list as key": binary([b"\xd1\x01\x01", b"\xa0"]),
        "a number as key": binary([b"\xd1\x01\x01", b"\x10\x01"]),
        "integer of 128 bits": binary_of(b"\x14" + b"\x7f" * 16),
        "date that is no number": binary_of(b"\x33" + struct.pack(">d", float("nan"))),
        "infinite date": binary_of(b"\x33" + struct.pack(">d", float("inf"))),
        "far date": binary_of(b"\x33" + struct.pack(">d", 1e18)),
        "lone surrogate in binary": binary_of(b"\x61\xd8\x00"),
        "bytes above ASCII": binary_of(b"\x51\xff"),
        "unknown marker": binary_of(b"\xff"),
        "length past the end": binary_of(b"\x5f\x13" + b"\x7f" + b"\xff" * 7),
        "list past the end": binary_of(b"\xaf\x13" + b"\x7f" + b"\xff" * 7),
        "only the magic": b"bplist00",
        "magic and trailer": b"bplist00" + trailer(1, 1, 1, 0, 8),
        "no size": b"bplist00\xd0\x08" + trailer(0, 0, 1, 0, 9),
        "more objects than atoms": b"bplist00\xd0\x08" + trailer(1, 1, 2**63, 0, 9),
        "table past the end": b"bplist00\xd0\x08" + trailer(1, 1, 1, 0, 2**62),
        "top past the end": b"bplist00\xd0\x08" + trailer(1, 1, 1, 7, 9),
        "another version": b"bplist99" + plistlib.dumps({}, fmt=plistlib.FMT_BINARY)[8:],
    }


def _no_plists(message: dict[str, object]) -> dict[str, bytes]:
    return {
        "nothing": b"",
        "one byte": b"\0",
        "white space": b" \r\n\t" * 50,
        "gzip": gzip.compress(plistlib.dumps(message)),
        "zip": b"PK\x03\x04" + bytes(100),
        "JSON": b'{"MessageType": "CheckOut"}',
        "old style": b"{ MessageType = CheckOut; }",
        "DER": b"\x30\x82\xff\xff" + bytes(50),
        "indefinite lengths": b"\x30\x80" * 5000,
        "HTTP": b"PUT /mdm/checkin HTTP/1.1\r\n\r\n",
        "line ends": b"\r\n" * 5000,
    }


def _inside(message: dict[str, object]):
    def inside(value: bytes) -> bytes:
        """The message as XML with one field more, which holds `value`."""
        head, tail = plistlib.dumps(message).split(b"</dict>\n</plist>", 1)
        return head + b"<key>Bomb</key>" + value + b"</dict>\n</plist>" + tail

    return inside
