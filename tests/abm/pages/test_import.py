"""Importing serial numbers: what is known of each, and the selection that comes of it."""

from __future__ import annotations

import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from abm.models import Server
from abm.serials import MAX_BYTES
from mdm.accounts.models import User
from tests.abm.pages.conftest import Connect, Listed

PAGE = "/abm/devices/import/"


def _upload(client: Client, data: bytes, name: str = "list.csv") -> HttpResponse:
    return client.post(PAGE, {"file": SimpleUploadedFile(name, data)}, follow=True)


def _text(answer: object) -> str:
    return b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]


def _numbers(answer: HttpResponse) -> list[str]:
    """Listed, removed, unknown, left out."""
    return re.findall(r'stat-number">([^<]+)<', answer.content.decode())


def test_a_file_is_told_apart_into_listed_removed_unknown_and_left_out(
    signed_in: Client, connect: Connect, listed: Listed
) -> None:
    server, other = connect("One"), connect("Two")
    for serial in ("A1", "A2", "A3"):
        listed(serial, server)
    now = timezone.now()
    listed("R1", server, removed_at=now, current=False)
    # Moved: it left one server's list and is on another's.
    listed("M1", server, removed_at=now, current=False)
    listed("M1", other)

    answer = _upload(signed_in, b"Serial\nA1\nA2\nR1\nM1\nU1\nU2\nA1\nnot one\n")
    page = answer.content.decode()

    assert _numbers(answer) == ["3", "1", "2", "2"]
    assert "6 serial numbers read" in page
    assert "The same as on line 2." in page
    assert "letters and digits only, not a blank" in page
    key = answer.redirect_chain[0][0].split("/")[-2]
    assert _text(signed_in.get(f"{PAGE}{key}/unknown.csv")) == "U1\r\nU2\r\n"
    assert '"8","A1","The same as on line 2."\r\n' in _text(
        signed_in.get(f"{PAGE}{key}/problems.csv")
    )


def test_what_is_listed_becomes_a_selection_of_the_table(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    for serial in ("A1", "A2", "B1"):
        listed(serial, server)
    listed("R1", server, removed_at=timezone.now(), current=False)

    page = _upload(signed_in, b"A1\nB1\nR1\n").content.decode()
    listed_url = re.search(r'href="(/abm/devices/\?selection=[\w-]+)"', page)
    removed_url = re.search(r'href="(/abm/devices/\?listed=removed&amp;selection=[\w-]+)"', page)
    assert listed_url
    assert removed_url

    table = signed_in.get(listed_url[1]).content.decode().split("<tbody>")[1]
    assert "A1" in table
    assert "B1" in table
    assert "A2" not in table
    removed = signed_in.get(removed_url[1].replace("&amp;", "&")).content.decode()
    assert "R1" in removed.split("<tbody>")[1]


def test_serial_numbers_can_be_pasted(signed_in: Client, server: Server, listed: Listed) -> None:
    listed("A1", server)

    answer = signed_in.post(PAGE, {"pasted": "a1, U1"}, follow=True)

    assert _numbers(answer) == ["1", "0", "1", "0"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "Choose a file, or paste something."),
        ({"pasted": " \n"}, "Choose a file, or paste something."),
        ({"file": SimpleUploadedFile("x.csv", b"")}, "The file is empty."),
        ({"file": SimpleUploadedFile("x.csv", b"Serial\n\n")}, "There are no serial numbers"),
        ({"file": SimpleUploadedFile("x.xlsx", b"PK\x03\x04")}, "This is a workbook"),
        ({"file": SimpleUploadedFile("x.csv", b"1" * (MAX_BYTES + 1))}, "larger than 5 MB"),
        ({"pasted": "1\n" * 200_001}, "More than 200,000 lines"),
    ],
)
def test_what_cannot_be_read_is_answered_on_the_form(
    signed_in: Client, data: dict[str, object], words: str
) -> None:
    answer = signed_in.post(PAGE, data)

    assert answer.status_code == 422
    assert words in answer.content.decode()


def test_text_of_a_file_is_text_and_no_formula(signed_in: Client) -> None:
    answer = _upload(signed_in, b"Serial\n<script>alert(1)</script>\n@SUM(A1)\n")
    page = answer.content.decode()

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    key = answer.redirect_chain[0][0].split("/")[-2]
    assert '"3","\'@SUM(A1)"' in _text(signed_in.get(f"{PAGE}{key}/problems.csv"))


def test_more_than_a_page_can_show_is_in_the_files(signed_in: Client) -> None:
    data = "".join(f"U{number:05}\nbad {number}\n" for number in range(1_200))

    answer = _upload(signed_in, data.encode())
    page = answer.content.decode()

    assert page.count("<li>U0") == 1_000
    assert "The first 1,000 are shown" in page
    key = answer.redirect_chain[0][0].split("/")[-2]
    assert _text(signed_in.get(f"{PAGE}{key}/unknown.csv")).count("\r\n") == 1_200


def test_a_result_belongs_to_the_one_who_made_it_and_not_for_ever(signed_in: Client) -> None:
    url = _upload(signed_in, b"U1\n").redirect_chain[0][0]
    stranger = Client()
    stranger.force_login(User.objects.create_superuser("bob", "bob@example.com", "x"))

    for path in (url, f"{url}unknown.csv", f"{url}problems.csv"):
        assert signed_in.get(path).status_code == 200
        assert stranger.get(path).status_code == 404
    assert signed_in.get(f"{PAGE}gone/").status_code == 404
