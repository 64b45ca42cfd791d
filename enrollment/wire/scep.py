"""SCEP requests (RFC 8894), read and opened; answers are built in `enrollment.wire.certrep`.

`read_message` gives the outside, enough to answer to; `open_request` verifies and decrypts. Who
gets a certificate is decided in `enrollment.scep`; envelopes are in `enrollment.wire.envelope`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import wraps
from typing import ParamSpec, TypeVar

from asn1crypto import cms, core
from asn1crypto import csr as asn1_csr
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from enrollment.wire.authority import Authority, WeakKey, check_key
from enrollment.wire.envelope import Cipher, open_envelope
from enrollment.wire.errors import (
    BadAlgorithm,
    BadMessageCheck,
    BadRequest,
    ScepError,
    Unreadable,
)

MAX_MESSAGE = 64 * 1024
MAX_TRANSACTION_ID = 255
MAX_CHALLENGE = 255

# No DES3 and no SHA-1: both are understood, neither is asked for.
CAPABILITIES = ("AES", "POSTPKIOperation", "Renewal", "SCEPStandard", "SHA-256", "SHA-512")

_SCEP = "2.16.840.1.113733.1.9."
MESSAGE_TYPE, PKI_STATUS, FAIL_INFO = _SCEP + "2", _SCEP + "3", _SCEP + "4"
SENDER_NONCE, RECIPIENT_NONCE, TRANSACTION_ID = _SCEP + "5", _SCEP + "6", _SCEP + "7"
CONTENT_TYPE, MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"

DIGESTS: dict[str, type[hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
_RSA_WITH = {f"{name}_rsa": name for name in DIGESTS}
_RSA = {"rsassa_pkcs1v15", *_RSA_WITH}
_PARSER_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
)

_P = ParamSpec("_P")
_R = TypeVar("_R")


class MessageType(Enum):
    """The messages that ask for a certificate (RFC 8894 §3.2.1.2); no other is served."""

    RENEWAL_REQ = "17"
    PKCS_REQ = "19"


@dataclass(frozen=True, slots=True)
class Message:
    """The outside of a request: nothing in it is verified yet."""

    transaction_id: str
    sender_nonce: bytes
    message_type: str
    digest: str
    signed_data: cms.SignedData = field(repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """A verified and decrypted request for a certificate.

    `signer` holds the key of the request itself (PKCSReq) or is the certificate to be renewed
    (RenewalReq); that it is one of ours is for the caller to see. `challenge` is None where the
    client sent none.
    """

    message_type: MessageType
    transaction_id: str
    signer: x509.Certificate
    public_key: rsa.RSAPublicKey
    challenge: str | None
    cipher: Cipher

    @property
    def key_fingerprint(self) -> bytes:
        """SHA-256 of the requested key's SubjectPublicKeyInfo."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(self.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        return digest.finalize()


def _clean(error: type[ScepError]) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """The parsers below leak errors of many kinds; a caller of `_clean` functions sees one."""

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(function)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            try:
                return function(*args, **kwargs)
            except _PARSER_ERRORS as cause:
                raise error("the message is not built as RFC 8894 says") from cause

        return guarded

    return decorate


@_clean(Unreadable)
def read_message(data: bytes) -> Message:
    """The outside of a PKIOperation's message, at most 64 kB. Raises Unreadable, BadAlgorithm."""
    if len(data) > MAX_MESSAGE:
        raise Unreadable("the message is larger than 64 kB")
    info = cms.ContentInfo.load(data, strict=True)
    if info["content_type"].native != "signed_data":
        raise Unreadable("the message is not signed data")
    signed_data = info["content"]
    if len(signed_data["signer_infos"]) != 1:
        raise Unreadable("the message has not exactly one signer")
    signer = signed_data["signer_infos"][0]
    attributes = _attributes(signer)
    transaction_id = _text(attributes, TRANSACTION_ID)
    if not 1 <= len(transaction_id) <= MAX_TRANSACTION_ID or not transaction_id.isprintable():
        raise Unreadable("the transaction id is empty, too long or unprintable")
    return Message(
        transaction_id=transaction_id,
        sender_nonce=_octets(attributes, SENDER_NONCE),
        message_type=_text(attributes, MESSAGE_TYPE),
        digest=str(signer["digest_algorithm"]["algorithm"].native),
        signed_data=signed_data,
    )


@_clean(BadRequest)
def open_request(message: Message, authority: Authority) -> Request:
    """The request in `message`, its signatures verified.

    Raises BadAlgorithm, BadMessageCheck, BadRequest.
    """
    try:
        message_type = MessageType(message.message_type)
    except ValueError as error:
        raise BadRequest("only PKCSReq and RenewalReq are served") from error
    signer = _verified_signer(message)
    inside = cms.ContentInfo.load(_content(message.signed_data), strict=True)
    if inside["content_type"].native != "enveloped_data":
        raise BadRequest("the message does not hold an envelope")
    der, cipher = open_envelope(inside["content"], authority.certificate, authority.key)
    csr = _csr(der)
    public_key = _requested_key(csr)
    if message_type is MessageType.PKCS_REQ and signer.public_key() != public_key:
        raise BadMessageCheck("the message is not signed with the key of the request")
    return Request(
        message_type=message_type,
        transaction_id=message.transaction_id,
        signer=signer,
        public_key=public_key,
        challenge=_challenge(csr),
        cipher=cipher,
    )


def capabilities() -> bytes:
    """The answer to GetCACaps."""
    return "".join(f"{capability}\n" for capability in CAPABILITIES).encode()


def digest_of(name: str) -> hashes.HashAlgorithm:
    """The digest algorithm that asn1crypto calls `name`. Raises BadAlgorithm."""
    if name not in DIGESTS:
        raise BadAlgorithm("the message's digest algorithm is unknown or too weak")
    return DIGESTS[name]()


def hash_of(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()


def _verified_signer(message: Message) -> x509.Certificate:
    """The certificate whose key signed the message; no word yet on who issued it."""
    signer = message.signed_data["signer_infos"][0]
    digest = digest_of(message.digest)
    attributes = _attributes(signer)
    if _octets(attributes, MESSAGE_DIGEST) != hash_of(digest, _content(message.signed_data)):
        raise BadMessageCheck("the message's digest is another's")
    if signer["signature_algorithm"]["algorithm"].native not in _RSA:
        raise BadAlgorithm("the message is not signed with RSA PKCS#1 v1.5")
    certificate = _signer_certificate(message.signed_data, signer["sid"])
    key = _rsa_key(certificate.public_key())
    # What is signed is the SET OF itself, not the [0] it travels in (RFC 5652 §5.4).
    signed = b"\x31" + signer["signed_attrs"].dump()[1:]
    _check_signature(key, signer["signature"].native, signed, digest)
    return certificate


def _signer_certificate(signed_data: cms.SignedData, sid: cms.SignerIdentifier) -> x509.Certificate:
    for choice in signed_data["certificates"]:
        if choice.name == "certificate" and _is_meant(choice.chosen, sid):
            return x509.load_der_x509_certificate(choice.chosen.dump())
    raise BadMessageCheck("the signer's certificate is not in the message")


def _is_meant(certificate: asn1_x509.Certificate, sid: cms.SignerIdentifier) -> bool:
    if sid.name == "subject_key_identifier":
        return bool(certificate.key_identifier == sid.chosen.native)
    return bool(
        certificate.serial_number == sid.chosen["serial_number"].native
        and certificate.issuer.dump() == sid.chosen["issuer"].dump()
    )


def _csr(der: bytes) -> asn1_csr.CertificationRequest:
    """Not by cryptography's reader: it refuses the version numbers that some clients write.

    A wrong content key leaves valid padding once in 256 times: then this is where it shows.
    """
    try:
        return asn1_csr.CertificationRequest.load(der, strict=True)
    except ValueError as error:
        raise BadMessageCheck("the envelope does not open") from error


def _requested_key(csr: asn1_csr.CertificationRequest) -> rsa.RSAPublicKey:
    """The key in the request; its holder has signed the request with it."""
    information = csr["certification_request_info"]
    key = _rsa_key(load_der_public_key(information["subject_pk_info"].dump()))
    algorithm = csr["signature_algorithm"]["algorithm"].native
    if algorithm not in _RSA_WITH:
        raise BadAlgorithm("the request is not signed with RSA and a known digest")
    digest = digest_of(_RSA_WITH[algorithm])
    _check_signature(key, csr["signature"].native, information.dump(), digest)
    return key


def _rsa_key(key: object) -> rsa.RSAPublicKey:
    try:
        checked = check_key(key)
    except WeakKey as error:
        raise BadAlgorithm(str(error)) from error
    if not isinstance(checked, rsa.RSAPublicKey):
        raise BadAlgorithm("SCEP works with RSA keys only: an answer is encrypted to the key")
    return checked


def _check_signature(
    key: rsa.RSAPublicKey, signature: bytes, signed: bytes, digest: hashes.HashAlgorithm
) -> None:
    try:
        key.verify(signature, signed, PKCS1v15(), digest)
    except InvalidSignature as error:
        raise BadMessageCheck("a signature does not verify") from error


def _challenge(csr: asn1_csr.CertificationRequest) -> str | None:
    for attribute in csr["certification_request_info"]["attributes"]:
        if attribute["type"].native == "challenge_password":
            text = attribute["values"][0].native
            if not isinstance(text, str) or len(text) > MAX_CHALLENGE:
                raise BadRequest("the challenge password is too long or not a text")
            return text
    return None


def _attributes(signer: cms.SignerInfo) -> dict[str, core.Asn1Value]:
    """The signed attributes by OID; each may be there once, with one value."""
    found: dict[str, core.Asn1Value] = {}
    for attribute in signer["signed_attrs"]:
        oid = attribute["type"].dotted
        if oid in found or len(attribute["values"]) != 1:
            raise Unreadable("a signed attribute is there more than once")
        found[oid] = attribute["values"][0]
    return found


def _text(attributes: dict[str, core.Asn1Value], oid: str) -> str:
    value = attributes[oid].parse(core.PrintableString).native
    if not isinstance(value, str):
        raise Unreadable("a signed attribute is empty")
    return value


def _octets(attributes: dict[str, core.Asn1Value], oid: str) -> bytes:
    """Nonces should have 16 bytes, but some clients send 8: echoed as they are, up to 64."""
    value = attributes[oid]
    octets = (value.parse(core.OctetString) if isinstance(value, core.Any) else value).native
    if not isinstance(octets, bytes) or len(octets) > 64:
        raise Unreadable("a signed attribute is empty or too long")
    return octets


def _content(signed_data: cms.SignedData) -> bytes:
    return bytes(signed_data["encap_content_info"]["content"])
