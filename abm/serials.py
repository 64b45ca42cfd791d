"""Serial numbers out of whatever people have them in: a file of one column or of many, text that
was pasted. Pure: no Django. What is then known of them is looked up in
`abm/known.py`.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from abm.wire.records import MAX_SERIAL

MAX_BYTES = 5 * 1024 * 1024
MAX_LINES = 200_000
_SHOWN = 80

_SERIAL = re.compile(r"[A-Z0-9]+")
_SEPARATORS = (",", ";", "\t")

Rows = list[tuple[int, list[str]]]


class Unreadable(ValueError):
    """Why nothing of it can be read, and what to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that gave no serial number, with what stood there, and why."""

    line: int
    text: str
    why: str


@dataclass(slots=True)
class Found:
    """The serial numbers in their order, each once, and the lines that gave none."""

    serials: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_file(data: bytes) -> Found:
    """The serial numbers of a text or CSV file. Raises Unreadable."""
    if len(data) > MAX_BYTES:
        raise Unreadable("The file is larger than 5 MB. Split it, or keep the serial numbers only.")
    return _read(_decoded(data))


def read_pasted(text: str) -> Found:
    """The serial numbers of pasted text; on a single line, commas and blanks separate them too.
    Raises Unreadable.
    """
    if len(text) > MAX_BYTES:
        raise Unreadable("The text is longer than 5 MB. Use a file, in several parts.")
    lines = [line for line in text.splitlines() if line.strip()]
    return _read(re.sub(r"[\s,;]+", "\n", lines[0].strip()) if len(lines) == 1 else text)


def is_serial(text: str) -> bool:
    """Whether this is a serial number as Apple writes them: capital letters and digits."""
    return len(text) <= MAX_SERIAL and _SERIAL.fullmatch(text) is not None


# --- From bytes to rows --------------------------------------------------------------------------


def _decoded(data: bytes) -> str:
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise Unreadable("This is a workbook, not text. Save the sheet as CSV and import that.")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    else:
        text = _one_byte_text(data)
    if "\0" in text:
        raise Unreadable("This is not a text file. Save the serial numbers as CSV or plain text.")
    return text


def _one_byte_text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # What else a column of letters and digits was written in makes no difference.
        return data.decode("latin-1")


def _read(text: str) -> Found:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    if len(lines) > MAX_LINES:
        raise Unreadable(f"More than {MAX_LINES:,} lines. Split it into several imports.")
    return _from_rows(_rows(lines))


def _rows(lines: Sequence[str]) -> Rows:
    """Each record with the number of the line on which it begins."""
    first = next((line for line in lines if line.strip()), "")
    if first.strip().lower() in {"sep=;", "sep=,", "sep=\t"}:
        # Excel's own hint, which is no row.
        separator = first.strip("\n\r")[4:5] or "\t"
        lines = ["" if line is first else line for line in lines]
    else:
        separator = max(_SEPARATORS, key=lambda each: len(_split(first, each)))
    try:
        return _records(lines, separator)
    except csv.Error:
        # A quotation mark too many swallows what follows it: then every line stands for itself.
        return [(number, _split(line, separator)) for number, line in enumerate(lines, 1)]


def _records(lines: Sequence[str], separator: str) -> Rows:
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=separator, strict=True)
    rows: Rows = []
    begins = 1
    for cells in reader:
        rows.append((begins, cells))
        begins = reader.line_num + 1
    return rows


def _split(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return [line]


# --- From rows to serial numbers -----------------------------------------------------------------


def _from_rows(rows: Rows) -> Found:
    found = Found()
    lines: dict[str, int] = {}
    column: int | None = None
    for number, cells in rows:
        if not any(_cleaned(cell) for cell in cells):
            continue
        if column is None:
            named = _column(cells)
            column = named or 0
            if named is not None:
                continue
        _take(found, lines, number, cells[column] if column < len(cells) else "")
    return found


def _take(found: Found, lines: dict[str, int], number: int, cell: str) -> None:
    text = _cleaned(cell)
    # Letters beyond ASCII may become two or more in capitals.
    serial = text.upper() if text.isascii() else text
    why = _why_not(serial)
    if not why and serial in lines:
        why = f"The same as on line {lines[serial]:,}."
    if why:
        found.problems.append(Problem(number, text[:_SHOWN], why))
        return
    lines[serial] = number
    found.serials.append(serial)


def _why_not(serial: str) -> str:
    if not serial:
        return "There is no serial number on this line."
    if len(serial) > MAX_SERIAL:
        return f"Longer than {MAX_SERIAL} characters."
    if not _SERIAL.fullmatch(serial):
        wrong = next(letter for letter in serial if not _SERIAL.fullmatch(letter))
        return f"Serial numbers have letters and digits only, not {_named(wrong)}."
    return ""


def _named(letter: str) -> str:
    if letter == " ":
        return "a blank"
    return f"“{letter}”" if letter.isprintable() else f"the character U+{ord(letter):04X}"


def _cleaned(cell: str) -> str:
    """Without blanks, invisible marks, and the ways to keep a spreadsheet from calculating."""
    text = _visible(cell)
    if text.startswith("="):
        text = text[1:].strip('"')
    return _visible(text.strip("'\""))


def _visible(text: str) -> str:
    if not text.isascii():
        text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return text.strip()


# --- Headers -------------------------------------------------------------------------------------

_SERIAL_WORDS = ("serial", "serie", "シリアル", "序列", "序號", "일련", "серийн")
_SHORT_WORDS = frozenset({"sn", "snr"})
_OTHER_WORDS = frozenset(
    {
        *("device", "devices", "name", "devicename", "model", "type", "no", "number", "nr", "id"),
        *("asset", "assettag", "tag", "inventory", "imei", "meid", "udid", "order", "ordernumber"),
        *("user", "owner", "location", "color", "colour", "os", "family", "devicefamily", "server"),
    }
)


def _column(cells: Sequence[str]) -> int | None:
    """Which column of a header has the serial numbers; None where this row is no header."""
    words = [re.sub(r"[\W_]+", "", _cleaned(cell).casefold()) for cell in cells]
    if any(letter.isdecimal() for word in words for letter in word):
        return None
    named = [at for at, word in enumerate(words) if _says_serial(word)]
    if named:
        return min(named, key=lambda at: len(words[at]))
    return 0 if words[0] in _OTHER_WORDS else None


def _says_serial(word: str) -> bool:
    return word in _SHORT_WORDS or any(each in word for each in _SERIAL_WORDS)
