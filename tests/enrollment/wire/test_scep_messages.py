"""SCEP messages: good ones in every algorithm, captured ones, and hostile ones."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asn1crypto import cms, core
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs7,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from enrollment.wire import certrep, scep
from enrollment.wire.authority import Authority, create_authority, issue_identity
from enrollment.wire.envelope import Cipher, seal_envelope
from enrollment.wire.errors import (
    BadAlgorithm,
    BadMessageCheck,
    BadRequest,
    FailInfo,
    ScepError,
    Unreadable,
)
from mdm.protocol.binding import Binding, Purpose
from tests.enrollment.scep_client import (
    SCEP,
    Client,
    build_csr,
    rsa_key,
    self_signed,
    with_version,
)

NOW = datetime.now(UTC)
BINDING = Binding(Purpose.DEVICE, "link", "4711")
AUTHORITY = create_authority("Test CA", NOW)
CLIENT = Client(AUTHORITY.certificate, rsa_key(), build_csr(rsa_key(), "the-challenge"))
FIXTURES = Path(__file__).parents[3].parent / "shared" / "fixtures" / "scep"


def opened(client: Client) -> scep.Request:
    return scep.open_request(scep.read_message(client.message()), AUTHORITY)


@pytest.mark.parametrize("cipher", list(Cipher))
@pytest.mark.parametrize("digest", ["sha1", "sha256", "sha512"])
def test_a_request_is_answered_in_the_algorithms_it_came_in(cipher: Cipher, digest: str) -> None:
    client = CLIENT.but(cipher=cipher, digest=digest)
    message = scep.read_message(client.message())
    request = scep.open_request(message, AUTHORITY)
    assert request.challenge == "the-challenge"
    assert request.public_key == rsa_key().public_key()
    issued = issue_identity(AUTHORITY, request.public_key, BINDING, NOW)
    answer = client.read(certrep.success(AUTHORITY, message, request, issued))
    assert (answer.status, answer.certificate) == ("0", issued)
    assert (answer.cipher, answer.digest) == (cipher, digest)


@pytest.mark.parametrize("cipher", [Cipher.AES_128, Cipher.AES_256, Cipher.DES3])
def test_openssl_opens_the_envelopes_of_answers(cipher: Cipher, tmp_path: Path) -> None:
    envelope = seal_envelope(b"for the device", CLIENT.signer, cipher)
    info = cms.ContentInfo({"content_type": "enveloped_data", "content": envelope})
    (tmp_path / "key.pem").write_bytes(
        rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    result = subprocess.run(
        ["openssl", "cms", "-decrypt", "-inform", "DER", "-inkey", "key.pem"],
        input=info.dump(),
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert result.stdout == b"for the device"


def test_a_failure_tells_its_reason_and_holds_no_envelope() -> None:
    message = scep.read_message(CLIENT.message())
    answer = CLIENT.read(certrep.failure(AUTHORITY, message, FailInfo.BAD_REQUEST))
    assert (answer.status, answer.fail_info, answer.certificate) == ("2", "2", None)


def test_a_renewal_is_signed_with_the_old_key_and_asks_for_a_new_one() -> None:
    old = issue_identity(AUTHORITY, rsa_key("old").public_key(), BINDING, NOW)
    client = CLIENT.but(
        csr=build_csr(rsa_key("new")), signer=old, signer_key=rsa_key("old"), message_type="17"
    )
    message = scep.read_message(client.message())
    request = scep.open_request(message, AUTHORITY)
    assert request.message_type is scep.MessageType.RENEWAL_REQ
    assert (request.signer, request.challenge) == (old, None)
    assert request.public_key == rsa_key("new").public_key()
    issued = issue_identity(AUTHORITY, request.public_key, BINDING, NOW)
    assert client.read(certrep.success(AUTHORITY, message, request, issued)).certificate == issued


def test_nonces_of_other_lengths_are_echoed() -> None:
    client = CLIENT.but(nonce=b"8 bytes!")
    message = scep.read_message(client.message())
    client.read(certrep.failure(AUTHORITY, message, FailInfo.BAD_ALG))


def test_a_request_with_an_odd_version_number_is_read() -> None:
    assert opened(CLIENT.but(csr=with_version(CLIENT.csr, 2))).challenge == "the-challenge"


def written_as(client: Client, envelope: bytes, octets: bytes) -> bytes:
    """The client's message around `envelope`, in indefinite lengths, its content as `octets`."""
    der = client.but(content=envelope).message()
    whole, info = core.OctetString(envelope).dump(), cms.ContentInfo.load(der)
    after = der[der.index(whole) + len(whole) :]
    signed_data = info["content"]
    head = signed_data["version"].dump() + signed_data["digest_algorithms"].dump()
    content_type = signed_data["encap_content_info"]["content_type"].dump()
    end = b"\0\0"
    content = b"\x30\x80" + content_type + b"\xa0\x80" + octets + end * 2
    inside = b"\xa0\x80\x30\x80" + head + content + after + end * 2
    return b"\x30\x80" + info["content_type"].dump() + inside + end


def test_a_request_in_indefinite_lengths_is_read() -> None:
    """Some clients write BER, content in several pieces."""
    envelope = CLIENT._envelope()
    pieces = b"".join(core.OctetString(part).dump() for part in (envelope[:99], envelope[99:]))
    message = written_as(CLIENT, envelope, b"\x24\x80" + pieces + b"\0\0")
    request = scep.open_request(scep.read_message(message), AUTHORITY)
    assert request.challenge == "the-challenge"


@pytest.mark.parametrize(
    ("client", "error"),
    [
        (CLIENT.but(message_type="21"), BadRequest),
        (CLIENT.but(message_type="3"), BadRequest),
        (CLIENT.but(signer_key=rsa_key("other")), BadMessageCheck),
        (
            CLIENT.but(signer=self_signed(rsa_key("other")), signer_key=rsa_key("other")),
            BadMessageCheck,
        ),
        (CLIENT.but(ca=self_signed(rsa_key("other"))), BadRequest),
        (CLIENT.but(csr=b"no request at all"), BadMessageCheck),
        (CLIENT.but(content=b"no envelope"), BadRequest),
        (CLIENT.but(csr=build_csr(rsa_key(), "c" * 256)), BadRequest),
    ],
    ids=[
        "GetCert",
        "CertRep",
        "signed with another key",
        "signed by another than the request",
        "for another certificate",
        "no CSR",
        "no envelope",
        "endless challenge",
    ],
)
def test_a_bad_request_is_refused(client: Client, error: type[ScepError]) -> None:
    with pytest.raises(error):
        opened(client)


def test_a_message_whose_content_was_exchanged_is_refused() -> None:
    client = CLIENT.but(content=CLIENT._envelope())
    other = CLIENT._envelope()
    tampered = client.message().replace(client.content or b"", other)
    with pytest.raises(BadMessageCheck):
        scep.open_request(scep.read_message(tampered), AUTHORITY)


def test_a_csr_that_its_key_did_not_sign_is_refused() -> None:
    broken = CLIENT.csr[:-1] + bytes([CLIENT.csr[-1] ^ 1])
    with pytest.raises(BadMessageCheck):
        opened(CLIENT.but(csr=broken))


def test_a_weak_key_is_refused() -> None:
    key = rsa_key("weak", 1024)
    with pytest.raises(BadAlgorithm):
        opened(CLIENT.but(key=key, csr=build_csr(key, "c"), signer=self_signed(key)))


def test_an_envelope_with_an_initialization_vector_of_another_length_is_refused() -> None:
    envelope = seal_envelope(CLIENT.csr, AUTHORITY.certificate, Cipher.AES_128)
    algorithm = envelope["encrypted_content_info"]["content_encryption_algorithm"]
    algorithm["parameters"] = core.OctetString(b"short")
    info = cms.ContentInfo({"content_type": "enveloped_data", "content": envelope})
    with pytest.raises(BadRequest, match="initialization vector"):
        opened(CLIENT.but(content=info.dump(force=True)))


def test_an_elliptic_key_cannot_be_certified_by_scep() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    der = request.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    with pytest.raises(BadAlgorithm):
        opened(CLIENT.but(csr=der))


def test_a_wrong_content_key_and_wrong_padding_end_in_the_same_error() -> None:
    """Anyone can send envelopes: telling the two apart would be an oracle for the CA's key."""
    errors = set()
    for wrapped in (
        AUTHORITY.key.public_key().encrypt(b"k" * 16, PKCS1v15()),
        AUTHORITY.key.public_key().encrypt(b"short", PKCS1v15()),
        b"\x01" * 384,
    ):
        envelope = seal_envelope(CLIENT.csr, AUTHORITY.certificate, Cipher.AES_128)
        envelope["recipient_infos"][0].chosen["encrypted_key"] = wrapped
        info = cms.ContentInfo({"content_type": "enveloped_data", "content": envelope})
        with pytest.raises(ScepError) as caught:
            opened(CLIENT.but(content=info.dump(force=True)))
        errors.add((type(caught.value), str(caught.value)))
    assert errors == {(BadMessageCheck, "the envelope does not open")}


@pytest.mark.parametrize("oid", [SCEP + "2", SCEP + "5", SCEP + "7"])
def test_a_message_without_its_attributes_is_no_scep_message(oid: str) -> None:
    with pytest.raises(Unreadable):
        scep.read_message(CLIENT.but(leave_out=frozenset({oid})).message())


@pytest.mark.parametrize("oid", [SCEP + "7", "1.2.840.113549.1.9.4"])
def test_an_attribute_that_is_there_twice_is_refused(oid: str) -> None:
    with pytest.raises(Unreadable):
        scep.read_message(CLIENT.but(repeat=frozenset({oid})).message())


@pytest.mark.parametrize("transaction_id", ["", "t" * 256, "line\nbreak", "nul\0"])
def test_a_transaction_id_that_cannot_be_shown_is_refused(transaction_id: str) -> None:
    with pytest.raises(Unreadable):
        scep.read_message(CLIENT.but(transaction_id=transaction_id).message())


def test_a_message_larger_than_64_kilobytes_is_not_looked_at() -> None:
    with pytest.raises(Unreadable, match="64 kB"):
        scep.read_message(CLIENT.message() + bytes(scep.MAX_MESSAGE))


BOMBS = {
    "empty": b"",
    "nested indefinite lengths": b"\x30\x80" * 32_000,
    "nested sequences": b"\x30\x84\x7f\xff\xff\xff" * 10_000,
    "a length of 2 GB": b"\x30\x84\x7f\xff\xff\xff",
    "a plist": b"<?xml version='1.0'?><plist><dict/></plist>",
    "certificates only": pkcs7.serialize_certificates([CLIENT.signer], Encoding.DER),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_cleanly(bomb: bytes) -> None:
    with pytest.raises(Unreadable):
        scep.read_message(bomb)


def test_content_nested_without_end_is_refused_cleanly() -> None:
    """An OCTET STRING may be made of OCTET STRINGs, which may be made of OCTET STRINGs."""
    nested = b"\x04\x00"
    while len(nested) < 20_000:
        nested = b"\x24\x83" + len(nested).to_bytes(3, "big") + nested
    message = scep.read_message(written_as(CLIENT, CLIENT._envelope(), nested))
    with pytest.raises(BadRequest):
        scep.open_request(message, AUTHORITY)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_scep_errors(data: bytes) -> None:
    with pytest.raises(ScepError):
        scep.read_message(data)


GOOD = CLIENT.message()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_message_raises_nothing_but_scep_errors(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD) - 1))
    length = data.draw(st.integers(0, 8))
    damaged = GOOD[:at] + data.draw(st.binary(max_size=8)) + GOOD[at + length :]
    with suppress(ScepError):
        scep.open_request(scep.read_message(damaged), AUTHORITY)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_request_raises_nothing_but_scep_errors(data: st.DataObject) -> None:
    """The inside, which only a client that signs and encrypts properly can damage."""
    at = data.draw(st.integers(0, len(CLIENT.csr) - 1))
    damaged = CLIENT.csr[:at] + data.draw(st.binary(max_size=4)) + CLIENT.csr[at + 1 :]
    with suppress(ScepError):
        opened(CLIENT.but(csr=damaged))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_envelope_raises_nothing_but_scep_errors(data: st.DataObject) -> None:
    envelope = CLIENT._envelope()
    at = data.draw(st.integers(0, len(envelope) - 1))
    damaged = envelope[:at] + data.draw(st.binary(max_size=4)) + envelope[at + 1 :]
    with suppress(ScepError):
        opened(CLIENT.but(content=damaged))


@pytest.mark.skipif(not FIXTURES.exists(), reason="no captured messages beside the checkout")
def test_a_captured_request_is_verified_and_opened_and_its_weak_key_refused() -> None:
    key = load_pem_private_key(_decrypted((FIXTURES / "ca.key").read_bytes()), None)
    ca = x509.load_pem_x509_certificate((FIXTURES / "ca.pem").read_bytes())
    message = scep.read_message((FIXTURES / "PKCSReq.der").read_bytes())
    assert message.transaction_id == "A13090761A30F66664F85D37433D2065E1112BA1"
    assert message.sender_nonce.hex() == "ae7fe8816cc6bedd"
    with pytest.raises(BadAlgorithm, match="1024"):
        scep.open_request(message, Authority(ca, key))  # type: ignore[arg-type]


def _decrypted(pem: bytes) -> bytes:
    """The captured CA's key is encrypted with an empty password, which cryptography refuses."""
    command = ["openssl", "rsa", "-passin", "pass:"]
    return subprocess.run(command, input=pem, capture_output=True, check=True).stdout
