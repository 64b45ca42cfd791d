"""What comes instead of Apple's certificates, files of any kind, and who may ask for it."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from enrollment import apple
from enrollment.apple import Published
from enrollment.models import AppleCertificate
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed
from tests.enrollment.apples_web import moved, serving
from tests.enrollment.scep_client import rsa_key, self_signed
from tests.enrollment.test_trust_apple import run

pytestmark = pytest.mark.django_db


@pytest.fixture
def roots(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Two roots that count as Apple's here, and a certificate below them."""
    names = ("First Root", "Second Root", "Below")
    ders = [self_signed(rsa_key(), name).public_bytes(Encoding.DER) for name in names]
    published = tuple(
        Published(name, path, hashlib.sha256(der).hexdigest(), root=bool(path))
        for name, path, der in zip(names, ("/first.cer", "/second.cer", ""), ders, strict=True)
    )
    monkeypatch.setattr(apple, "PUBLISHED", published)
    by_digest = {bytes.fromhex(each.sha256): each for each in published}
    monkeypatch.setattr(apple, "_ROOTS", {key for key, each in by_digest.items() if each.root})
    monkeypatch.setattr(apple, "_KNOWN", by_digest)
    return ders


def test_what_was_fine_before_something_went_wrong_is_kept(roots: list[bytes]) -> None:
    with serving({"/first.cer": roots[0]}) as base:
        said, complained, code = run("--from", f"{base}/")
    assert (said, code) == ("First Root: new\n", 1)
    assert "Second Root could not be fetched" in complained
    assert apple.missing() == ["Second Root"]

    with serving({"/first.cer": roots[0], "/second.cer": roots[1]}) as base:
        said, _, code = run("--from", base)
    assert (said, code) == ("First Root: known already\nSecond Root: new\n", 0)
    assert apple.missing() == []


def test_a_file_is_known_the_second_time_and_audited_once(
    roots: list[bytes], tmp_path: Path
) -> None:
    pem = tmp_path / "first.pem"
    pem.write_bytes(x509.load_der_x509_certificate(roots[0]).public_bytes(Encoding.PEM))
    assert run(str(pem)) == ("first.pem: accepted\n", "", 0)
    assert run(str(pem)) == ("first.pem: known already\n", "", 0)

    [event] = AuditEvent.objects.filter(action="apple.trust")
    assert (event.actor_name, event.subject_id) == (
        "trust_apple",
        hashlib.sha256(roots[0]).hexdigest(),
    )
    assert event.after == {"name": "First Root"}


def test_several_files_are_taken_until_one_is_none(roots: list[bytes], tmp_path: Path) -> None:
    files = {"1.cer": roots[0], "2.cer": b"", "3.cer": roots[1]}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    said, complained, code = run(*(str(tmp_path / name) for name in files))
    assert (said, code) == ("1.cer: accepted\n", 1)
    assert "no certificate" in complained
    assert AppleCertificate.objects.count() == 1


def test_what_is_known_and_no_root_helps_a_chain_and_ends_none(roots: list[bytes]) -> None:
    assert apple.keep(Actor.system("tests"), roots[2])
    trusted = apple.trust()
    assert (len(trusted.roots), len(trusted.intermediates)) == (0, 1)
    assert not apple.ready()


def test_a_certificate_of_no_version_there_is_is_none(roots: list[bytes], tmp_path: Path) -> None:
    odd = asn1.Certificate.load(roots[0])
    odd["tbs_certificate"]["version"] = 4
    path = tmp_path / "odd.cer"
    path.write_bytes(odd.dump(force=True))
    said, complained, code = run(str(path))
    assert (said, code) == ("", 1)
    assert "no certificate" in complained


@pytest.mark.parametrize("base", ["http://127.0.0.1:999999", "apple.com", "http://[", ""])
def test_an_address_that_is_none_is_said_in_a_sentence(roots: list[bytes], base: str) -> None:
    said, complained, code = run("--from", base)
    assert (said, code) == ("", 1)
    assert "First Root could not be fetched" in complained


def test_a_redirect_is_not_followed(roots: list[bytes]) -> None:
    with serving({"/first.cer": roots[0], "/second.cer": roots[1]}) as base, moved(base) as away:
        said, complained, code = run("--from", away)
    assert (said, code) == ("", 1)
    assert "could not be fetched" in complained


def test_a_server_that_breaks_off_is_said_too(roots: list[bytes]) -> None:
    with breaking_off() as base:
        _, complained, code = run("--from", base)
    assert code == 1
    assert "could not be fetched" in complained
    assert not AppleCertificate.objects.exists()


def test_whoever_is_switched_off_has_nothing_fetched_nor_kept(roots: list[bytes]) -> None:
    former = Actor(kind=Actor.system("").kind, id="1", name="Former", active=False)
    with serving({}) as base, pytest.raises(NotAllowed):
        apple.fetch(former, base=base)
    with pytest.raises(NotAllowed):
        apple.keep(former, roots[0])
    assert not AppleCertificate.objects.exists()


@contextmanager
def breaking_off() -> Iterator[str]:
    """A server that promises more than it sends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            near, _ = listening.accept()
            with near:
                near.recv(4096)
                near.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nfew")

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()
