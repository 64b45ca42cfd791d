"""Reads binary property lists as trees; the XML form is `mdm.protocol.plist.xml`.

The format lets objects name each other freely, so that a few hundred bytes can describe a
terabyte or a list that contains itself. Here every reference is written out and paid for as it
is followed: a cycle ends at the depth limit, an alias bomb at the budget.
"""

import plistlib
import struct
from datetime import datetime, timedelta

from mdm.protocol.errors import BadPlist
from mdm.protocol.plist.budget import INTEGER_MAX, INTEGER_MIN, Budget

_TRAILER = struct.Struct(">6xBBQQQ")
_EPOCH = datetime(2001, 1, 1)  # noqa: DTZ001 - as plistlib: naive, in UTC


def read_binary(data: bytes, budget: Budget) -> object:
    """The value of a `bplist00`; raises BadPlist. Layout: CFBinaryPList.c."""
    try:
        return _Reader(data, budget).top()
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise _malformed() from error


class _Reader:
    """One binary property list and what is left of its budget."""

    __slots__ = (
        "_count",
        "_data",
        "_depth",
        "_end",
        "_expanded",
        "_nodes",
        "_offset_size",
        "_ref_size",
        "_table",
        "_top",
    )

    def __init__(self, data: bytes, budget: Budget) -> None:
        if len(data) < 8 + _TRAILER.size:
            raise _malformed()
        self._data = data
        (self._offset_size, self._ref_size, self._count, self._top, self._table) = (
            _TRAILER.unpack_from(data, len(data) - _TRAILER.size)
        )
        self._end = len(data) - _TRAILER.size
        sizes_hold = 1 <= self._offset_size <= 8 and 1 <= self._ref_size <= 8
        if not sizes_hold or self._table + self._count * self._offset_size > self._end:
            raise _malformed()
        self._depth, self._nodes, self._expanded = budget.depth, budget.nodes, budget.expanded

    def top(self) -> object:
        return self._object(self._top, self._depth)

    def _object(self, reference: int, depth: int) -> object:
        self._nodes -= 1
        if self._nodes < 0:
            raise BadPlist("too-many-values", "The property list holds too many values.")
        if reference >= self._count:
            raise _malformed()
        entry = self._table + reference * self._offset_size
        at = int.from_bytes(self._data[entry : entry + self._offset_size], "big")
        marker = self._take(at, 1)[0]
        kind, low = marker & 0xF0, marker & 0x0F
        if kind == 0xD0 or kind == 0xA0:
            if depth <= 0:
                raise BadPlist("too-deep", "The property list is nested too deeply.")
            count, start = self._length(at, low)
            if kind == 0xA0:
                return self._array(start, count, depth - 1)
            return self._dict(start, count, depth - 1)
        return self._scalar(at, kind, low)

    def _array(self, start: int, count: int, depth: int) -> list[object]:
        return [self._object(ref, depth) for ref in self._references(start, count)]

    def _dict(self, start: int, count: int, depth: int) -> dict[str, object]:
        references = self._references(start, 2 * count)
        result: dict[str, object] = {}
        for key_ref, value_ref in zip(references[:count], references[count:], strict=True):
            key = self._object(key_ref, 0)
            if type(key) is not str:
                raise BadPlist("key", "A key in the property list is not text.")
            result[key] = self._object(value_ref, depth)
        return result

    def _references(self, start: int, count: int) -> list[int]:
        if count > self._nodes:
            raise BadPlist("too-many-values", "The property list holds too many values.")
        size = self._ref_size
        raw = self._take(start, count * size)
        return [int.from_bytes(raw[at : at + size], "big") for at in range(0, len(raw), size)]

    def _scalar(self, at: int, kind: int, low: int) -> object:
        if kind == 0x50 or kind == 0x60 or kind == 0x40:
            return self._text_or_data(at, kind, low)
        if kind == 0x10 and low <= 4:
            return self._integer(at + 1, 1 << low)
        if kind == 0x00 and low in (8, 9):
            return low == 9
        if kind == 0x20 and low in (2, 3):
            real: float = struct.unpack(">f" if low == 2 else ">d", self._take(at + 1, 1 << low))[0]
            return real
        if kind == 0x30 and low == 3:
            return _EPOCH + timedelta(seconds=struct.unpack(">d", self._take(at + 1, 8))[0])
        if kind == 0x80:
            return plistlib.UID(int.from_bytes(self._take(at + 1, low + 1), "big"))
        raise _malformed()

    def _text_or_data(self, at: int, kind: int, low: int) -> object:
        length, start = self._length(at, low)
        raw = self._take(start, 2 * length if kind == 0x60 else length)
        self._expanded -= len(raw)
        if self._expanded < 0:
            raise BadPlist("too-large", "The property list is larger than is accepted.")
        if kind == 0x40:
            return raw
        return raw.decode("utf-16-be" if kind == 0x60 else "ascii")

    def _integer(self, at: int, size: int) -> int:
        # CFBinaryPList.c: one, two and four bytes are unsigned, eight and sixteen signed.
        value = int.from_bytes(self._take(at, size), "big", signed=size >= 8)
        if not INTEGER_MIN <= value <= INTEGER_MAX:
            raise BadPlist("integer", "An integer in the property list is too large.")
        return value

    def _length(self, at: int, low: int) -> tuple[int, int]:
        """How many items follow the marker at `at`, and where they start."""
        if low != 0x0F:
            return low, at + 1
        size = 1 << (self._take(at + 1, 1)[0] & 0x03)
        return int.from_bytes(self._take(at + 2, size), "big"), at + 2 + size

    def _take(self, start: int, size: int) -> bytes:
        end = start + size
        if end > self._end:
            raise _malformed()
        return self._data[start:end]


def _malformed() -> BadPlist:
    return BadPlist("not-binary", "The binary property list is malformed.")
