"""A SCEP client (RFC 8894) as devices have one; the server's side is the product's, and shares no
code with this."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from asn1crypto import cms as asn1_cms
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import (
    load_der_pkcs7_certificates,
)
from cryptography.x509.oid import AttributeOID, ObjectIdentifier

from lab import cms
from lab.errors import BadCms, ScepFailed

Ask = Callable[[str, str, bytes | None], Awaitable[bytes]]
"""method, URL, body → the body of the answer; raises LabError for anything but a 2xx."""

FAILURES = ("badAlg", "badMessageCheck", "badRequest", "badTime", "badCertId")
_BASE = "2.16.840.1.113733.1.9."
MESSAGE_TYPE, PKI_STATUS, FAIL_INFO = _BASE + "2", _BASE + "3", _BASE + "4"
SENDER_NONCE, RECIPIENT_NONCE, TRANSACTION_ID = _BASE + "5", _BASE + "6", _BASE + "7"
PKCS_REQ, RENEWAL_REQ, CERT_REP = "19", "17", "3"
_NAMES = {
    "CN": "2.5.4.3",
    "C": "2.5.4.6",
    "L": "2.5.4.7",
    "ST": "2.5.4.8",
    "O": "2.5.4.10",
    "OU": "2.5.4.11",
}
_AES128_CBC = "2.16.840.1.101.3.4.1.2"
_DES3_CBC = "1.2.840.113549.3.7"


@dataclass(frozen=True)
class ScepPayload:
    """The part of a com.apple.security.scep payload that a device acts on."""

    url: str
    challenge: str = ""
    subject: x509.Name = field(default_factory=lambda: x509.Name([]))
    key_size: int = 2048
    name: str = ""
    fingerprint: bytes = b""

    @classmethod
    def read(cls, content: dict[str, Any]) -> ScepPayload:
        """From the payload's PayloadContent."""
        return cls(
            url=content["URL"],
            challenge=content.get("Challenge", ""),
            subject=_subject(content.get("Subject", [])),
            key_size=content.get("Keysize", 1024),
            name=content.get("Name", ""),
            fingerprint=content.get("CAFingerprint", b""),
        )


@dataclass(frozen=True)
class Request:
    """A PKIOperation ready to send, and what its answer is checked against."""

    message: bytes
    transaction: str
    nonce: bytes
    recipient: cms.Signer
    key: rsa.RSAPrivateKey


async def request_identity(
    ask: Ask, payload: ScepPayload, key: rsa.RSAPrivateKey
) -> x509.Certificate:
    """Run the whole transaction; returns the issued certificate. Raises ScepFailed."""
    caps = (await ask("GET", _url(payload.url, "GetCACaps"), None)).decode("ascii", "replace")
    words = set(caps.split())
    authority = read_authority(await ask("GET", _url(payload.url, "GetCACert", payload.name), None))
    check_fingerprint(authority, payload.fingerprint)
    request = build_request(
        payload,
        key,
        authority,
        cipher="aes" if words & {"AES", "SCEPStandard"} else "des3",
        digest="sha256" if words & {"SHA-256", "SCEPStandard"} else "sha1",
    )
    if words & {"POSTPKIOperation", "SCEPStandard"}:
        answer = await ask("POST", _url(payload.url, "PKIOperation"), request.message)
    else:
        encoded = base64.b64encode(request.message).decode("ascii")
        answer = await ask("GET", _url(payload.url, "PKIOperation", encoded), None)
    return read_answer(answer, request, authority)


def read_authority(body: bytes) -> x509.Certificate:
    """The certificate to encrypt to, from the answer to GetCACert (DER or certs-only PKCS #7)."""
    try:
        return x509.load_der_x509_certificate(body)
    except ValueError:
        pass
    try:
        certificates = load_der_pkcs7_certificates(body)
    except ValueError as error:
        raise ScepFailed("GetCACert answered with no certificate.") from error
    for certificate in certificates:
        if isinstance(certificate.public_key(), rsa.RSAPublicKey):
            return certificate
    raise ScepFailed("GetCACert gave no certificate that can be encrypted to.")


def check_fingerprint(authority: x509.Certificate, expected: bytes) -> None:
    """A device that was given CAFingerprint talks to no other CA. Raises ScepFailed."""
    if not expected:
        return
    algorithm = {16: "md5", 20: "sha1", 32: "sha256"}.get(len(expected))
    der = authority.public_bytes(Encoding.DER)
    if algorithm is None or hashlib.new(algorithm, der).digest() != expected:
        raise ScepFailed("The CA's certificate does not have the fingerprint from the profile.")


def build_request(
    payload: ScepPayload,
    key: rsa.RSAPrivateKey,
    authority: x509.Certificate,
    *,
    cipher: str = "aes",
    digest: str = "sha256",
    signer: cms.Signer | None = None,
    transaction: str | None = None,
) -> Request:
    """A PKCSReq, or a RenewalReq where `signer` holds the certificate to renew."""
    csr = _signing_request(payload, key)
    recipient = signer or cms.Signer(_self_signed(payload.subject, key), key, digest)
    transaction = transaction or _fingerprint(key)
    nonce = os.urandom(16)
    attributes = [
        cms.attribute(MESSAGE_TYPE, _printable(RENEWAL_REQ if signer else PKCS_REQ)),
        cms.attribute(TRANSACTION_ID, _printable(transaction)),
        cms.attribute(SENDER_NONCE, cms.tlv(0x04, nonce)),
    ]
    envelope = seal(csr.public_bytes(Encoding.DER), authority, cipher)
    message = cms.sign(envelope, recipient, detached=False, attributes=attributes)
    return Request(message, transaction, nonce, recipient, key)


def read_answer(answer: bytes, request: Request, authority: x509.Certificate) -> x509.Certificate:
    """The certificate in a CertRep. Raises ScepFailed for a refusal and for a message that is not
    the answer to `request`."""
    try:
        reply = cms.verify(answer)
    except BadCms as error:
        raise ScepFailed(f"The SCEP server's answer is not usable: {error}") from error
    _check_reply(reply, request, authority)
    try:
        inner = open_envelope(reply.content, request.recipient.key)
        certificates = load_der_pkcs7_certificates(inner)
    except (ValueError, BadCms) as error:
        raise ScepFailed("The issued certificate could not be decrypted.") from error
    for certificate in certificates:
        if certificate.public_key() == request.key.public_key():
            return certificate
    raise ScepFailed("The SCEP answer holds no certificate for this device's key.")


def seal(content: bytes, recipient: x509.Certificate, cipher: str) -> bytes:
    """EnvelopedData for `recipient`; `cipher` is "aes" (AES-128-CBC) or "des3"."""
    secret = os.urandom(16 if cipher == "aes" else 24)
    algorithm = AES(secret) if cipher == "aes" else TripleDES(secret)
    iv = os.urandom(algorithm.block_size // 8)
    padder = PKCS7(algorithm.block_size).padder()
    encryptor = Cipher(algorithm, modes.CBC(iv)).encryptor()
    encrypted = encryptor.update(padder.update(content) + padder.finalize()) + encryptor.finalize()
    public = recipient.public_key()
    if not isinstance(public, rsa.RSAPublicKey):
        raise ScepFailed("The CA's key is not RSA, so nothing can be encrypted to it.")
    serial = core.Integer(recipient.serial_number).dump()
    recipient_info = cms.tlv(
        0x30,
        b"\x02\x01\x00",
        cms.tlv(0x30, recipient.issuer.public_bytes(), serial),
        cms.tlv(0x30, cms.oid("1.2.840.113549.1.1.1"), b"\x05\x00"),
        cms.tlv(0x04, public.encrypt(secret, padding.PKCS1v15())),
    )
    name = _AES128_CBC if cipher == "aes" else _DES3_CBC
    body = cms.tlv(
        0x30,
        cms.oid(cms.DATA),
        cms.tlv(0x30, cms.oid(name), cms.tlv(0x04, iv)),
        cms.tlv(0x80, encrypted),
    )
    data = cms.tlv(0x30, b"\x02\x01\x00", cms.tlv(0x31, recipient_info), body)
    return cms.tlv(0x30, cms.oid("1.2.840.113549.1.7.3"), cms.tlv(0xA0, data))


def open_envelope(message: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """The content of an EnvelopedData for `key`. Raises BadCms."""
    try:
        data = asn1_cms.ContentInfo.load(message, strict=True)["content"]
        wrapped = data["recipient_infos"][0].chosen["encrypted_key"].native
        secret = key.decrypt(wrapped, padding.PKCS1v15())
        encrypted = data["encrypted_content_info"]
        algorithm = encrypted["content_encryption_algorithm"]
        name = algorithm["algorithm"].native
        if not name.startswith("aes") and name != "tripledes_3key":
            raise ValueError(f"cipher {name}")
        block = AES(secret) if name.startswith("aes") else TripleDES(secret)
        iv = algorithm["parameters"].native
        decryptor = Cipher(block, modes.CBC(iv)).decryptor()
        padded = decryptor.update(encrypted["encrypted_content"].native) + decryptor.finalize()
        unpadder = PKCS7(block.block_size).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BadCms(f"An enveloped message could not be opened: {error}.") from error


def _check_reply(reply: cms.Verified, request: Request, authority: x509.Certificate) -> None:
    if reply.signer.public_key() != authority.public_key():
        raise ScepFailed("The SCEP answer is signed by somebody other than the CA.")
    attributes = reply.attributes
    if attributes.get(MESSAGE_TYPE) != CERT_REP:
        raise ScepFailed("The SCEP answer is no CertRep.")
    if attributes.get(TRANSACTION_ID) != request.transaction:
        raise ScepFailed("The SCEP answer belongs to another transaction.")
    if attributes.get(RECIPIENT_NONCE) != request.nonce:
        raise ScepFailed("The SCEP answer is to another request.")
    status = attributes.get(PKI_STATUS)
    if status == "0":
        return
    info = str(attributes.get(FAIL_INFO, ""))
    reason = FAILURES[int(info)] if info.isdigit() and int(info) < len(FAILURES) else info
    raise ScepFailed(f"The SCEP server refused (status {status}, {reason or 'no reason given'}).")


def _signing_request(
    payload: ScepPayload, key: rsa.RSAPrivateKey
) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(payload.subject)
    if payload.challenge:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, payload.challenge.encode())
    return builder.sign(key, hashes.SHA256())


def _self_signed(subject: x509.Name, key: rsa.RSAPrivateKey) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


def _subject(rows: list[Any]) -> x509.Name:
    attributes = [
        x509.NameAttribute(ObjectIdentifier(_NAMES.get(name, name)), value)
        for row in rows
        for name, value in row
    ]
    return x509.Name(attributes)


def _url(base: str, operation: str, message: str = "") -> str:
    joint = "&" if "?" in base else "?"
    suffix = f"&message={quote(message, safe='')}" if message else ""
    return f"{base}{joint}operation={operation}{suffix}"


def _printable(text: str) -> bytes:
    return cms.tlv(0x13, text.encode("ascii"))


def _fingerprint(key: rsa.RSAPrivateKey) -> str:
    numbers = key.public_key().public_numbers()
    return hashlib.sha256(str(numbers.n).encode()).hexdigest().upper()
