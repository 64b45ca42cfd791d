"""Serial numbers read out of what people have them in."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abm import serials
from abm.serials import MAX_BYTES, MAX_LINES, Problem, Unreadable, read_file, read_pasted

SERIALS = st.lists(
    st.from_regex(r"[A-Z0-9]{8,12}", fullmatch=True).filter(lambda s: any(c.isdigit() for c in s))
)


def _serials(text: str, encoding: str = "utf-8") -> list[str]:
    return read_file(text.encode(encoding)).serials


@pytest.mark.parametrize(
    "text",
    [
        "C02ABC1\nF17XYZ2\n",
        "C02ABC1\r\nF17XYZ2",
        "C02ABC1\rF17XYZ2\r",
        "\n\n  C02ABC1  \n\n\n\tF17XYZ2\n\n",
        "c02abc1\nf17xyz2\n",
        "Serial Number\nC02ABC1\nF17XYZ2\n",
        "serial_number\nC02ABC1\nF17XYZ2\n",
        "SERIAL\nC02ABC1\nF17XYZ2\n",
        "S/N\nC02ABC1\nF17XYZ2\n",
        "Seriennummer\nC02ABC1\nF17XYZ2\n",
        "Numéro de série\nC02ABC1\nF17XYZ2\n",
        "シリアル番号\nC02ABC1\nF17XYZ2\n",
        "Device\nC02ABC1\nF17XYZ2\n",
        '"Serial Number"\n"C02ABC1"\n"F17XYZ2"\n',
        '="C02ABC1"\n="F17XYZ2"\n',
        "'C02ABC1\n'F17XYZ2\n",
        "\u200bC02ABC1\u00a0\n\u202aF17XYZ2\u202c\n",
        "Name,Serial Number,Model\nAnn,C02ABC1,iPad\nBob,F17XYZ2,Mac\n",
        "Name;Serial Number;Model\nAnn;C02ABC1;iPad\nBob;F17XYZ2;Mac\n",
        "Name\tSerial Number\tModel\nAnn\tC02ABC1\tiPad\nBob\tF17XYZ2\tMac\n",
        "sep=;\nName;Serial\nAnn;C02ABC1\nBob;F17XYZ2\n",
        'Name,Serial\n"Doe, Ann",C02ABC1\n"Roe ""Bob""",F17XYZ2\n',
        'Notes,Serial\n"two\nlines",C02ABC1\nnone,F17XYZ2\n',
        "Serial number of the dock,Serial\nX1,C02ABC1\nX2,F17XYZ2\n",
        "C02ABC1,iPad,blue\nF17XYZ2,Mac,red\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_usual_shape_of_a_list_is_read(text: str, encoding: str) -> None:
    assert _serials(text, encoding) == ["C02ABC1", "F17XYZ2"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_both_orders_of_utf_16_are_read(encoding: str) -> None:
    assert _serials("\ufeffC02ABC1\nF17XYZ2", encoding) == ["C02ABC1", "F17XYZ2"]


def test_a_file_in_another_encoding_is_read_as_far_as_serial_numbers_go() -> None:
    assert _serials("Gerät;Seriennummer\nMüller;C02ABC1\n", "cp1252") == ["C02ABC1"]


@pytest.mark.parametrize(
    ("line", "text", "why"),
    [
        ("C02 ABC", "C02 ABC", "Serial numbers have letters and digits only, not a blank."),
        ("C02-ABC", "C02-ABC", "Serial numbers have letters and digits only, not “-”."),
        ("C02ÄBC", "C02ÄBC", "Serial numbers have letters and digits only, not “Ä”."),
        ("straße1", "straße1", "Serial numbers have letters and digits only, not “s”."),
        ("C02\x07BC", "C02\x07BC", "Serial numbers have letters and digits only, not the"),
        ("=1+1", "1+1", "Serial numbers have letters and digits only, not “+”."),
        ("X" * 65, "X" * 65, "Longer than 64 characters."),
        ("C02ABC1", "C02ABC1", "The same as on line 2."),
        ("c02abc1", "c02abc1", "The same as on line 2."),
    ],
)
def test_a_line_that_gives_none_is_named_with_its_number_and_the_reason(
    line: str, text: str, why: str
) -> None:
    found = read_file(f"Serial\nC02ABC1\n\n{line}\nF17XYZ2\n".encode())

    assert found.serials == ["C02ABC1", "F17XYZ2"]
    [problem] = found.problems
    assert (problem.line, problem.text) == (4, text)
    assert problem.why.startswith(why)


def test_a_row_without_the_column_of_serial_numbers_is_named() -> None:
    found = read_file(b"Name,Serial\nAnn,C02ABC1\nBob\nEve,\n")

    why = "There is no serial number on this line."
    assert found.problems == [Problem(3, "", why), Problem(4, "", why)]


def test_a_quotation_mark_too_many_costs_no_more_than_its_line() -> None:
    found = read_file(b'C02ABC1\n"F17XYZ2\nDMPQ3\n"x"y\n')

    assert found.serials == ["C02ABC1", "F17XYZ2", "DMPQ3", "XY"]


def test_lines_keep_their_numbers_after_a_cell_of_several_lines() -> None:
    found = read_file(b'Notes,Serial\n"a\nb\nc",C02ABC1\nx,not one\n')

    assert [problem.line for problem in found.problems] == [5]


def test_what_is_shown_of_a_wrong_line_is_bounded() -> None:
    [problem] = read_file(b"C02ABC1\n" + b"x" * 200_000).problems

    assert len(problem.text) == 80


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"PK\x03\x04rest of a workbook", "workbook"),
        (b"\xd0\xcf\x11\xe0rest of an older one", "workbook"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "not a text file"),
        (b"C02\0ABC", "not a text file"),
        (b"1" * (MAX_BYTES + 1), "larger than 5 MB"),
        (b"1\n" * (MAX_LINES + 1), "More than 200,000 lines"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_do(data: bytes, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        read_file(data)


def test_the_largest_file_that_is_allowed_is_read() -> None:
    data = "".join(f"C{number:07}\n" for number in range(MAX_LINES))

    assert len(_serials(data)) == MAX_LINES


@pytest.mark.parametrize("text", ["C02ABC1, F17XYZ2", "C02ABC1 F17XYZ2\n", " C02ABC1;F17XYZ2; "])
def test_a_pasted_line_may_hold_several(text: str) -> None:
    assert read_pasted(text).serials == ["C02ABC1", "F17XYZ2"]


def test_pasted_rows_of_a_sheet_are_columns() -> None:
    assert read_pasted("Ann\tSerial\nx\tC02ABC1\n").serials == ["C02ABC1"]


def test_nothing_is_nothing() -> None:
    for empty in (b"", b"\n\n", b"Serial\n", b"\xef\xbb\xbf"):
        found = read_file(empty)
        assert (found.serials, found.problems) == ([], [])


@given(st.binary(max_size=2_000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = read_file(data)
    except Unreadable:
        return
    assert all(serials.is_serial(serial) for serial in found.serials)
    assert len(set(found.serials)) == len(found.serials)


@given(st.text(max_size=2_000))
def test_any_text_is_read_line_by_line(text: str) -> None:
    try:
        found = read_file(text.encode("utf-8", "surrogatepass"))
    except Unreadable:
        return
    lines = [problem.line for problem in found.problems]
    assert lines == sorted(set(lines))
    assert len(found.serials) + len(lines) <= len(text) + 1


@given(SERIALS, st.sampled_from([",", ";", "\t"]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_a_spreadsheet_writes_comes_back(
    wanted: list[str], separator: str, end: str, quoted: bool
) -> None:
    target = io.StringIO()
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    writer = csv.writer(target, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerow(["Name", "Serial Number", "Notes"])
    for serial in wanted:
        writer.writerow(['Doe, "Ann"; x', serial, "a\tb"])

    assert _serials(target.getvalue()) == list(dict.fromkeys(wanted))
