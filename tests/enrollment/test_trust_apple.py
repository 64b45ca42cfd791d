"""`manage.py trust_apple`: Apple's certificates are accepted by their fingerprint alone."""

from __future__ import annotations

import hashlib
from io import StringIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from django.core.management import call_command

from enrollment import apple
from enrollment.apple import Published
from enrollment.models import AppleCertificate
from mdm.audit.models import AuditEvent
from tests.enrollment import factory
from tests.enrollment.apples_web import serving
from tests.enrollment.scep_client import rsa_key, self_signed

pytestmark = pytest.mark.django_db

_CHAIN = Path(__file__).parents[3] / "shared/fixtures/ade/apple-iphone-device-ca-chain.pem"


@pytest.fixture
def der(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A root that counts as Apple's here, and is the only one."""
    found = self_signed(rsa_key(), "Apple Root").public_bytes(Encoding.DER)
    digest = hashlib.sha256(found)
    published = Published("Apple Root", "/root.cer", digest.hexdigest(), root=True)
    monkeypatch.setattr(apple, "PUBLISHED", (published,))
    monkeypatch.setattr(apple, "_ROOTS", {digest.digest()})
    monkeypatch.setattr(apple, "_KNOWN", {digest.digest(): published})
    return found


def run(*arguments: str) -> tuple[str, str, int]:
    """What the command said, what it complained of, and its exit code."""
    out, err = StringIO(), StringIO()
    try:
        call_command("trust_apple", *arguments, stdout=out, stderr=err)
    except SystemExit as end:
        return out.getvalue(), err.getvalue(), int(end.code or 0)
    return out.getvalue(), err.getvalue(), 0


def test_a_certificate_with_the_right_fingerprint_is_fetched_and_trusted(der: bytes) -> None:
    assert not apple.ready()
    with serving({"/root.cer": der}) as base:
        assert run("--from", base) == ("Apple Root: new\n", "", 0)
        assert run("--from", base) == ("Apple Root: known already\n", "", 0)
    [root] = apple.trust().roots
    assert root.public_bytes(Encoding.DER) == der
    assert apple.missing() == []
    assert AuditEvent.objects.filter(action="apple.trust").count() == 1


def test_another_certificate_is_not_accepted_whatever_its_name_is(der: bytes) -> None:
    other = self_signed(rsa_key("b"), "Apple Root").public_bytes(Encoding.DER)
    with serving({"/root.cer": other}) as base:
        said, complained, code = run("--from", base)
    assert (said, code) == ("", 1)
    assert "none of the certificates that Apple publishes" in complained
    assert hashlib.sha256(other).hexdigest() in complained
    assert not AppleCertificate.objects.exists()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "could not be fetched"),
        ({"/root.cer": b"<html>"}, "This is no certificate"),
        ({"/root.cer": b"x" * 100_000}, "too large"),
    ],
)
def test_what_is_none_is_said_in_a_sentence(
    der: bytes, files: dict[str, bytes], words: str
) -> None:
    with serving(files) as base:
        _, complained, code = run("--from", base)
    assert code == 1
    assert words in complained
    assert not AppleCertificate.objects.exists()


def test_a_server_that_is_away_is_said_too(der: bytes) -> None:
    _, complained, code = run("--from", "http://127.0.0.1:9")
    assert code == 1
    assert "could not be fetched" in complained


def test_files_are_taken_where_apple_cannot_be_reached(der: bytes, tmp_path: Path) -> None:
    (tmp_path / "root.cer").write_bytes(der)
    assert run(str(tmp_path / "root.cer")) == ("root.cer: accepted\n", "", 0)
    (tmp_path / "other.pem").write_bytes(factory.root().read_bytes())
    assert run(str(tmp_path / "other.pem"))[2] == 1
    assert run(str(tmp_path / "none.cer"))[2] == 1


@pytest.mark.skipif(not _CHAIN.exists(), reason="the captured messages are not here")
def test_apples_own_root_is_known_by_its_fingerprint(tmp_path: Path) -> None:
    blocks = _CHAIN.read_text().strip().split("-----END CERTIFICATE-----")
    accepted = 0
    for number, block in enumerate(filter(str.strip, blocks)):
        path = tmp_path / f"{number}.pem"
        path.write_text(f"{block}-----END CERTIFICATE-----\n")
        accepted += run(str(path))[2] == 0
    assert accepted == 3
    trusted = apple.trust()
    assert (len(trusted.roots), len(trusted.intermediates)) == (1, 2)
    assert apple.ready()
