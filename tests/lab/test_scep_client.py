"""The devices' SCEP client against the product's wire formats, and against answers it must not
believe. Whole transactions over a socket are in `test_devices`."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from enrollment.wire import certrep, scep
from enrollment.wire.authority import Authority, create_authority, issue_identity
from enrollment.wire.errors import FailInfo
from lab import scep as client
from lab.cms import Signer
from lab.errors import BadCms, ScepFailed
from mdm.protocol.binding import Binding, Purpose
from tests.lab.loop import in_loop

URL = "https://mdm.example.com/scep?tenant=1"


@cache
def ca(name: str = "CA") -> Authority:
    return create_authority(name, datetime.now(UTC))


@cache
def key(name: str = "a") -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def payload(**changes: object) -> client.ScepPayload:
    content = {
        "URL": URL,
        "Challenge": "let me in",
        "Subject": [[["O", "Example"]], [["CN", "A device"]], [["2.5.4.5", "C02"]]],
        "Keysize": 2048,
        **changes,
    }
    return client.ScepPayload.read(content)


def issue(request: scep.Request) -> x509.Certificate:
    binding = Binding(purpose=Purpose.DEVICE, way="link", reference="test")
    return issue_identity(ca(), request.public_key, binding, datetime.now(UTC))


class Server:
    """Answers by the product's code; `caps` is what it claims to be able to."""

    def __init__(self, caps: str) -> None:
        self.caps = caps
        self.asked: list[tuple[str, str]] = []
        self.request: scep.Request | None = None

    async def ask(self, method: str, url: str, body: bytes | None) -> bytes:
        query = parse_qs(urlsplit(url).query)
        assert query["tenant"] == ["1"]
        (operation,) = query["operation"]
        self.asked.append((method, operation))
        if operation == "GetCACaps":
            return self.caps.encode()
        if operation == "GetCACert":
            return ca().certificate.public_bytes(Encoding.DER)
        message = scep.read_message(body or base64.b64decode(query["message"][0]))
        self.request = scep.open_request(message, ca())
        return certrep.success(ca(), message, self.request, issue(self.request))


@pytest.mark.parametrize(
    ("caps", "method", "cipher"),
    [
        ("SCEPStandard", "POST", "aes"),
        ("POSTPKIOperation\nAES\nSHA-256", "POST", "aes"),
        ("SHA-256", "GET", "des3"),
        ("", "GET", "des3"),
    ],
)
@in_loop
async def test_the_client_adapts_to_what_the_server_can_do(
    caps: str, method: str, cipher: str
) -> None:
    server = Server(caps)
    issued = await client.request_identity(server.ask, payload(), key())
    assert issued.public_key() == key().public_key()
    assert server.asked[-1] == (method, "PKIOperation")
    assert server.request is not None
    assert server.request.challenge == "let me in"
    assert ("aes" in str(server.request.cipher).lower()) == (cipher == "aes")


def test_the_subject_of_the_profile_is_asked_for() -> None:
    subject = payload().subject
    assert subject.rfc4514_string() == "2.5.4.5=C02,CN=A device,O=Example"


@pytest.mark.parametrize("algorithm", [hashes.MD5(), hashes.SHA1(), hashes.SHA256()])
def test_a_fingerprint_in_the_profile_admits_only_that_ca(algorithm: hashes.HashAlgorithm) -> None:
    client.check_fingerprint(ca().certificate, ca().certificate.fingerprint(algorithm))
    with pytest.raises(ScepFailed, match="fingerprint"):
        client.check_fingerprint(ca("other").certificate, ca().certificate.fingerprint(algorithm))


def test_the_encryption_certificate_is_found_in_a_certs_only_answer() -> None:
    body = pkcs7.serialize_certificates([ca().certificate], Encoding.DER)
    assert client.read_authority(body) == ca().certificate


@pytest.mark.parametrize("body", [b"", b"<html>", b"\x30\x03\x02\x01\x01"])
def test_an_answer_without_a_certificate_is_refused(body: bytes) -> None:
    with pytest.raises(ScepFailed):
        client.read_authority(body)


@pytest.mark.parametrize("digest", ["sha256", "sha1"])
@pytest.mark.parametrize("cipher", ["aes", "des3"])
def test_requests_of_every_kind_are_understood_and_answered(cipher: str, digest: str) -> None:
    request = client.build_request(payload(), key(), ca().certificate, cipher=cipher, digest=digest)
    message = scep.read_message(request.message)
    opened = scep.open_request(message, ca())
    answer = certrep.success(ca(), message, opened, issue(opened))
    issued = client.read_answer(answer, request, ca().certificate)
    assert issued.public_key() == key().public_key()


def test_a_renewal_is_signed_with_the_identity_to_renew() -> None:
    first = client.build_request(payload(), key(), ca().certificate)
    old = issue(scep.open_request(scep.read_message(first.message), ca()))
    renewal = client.build_request(payload(), key("b"), ca().certificate, signer=Signer(old, key()))
    message = scep.read_message(renewal.message)
    opened = scep.open_request(message, ca())
    assert (opened.message_type, opened.signer) == (scep.MessageType.RENEWAL_REQ, old)
    answer = certrep.success(ca(), message, opened, issue(opened))
    issued = client.read_answer(answer, renewal, ca().certificate)
    assert issued.public_key() == key("b").public_key()


def test_a_refusal_names_its_reason() -> None:
    request = client.build_request(payload(), key(), ca().certificate)
    answer = certrep.failure(ca(), scep.read_message(request.message), FailInfo.BAD_REQUEST)
    with pytest.raises(ScepFailed, match="badRequest"):
        client.read_answer(answer, request, ca().certificate)


def _answer_to(transaction: str | None, own: Authority) -> tuple[bytes, client.Request]:
    asked = client.build_request(payload(), key(), ca().certificate, transaction=transaction)
    message = scep.read_message(asked.message)
    opened = scep.open_request(message, ca())
    return certrep.success(own, message, opened, issue(opened)), asked


def _another_transaction() -> tuple[bytes, client.Request]:
    answer, _ = _answer_to("one", ca())
    return answer, _answer_to("two", ca())[1]


def _an_earlier_request() -> tuple[bytes, client.Request]:
    answer, _ = _answer_to("same", ca())
    return answer, _answer_to("same", ca())[1]


def _another_ca() -> tuple[bytes, client.Request]:
    return _answer_to(None, ca("other"))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_another_transaction, "another transaction"),
        (_an_earlier_request, "another request"),
        (_another_ca, "somebody other than the CA"),
    ],
)
def test_an_answer_that_is_not_to_this_request_is_not_believed(
    make: Callable[[], tuple[bytes, client.Request]], reason: str
) -> None:
    answer, request = make()
    with pytest.raises(ScepFailed, match=reason):
        client.read_answer(answer, request, ca().certificate)


def test_a_changed_answer_is_not_believed() -> None:
    answer, request = _answer_to(None, ca())
    changed = answer[:-1] + bytes([answer[-1] ^ 1])
    with pytest.raises(ScepFailed, match="not usable"):
        client.read_answer(changed, request, ca().certificate)


def test_an_envelope_for_somebody_else_does_not_open() -> None:
    sealed = client.seal(b"secret", ca().certificate, "aes")
    assert client.open_envelope(sealed, ca().key) == b"secret"
    with pytest.raises(BadCms):
        client.open_envelope(sealed[:-1], ca().key)
