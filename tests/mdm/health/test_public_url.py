"""Coming to the public address as devices do: what is wrong there, in words."""

from __future__ import annotations

import dataclasses
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from mdm.env import Mode
from mdm.health import public_url
from mdm.health.probes import Found
from tests.machines import install_authority
from tests.mdm.health.tls import answering, ends, stranger

pytestmark = pytest.mark.django_db

Visit = Callable[[str], Found]
_LONG_AGO = timedelta(days=500)


@pytest.fixture
def visit(settings: Any) -> Visit:
    """Has the probe come to an address. The tests' authority is one that this server has."""
    install_authority()

    def visit(url: str) -> Found:
        settings.ENV = dataclasses.replace(settings.ENV, public_url=url)
        return public_url.look(None)

    return visit


def test_a_server_that_answers_with_a_good_certificate_is_fine(visit: Visit, tmp_path: Path):
    with answering(tmp_path) as port:
        found = visit(f"https://localhost:{port}")
        assert found.ends_at == ends(port)

    assert found.good
    assert f"valid until {found.ends_at:%B %d, %Y}" in found.words


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"host": "mdm.example.com"}, "is for mdm.example.com and not for localhost"),
        ({"at": timezone.now() - _LONG_AGO}, "expired on "),
        ({"at": timezone.now() + timedelta(days=9)}, "is not valid before"),
        ({"by": stranger}, "is from Strangers, which devices do not trust"),
        ({"status": 404}, "with status 404, but it is not GuardMDM"),
        ({"body": "It works!"}, "with status 200, but it is not GuardMDM"),
        ({"status": 503}, "not ready (status 503)"),
        ({"body": "ready 0123456789abcdef"}, "Another GuardMDM answers"),
    ],
    ids=["name", "expired", "early", "issuer", "404", "other page", "503", "other server"],
)
def test_what_is_wrong_there_is_said(
    visit: Visit, tmp_path: Path, given: dict[str, Any], words: str
):
    if "by" in given:
        given = {"by": given["by"]()}
    with answering(tmp_path, **given) as port:
        found = visit(f"https://localhost:{port}")
        assert found.ends_at == ends(port)

    assert not found.good
    assert words in found.words


def test_in_production_our_own_authority_counts_for_nothing(
    visit: Visit, settings: Any, tmp_path: Path
):
    settings.ENV = dataclasses.replace(settings.ENV, mode=Mode.PRODUCTION)
    with answering(tmp_path) as port:
        found = visit(f"https://localhost:{port}")

    assert "which devices do not trust" in found.words


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://localhost:8000", "is no https address"),
        ("https://nobody.invalid", "is not known in DNS"),
        ("https://127.0.0.1:{closed}", "nothing listens there"),
        ("https://127.0.0.1:{plain}", "not with TLS 1.2 or newer"),
    ],
)
def test_what_cannot_be_reached_at_all_is_said(visit: Visit, url: str, words: str):
    with socket.create_server(("127.0.0.1", 0)) as plain:
        thread = threading.Thread(target=_speak_plainly, args=(plain,))
        thread.start()
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            ports = {"closed": closed.getsockname()[1], "plain": plain.getsockname()[1]}
            found = visit(url.format(**ports))
        if "{plain}" not in url:
            socket.create_connection(plain.getsockname()).close()
        thread.join()

    assert not found.good
    assert words in found.words
    assert found.ends_at is None


def _speak_plainly(listening: socket.socket) -> None:
    line, _ = listening.accept()
    with line:
        line.recv(100)
        line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
