"""strongSwan's own SCEP client against our server, over a real socket."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from enrollment import challenges
from enrollment.models import EnrollmentLink
from enrollment.wire.authority import Authority
from mdm.models import Device, Enrollment, Identity
from mdm.protocol.binding import Binding, Purpose
from tests.enrollment.scep_client import rsa_key
from tests.enrollment.server import served

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(shutil.which("pki") is None, reason="strongswan-pki is not installed"),
]

# pki takes AES only from a server that offers SHA-384, which RFC 8894 has no word for, and needs
# 3DES to be offered before it uses that.
AES = b"POSTPKIOperation\nSHA-256\nSHA-384\nAES\nRenewal\nSCEPStandard\n"
DES3 = b"POSTPKIOperation\nSHA-256\nAES\nDES3\nRenewal\nSCEPStandard\n"


@pytest.fixture
def folder(ca: Authority, tmp_path: Path) -> Path:
    (tmp_path / "ca.der").write_bytes(ca.certificate.public_bytes(Encoding.DER))
    for name in ("old", "new"):
        (tmp_path / f"{name}.der").write_bytes(
            rsa_key(name).private_bytes(
                Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()
            )
        )
    return tmp_path


def pki(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["pki", *arguments], cwd=folder, capture_output=True, timeout=60)


def enroll(
    folder: Path, url: str, *arguments: str, key: str = "old"
) -> subprocess.CompletedProcess[bytes]:
    trust = ["--cacert-enc", "ca.der", "--cacert-sig", "ca.der"]
    return pki(
        folder,
        *("--scep", "--url", f"{url}/scep", "--in", f"{key}.der", "--dn", "CN=Some Mac, O=Any"),
        *trust,
        *arguments,
    )


def certificate_of(result: subprocess.CompletedProcess[bytes]) -> x509.Certificate:
    assert result.returncode == 0, result.stderr.decode()
    return x509.load_der_x509_certificate(result.stdout)


def test_it_fetches_the_ca_certificate(folder: Path, ca: Authority) -> None:
    with served() as url:
        result = pki(folder, "--scepca", "--url", f"{url}/scep", "--caout", "found.der")
    assert result.returncode == 0, result.stderr.decode()
    assert (folder / "found.der").read_bytes() == ca.certificate.public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("cipher", "capabilities"), [("des3", DES3), ("aes", AES)], ids=["3DES", "AES"]
)
def test_it_gets_a_certificate_for_its_challenge(
    folder: Path, link: EnrollmentLink, cipher: str, capabilities: bytes
) -> None:
    secret = challenges.for_link(link)
    with served(capabilities) as url:
        result = enroll(folder, url, "--password", secret, "--cipher", cipher)
    certificate = certificate_of(result)
    assert certificate.public_key() == rsa_key("old").public_key()
    assert Binding.from_certificate(certificate).way == "link"


def test_it_is_told_that_its_challenge_is_wrong(folder: Path, link: EnrollmentLink) -> None:
    with served(DES3) as url:
        result = enroll(folder, url, "--password", "guessed", "--cipher", "des3")
    assert result.returncode != 0
    assert b"badRequest" in result.stderr + result.stdout
    assert not Identity.objects.exists()


def test_it_renews_the_identity_of_an_enrollment(folder: Path, link: EnrollmentLink) -> None:
    secret = challenges.for_link(link)
    with served(DES3) as url:
        first = certificate_of(enroll(folder, url, "--password", secret, "--cipher", "des3"))
        (folder / "first.der").write_bytes(first.public_bytes(Encoding.DER))
        Enrollment.objects.create(
            key="udid-1",
            device=Device.objects.create(serial_number="C02XX1234"),
            kind=Enrollment.Kind.DEVICE,
            channel=Enrollment.Channel.DEVICE,
            device_identifier="UDID-1",
            state=Enrollment.State.ENROLLED,
            identity_sha256=bytes(Identity.objects.get().sha256),
        )
        old = ["--cert", "first.der", "--key", "old.der", "--cipher", "des3"]
        second = certificate_of(enroll(folder, url, *old, key="new"))
    assert second.public_key() == rsa_key("new").public_key()
    assert Binding.from_certificate(second).purpose is Purpose.RENEWAL
