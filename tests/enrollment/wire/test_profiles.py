"""The enrollment profile as a device would read it."""

from __future__ import annotations

import plistlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from enrollment.wire.authority import Authority, create_authority, issue_identity
from enrollment.wire.profile import EnrollmentProfile, profile_bytes, profile_plist, sign_profile
from mdm.protocol.binding import Binding, Purpose
from tests.enrollment.scep_client import rsa_key


@pytest.fixture(scope="module")
def authority() -> Authority:
    return create_authority("Test CA", datetime.now(UTC))


@pytest.fixture
def profile(authority: Authority) -> EnrollmentProfile:
    return EnrollmentProfile(
        organization="Example & Söhne <GmbH>",
        ca_certificate=authority.certificate,
        scep_url="https://mdm.example.com/scep",
        challenge="s3cret",
        topic="com.apple.mgmt.External.1234",
        server_url="https://mdm.example.com/mdm/connect",
        check_in_url="https://mdm.example.com/mdm/checkin",
    )


def payloads(profile: EnrollmentProfile) -> dict[str, dict[str, Any]]:
    content = plistlib.loads(profile_bytes(profile))["PayloadContent"]
    return {payload["PayloadType"]: payload for payload in content}


def test_the_profile_holds_what_enrollment_needs_and_nothing_more(
    profile: EnrollmentProfile,
) -> None:
    assert list(payloads(profile)) == [
        "com.apple.security.root",
        "com.apple.security.scep",
        "com.apple.mdm",
    ]


def test_the_mdm_payload_uses_the_identity_of_the_same_profile(
    profile: EnrollmentProfile,
) -> None:
    found = payloads(profile)
    mdm, scep = found["com.apple.mdm"], found["com.apple.security.scep"]
    assert mdm["IdentityCertificateUUID"] == scep["PayloadUUID"]
    assert mdm["Topic"] == "com.apple.mgmt.External.1234"
    assert mdm["ServerURL"] == "https://mdm.example.com/mdm/connect"
    assert mdm["CheckInURL"] == "https://mdm.example.com/mdm/checkin"
    assert mdm["SignMessage"] is True
    assert mdm["CheckOutWhenRemoved"] is True
    assert mdm["AccessRights"] == 8191
    assert mdm["ServerCapabilities"] == [
        "com.apple.mdm.per-user-connections",
        "com.apple.mdm.bootstraptoken",
    ]


def test_the_scep_payload_brings_its_challenge_and_a_key_that_signs_and_decrypts(
    profile: EnrollmentProfile,
) -> None:
    scep = payloads(profile)["com.apple.security.scep"]["PayloadContent"]
    assert scep["Challenge"] == "s3cret"
    assert scep["URL"] == "https://mdm.example.com/scep"
    assert (scep["Key Type"], scep["Keysize"], scep["Key Usage"]) == ("RSA", 2048, 5)


def test_the_root_payload_is_our_ca(profile: EnrollmentProfile, authority: Authority) -> None:
    root = payloads(profile)["com.apple.security.root"]
    assert root["PayloadContent"] == authority.certificate.public_bytes(Encoding.DER)


def test_a_second_profile_replaces_the_first_but_is_another(profile: EnrollmentProfile) -> None:
    first, second = profile_plist(profile), profile_plist(profile)
    assert first["PayloadIdentifier"] == second["PayloadIdentifier"]
    assert first["PayloadUUID"] != second["PayloadUUID"]


def test_every_payload_has_an_identifier_and_a_uuid_of_its_own(
    profile: EnrollmentProfile,
) -> None:
    content = list(payloads(profile).values())
    for key in ("PayloadIdentifier", "PayloadUUID"):
        assert len({payload[key] for payload in content}) == len(content)


@pytest.mark.parametrize("by_ca", [True, False])
def test_a_signed_profile_verifies_up_to_our_ca(
    profile: EnrollmentProfile, authority: Authority, tmp_path: Path, by_ca: bool
) -> None:
    data = profile_bytes(profile)
    certificate, key, chain = authority.certificate, authority.key, []
    if not by_ca:
        binding = Binding(Purpose.DEVICE, "link", "1")
        key, chain = rsa_key(), [authority.certificate]
        certificate = issue_identity(authority, key.public_key(), binding, datetime.now(UTC))
    signed = sign_profile(data, certificate, key, chain)
    (tmp_path / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    command = ["openssl", "cms", "-verify", "-inform", "DER", "-CAfile", "ca.pem"]
    result = subprocess.run(
        [*command, "-purpose", "any", "-binary"],
        input=signed,
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert result.stdout == data
