"""Mdm-Signature: what is accepted, and everything that must not be."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

import pytest
from asn1crypto import cms as asn1_cms
from asn1crypto import core
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mdm.protocol.certificate import CERTIFICATE_LENGTH
from mdm.protocol.errors import BadSignature, ProtocolError
from mdm.protocol.signature import HEADER_LENGTH, SignerCertificate, verify_mdm_signature
from tests.mdm.protocol import cms

BODY = b"<plist><dict><key>Status</key><string>Idle</string></dict></plist>"


def refused(encoded: bytes, body: bytes = BODY) -> str:
    with pytest.raises(BadSignature) as caught:
        verify_mdm_signature(cms.header(encoded), body)
    return caught.value.reason


def accepted(encoded: bytes, body: bytes = BODY) -> SignerCertificate:
    return verify_mdm_signature(cms.header(encoded), body)


def test_a_signature_as_cryptography_makes_it_names_the_signer() -> None:
    signer = cms.rsa_identity()
    encoded = (
        pkcs7.PKCS7SignatureBuilder()
        .set_data(BODY)
        .add_signer(signer.certificate, signer.key, hashes.SHA256())
        .sign(
            Encoding.DER,
            [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary],
        )
    )
    certificate = accepted(encoded)
    assert certificate.der == signer.der
    assert certificate.sha256 == signer.certificate.fingerprint(hashes.SHA256())


@pytest.mark.parametrize("arguments", [["-md", "sha1"], ["-md", "sha256", "-keyid"], ["-noattr"]])
def test_a_signature_as_openssl_makes_it_is_accepted(tmp_path: Path, arguments: list[str]) -> None:
    signer = cms.rsa_identity()
    pem = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "cert.pem").write_bytes(signer.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "body").write_bytes(BODY)
    command = ["openssl", "cms", "-sign", "-binary", "-outform", "DER", "-in", "body"]
    command += ["-signer", "cert.pem", "-inkey", "key.pem", *arguments]
    made = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert accepted(made.stdout).der == signer.der


@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("make", [cms.rsa_identity, cms.ec_identity])
@pytest.mark.parametrize("attributes", [True, False])
def test_each_digest_and_kind_of_key_is_accepted(make, digest: str, attributes: bool) -> None:
    signer = make()
    encoded = cms.sign(BODY, signer, digest=digest, attributes=attributes)
    assert accepted(encoded).der == signer.der


def test_the_signer_may_be_named_by_its_key_identifier() -> None:
    signer, other = cms.rsa_identity(), cms.rsa_identity("other")
    encoded = cms.sign(BODY, signer, by_key_identifier=True, certificates=[other.der, signer.der])
    assert accepted(encoded).der == signer.der


def test_the_signer_is_picked_among_its_chain() -> None:
    signer, other = cms.rsa_identity(), cms.rsa_identity("other")
    encoded = cms.sign(BODY, signer, certificates=[other.der, signer.der])
    assert accepted(encoded).der == signer.der


def test_the_same_certificate_twice_is_one_certificate() -> None:
    signer = cms.rsa_identity()
    encoded = cms.sign(BODY, signer, certificates=[signer.der, signer.der])
    assert accepted(encoded).der == signer.der


def with_indefinite_lengths(encoded: bytes, content_type: bytes) -> bytes:
    """The message with its outer structure rewritten as BER."""
    signed = asn1_cms.ContentInfo.load(encoded)["content"]
    parts = b"".join(signed[name].dump() for name in ("version", "digest_algorithms"))
    parts += b"\x30\x80" + content_type + b"\0\0"
    parts += b"\xa0\x80" + signed["certificates"].contents + b"\0\0"
    parts += b"\x31\x80" + signed["signer_infos"][0].dump() + b"\0\0"
    signed_data = core.ObjectIdentifier("1.2.840.113549.1.7.2").dump()
    return b"\x30\x80" + signed_data + b"\xa0\x80\x30\x80" + parts + b"\0\0" * 3


def test_indefinite_lengths_round_the_signer_are_understood() -> None:
    signer = cms.rsa_identity()
    data = core.ObjectIdentifier("1.2.840.113549.1.7.1").dump()
    assert accepted(with_indefinite_lengths(cms.sign(BODY, signer), data)).der == signer.der


def test_a_content_type_without_end_is_refused() -> None:
    endless = b"\x06\x82\x01\x00" + b"\x2a" * 256
    encoded = with_indefinite_lengths(cms.sign(BODY, cms.rsa_identity()), endless)
    assert refused(encoded) == "malformed"


def test_a_certificate_of_many_kilobytes_is_refused() -> None:
    signer = cms.identity(cms.rsa_identity().key, padding_bytes=CERTIFICATE_LENGTH)
    assert refused(cms.sign(BODY, signer)) == "malformed"


def test_a_certificate_long_expired_still_signs() -> None:
    signer = cms.rsa_identity()
    assert signer.certificate.not_valid_after_utc.year == 2002
    assert accepted(cms.sign(BODY, signer)).der == signer.der


def test_white_space_in_the_header_is_ignored() -> None:
    signer = cms.rsa_identity()
    text = cms.header(cms.sign(BODY, signer))
    assert verify_mdm_signature(f" {text[:76]} {text[76:]} ", BODY).der == signer.der


@pytest.mark.parametrize("attributes", [True, False])
def test_a_signature_over_another_body_is_refused(attributes: bool) -> None:
    encoded = cms.sign(BODY, cms.rsa_identity(), attributes=attributes)
    assert refused(encoded, BODY + b" ") == ("digest" if attributes else "not-signed")


def test_a_digest_that_the_key_did_not_sign_is_refused() -> None:
    signer = cms.rsa_identity()
    encoded = cms.sign(b"another body", signer)
    forged = encoded.replace(
        hashlib.sha256(b"another body").digest(), hashlib.sha256(BODY).digest()
    )
    assert refused(forged) == "not-signed"


def test_anothers_certificate_under_the_signers_name_is_refused() -> None:
    victim, attacker = cms.rsa_identity(), cms.rsa_identity("attacker")
    info = cms.signer_info(BODY, attacker)
    info["sid"] = cms.signer_info(BODY, victim)["sid"]
    assert refused(cms.envelope([info], [victim.der])) == "not-signed"


def test_signed_attributes_cannot_be_passed_off_as_a_body() -> None:
    signer = cms.rsa_identity()
    attributes = b"\x31" + cms.signer_info(BODY, signer)["signed_attrs"].dump()[1:]
    info = cms.signer_info(attributes, signer, attributes=False)
    assert refused(cms.envelope([info], [signer.der]), attributes) == "digest"


def test_two_signers_are_refused() -> None:
    encoded = cms.sign(BODY, cms.rsa_identity(), cms.rsa_identity("other"))
    assert refused(encoded) == "several-signers"


def test_no_signer_is_refused() -> None:
    assert refused(cms.envelope([], [cms.rsa_identity().der])) == "malformed"


def test_content_of_its_own_is_refused() -> None:
    assert refused(cms.sign(BODY, cms.rsa_identity(), content=BODY)) == "not-detached"


def test_a_missing_certificate_is_refused() -> None:
    encoded = cms.sign(BODY, cms.rsa_identity(), certificates=[cms.rsa_identity("other").der])
    assert refused(encoded) == "no-certificate"
    assert refused(cms.sign(BODY, cms.rsa_identity(), certificates=[])) == "no-certificate"


def test_another_content_type_in_the_attributes_is_refused() -> None:
    encoded = cms.sign(BODY, cms.rsa_identity(), content_type="signed_data")
    assert refused(encoded) == "content-type"


def test_two_digests_in_the_attributes_are_refused() -> None:
    second = asn1_cms.CMSAttribute(
        {"type": "message_digest", "values": [core.OctetString(b"\0" * 32)]}
    )
    assert refused(cms.sign(BODY, cms.rsa_identity(), extra=[second])) == "digest"


def test_md5_is_refused() -> None:
    encoded = cms.sign(BODY, cms.rsa_identity(), named_digest="md5")
    assert refused(encoded) == "algorithm"


def test_an_algorithm_that_names_another_digest_is_refused() -> None:
    encoded = cms.sign(BODY, cms.rsa_identity(), algorithm="sha1_rsa")
    assert refused(encoded) == "algorithm"


def test_pss_is_refused() -> None:
    assert refused(cms.sign(BODY, cms.rsa_identity(), algorithm="rsassa_pss")) == "algorithm"


def test_a_key_of_another_family_than_the_algorithm_is_refused() -> None:
    assert refused(cms.sign(BODY, cms.rsa_identity(), algorithm="sha256_ecdsa")) == "key"


@pytest.mark.parametrize("modulus", [2**1022 + 1, 2**4096 + 1])
def test_a_key_too_weak_or_too_large_is_refused(modulus: int) -> None:
    signer = cms.rsa_identity()
    forged = cms.replace_public_key(signer.der, cms.spki(rsa.RSAPublicNumbers(e=65537, n=modulus)))
    info = cms.signer_info(BODY, signer)
    assert refused(cms.envelope([info], [forged])) == "key"


def test_a_curve_nobody_asked_for_is_refused() -> None:
    assert refused(cms.sign(BODY, cms.ec_identity(curve="secp256k1"))) == "key"


def test_a_key_that_is_costly_to_verify_is_refused() -> None:
    public = rsa.RSAPublicNumbers(e=2**2000 + 1, n=2**2047 + 1)
    signer = cms.rsa_identity()
    forged = cms.replace_public_key(signer.der, cms.spki(public))
    info = cms.signer_info(BODY, signer)
    assert refused(cms.envelope([info], [forged])) == "key"


def test_a_header_that_is_not_base64_is_refused() -> None:
    for text in ("", "!", "AAA", "AA==AA==", "=", "é", "\0", "A" * 5):
        with pytest.raises(BadSignature):
            verify_mdm_signature(text, BODY)


def test_an_oversize_header_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(BadSignature) as caught:
        verify_mdm_signature("!" * (HEADER_LENGTH + 1), BODY)
    assert caught.value.reason == "too-large"


def test_bytes_after_the_message_are_refused() -> None:
    assert refused(cms.sign(BODY, cms.rsa_identity()) + b"\0") == "malformed"


def test_every_truncation_is_refused() -> None:
    encoded = cms.sign(BODY, cms.rsa_identity())
    for length in range(len(encoded)):
        refused(encoded[:length])


def test_another_cms_type_is_refused() -> None:
    encoded = asn1_cms.ContentInfo({"content_type": "data", "content": b"x"}).dump()
    assert refused(encoded) == "not-signed-data"


def test_a_thousand_certificates_are_refused() -> None:
    signer = cms.rsa_identity()
    encoded = cms.sign(BODY, signer, certificates=[signer.der] * 17)
    assert refused(encoded) == "malformed"


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_cleanly(data: bytes) -> None:
    refused(data)


@given(st.text(max_size=400))
def test_arbitrary_text_is_refused_cleanly(text: str) -> None:
    with pytest.raises(ProtocolError):
        verify_mdm_signature(text, BODY)


@cache
def signatures() -> list[bytes]:
    return [
        cms.sign(BODY, make(), attributes=attributes, by_key_identifier=by_key)
        for make in (cms.rsa_identity, cms.ec_identity)
        for attributes in (True, False)
        for by_key in (True, False)
    ]


@st.composite
def mutated_signatures(draw: st.DrawFn) -> bytes:
    encoded = bytearray(signatures()[draw(st.integers(0, 7))])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, 2**16)) % len(encoded)
        how = draw(st.sampled_from(["set", "flip", "cut", "insert"]))
        if how == "set":
            encoded[at] = draw(st.sampled_from([0, 1, 0x30, 0x31, 0x80, 0x84, 0xA0, 0xFF]))
        elif how == "flip":
            encoded[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del encoded[at : at + draw(st.integers(1, 40))]
        else:
            encoded[at:at] = draw(st.binary(min_size=1, max_size=6))
        if not encoded:
            break
    return bytes(encoded)


@settings(max_examples=400)
@given(mutated_signatures())
def test_what_is_accepted_asn1crypto_accepts_too(encoded: bytes) -> None:
    try:
        certificate = accepted(encoded)
    except BadSignature:
        return
    assert certificate.der in cms.reference_verifies(encoded, BODY)
