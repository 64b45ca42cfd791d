"""The certificates that GuardMDM makes, judged by OpenSSL and by their fields."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from enrollment.wire.authority import (
    Authority,
    WeakKey,
    check_key,
    create_authority,
    issue_identity,
    issue_server_certificate,
)
from mdm.protocol.binding import Binding, Purpose
from tests.enrollment.scep_client import rsa_key

NOW = datetime.now(UTC)
BINDING = Binding(Purpose.DEVICE, "link", "4711", serial_number="C02XX1234")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return create_authority("Test CA", NOW)


def verify(tmp_path: Path, authority: Authority, leaf: x509.Certificate, purpose: str) -> bool:
    (tmp_path / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "leaf.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.pem"]
    result = subprocess.run([*command, "leaf.pem"], cwd=tmp_path, capture_output=True)
    return result.returncode == 0


def test_the_authority_can_sign_certificates_and_receive_scep_requests(
    authority: Authority, tmp_path: Path
) -> None:
    usage = authority.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert usage.crl_sign
    assert usage.digital_signature
    assert usage.key_encipherment
    assert authority.key.key_size == 3072
    life = authority.certificate.not_valid_after_utc - authority.certificate.not_valid_before_utc
    assert life >= timedelta(days=3650)
    assert verify(tmp_path, authority, authority.certificate, "any")


def test_an_identity_is_for_clients_only_and_carries_its_binding(
    authority: Authority, tmp_path: Path
) -> None:
    identity = issue_identity(authority, rsa_key().public_key(), BINDING, NOW)
    usages = identity.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    constraints = identity.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    usage = identity.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_encipherment
    assert not usage.key_cert_sign
    assert Binding.from_certificate(identity) == BINDING
    assert identity.subject.rfc4514_string() == "CN=MDM Identity C02XX1234"
    assert verify(tmp_path, authority, identity, "sslclient")
    assert not verify(tmp_path, authority, identity, "sslserver")


def test_an_identity_lasts_as_long_as_asked(authority: Authority) -> None:
    key = rsa_key().public_key()
    identity = issue_identity(authority, key, BINDING, NOW, timedelta(days=365))
    assert identity.not_valid_after_utc - identity.not_valid_before_utc == timedelta(days=365)


def test_a_device_whose_clock_is_hours_behind_finds_its_identity_valid(
    authority: Authority,
) -> None:
    identity = issue_identity(authority, rsa_key().public_key(), BINDING, NOW)
    assert identity.not_valid_before_utc < NOW - timedelta(hours=23)


def test_a_long_reference_still_makes_a_subject_that_fits(authority: Authority) -> None:
    binding = Binding(Purpose.DEVICE, "link", "r" * 255)
    identity = issue_identity(authority, rsa_key().public_key(), binding, NOW)
    assert len(identity.subject.rfc4514_string()) <= 3 + 64


def test_no_two_identities_share_a_serial_number(authority: Authority) -> None:
    key = rsa_key().public_key()
    first, second = (issue_identity(authority, key, BINDING, NOW) for _ in range(2))
    assert first.serial_number != second.serial_number


def test_a_server_certificate_names_hosts_and_addresses_and_is_short_enough_for_apple(
    authority: Authority, tmp_path: Path
) -> None:
    hosts = ["mdm.example.com", "localhost", "127.0.0.1", "::1"]
    certificate = issue_server_certificate(authority, rsa_key().public_key(), hosts, NOW)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mdm.example.com", "localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1"), ip_address("::1")]
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert life <= timedelta(days=398)
    assert verify(tmp_path, authority, certificate, "sslserver")
    assert not verify(tmp_path, authority, certificate, "sslclient")


def test_a_server_certificate_for_no_host_is_refused(authority: Authority) -> None:
    with pytest.raises(ValueError, match="host"):
        issue_server_certificate(authority, rsa_key().public_key(), [], NOW)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_the_curves_of_apples_hardware_are_accepted(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve).public_key()
    assert check_key(key) is key


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024).public_key(),
        rsa.RSAPublicNumbers(2**40 + 1, rsa_key().public_key().public_numbers().n).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ec.generate_private_key(ec.SECP521R1()).public_key(),
        ed25519.Ed25519PrivateKey.generate().public_key(),
        dsa.generate_private_key(1024).public_key(),
    ],
    ids=["rsa1024", "slow", "secp256k1", "secp521r1", "ed25519", "dsa"],
)
def test_weak_and_unknown_keys_get_no_certificate(authority: Authority, key: object) -> None:
    with pytest.raises(WeakKey):
        issue_identity(authority, key, BINDING, NOW)  # type: ignore[arg-type]
