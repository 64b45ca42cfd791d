"""Verifies CMS signatures: Mdm-Signature, which is detached, over a request's body; and messages
that are signed with their content inside, such as a device's MachineInfo.

Only the arithmetic: whether the signer is someone we know is `mdm.identity`, and for MachineInfo
`enrollment.wire.machine_info`. Validity dates are
not read; Apple's devices go on using an identity that has expired. Sources: RFC 5652, RFC 5754,
RFC 5753; Apple's "Pass an Identity Certificate through a proxy".
"""

from __future__ import annotations

import binascii
import hashlib
from functools import lru_cache
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from mdm.protocol import der
from mdm.protocol.certificate import CertificateParts, SignerCertificate, certificate_parts
from mdm.protocol.errors import BadSignature

__all__ = ["SignedMessage", "SignerCertificate", "read_signed_message", "verify_mdm_signature"]

HEADER_LENGTH = 32 * 1024
RSA_BITS = range(1024, 4097)

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_CONTENT_TYPE = bytes.fromhex("2a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("2a864886f70d010904")
_DIGESTS = {
    bytes.fromhex("2b0e03021a"): "sha1",
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
_HASHES: dict[str, HashAlgorithm] = {
    "sha1": SHA1(),  # noqa: S303 - older devices sign with nothing else
    "sha256": SHA256(),
    "sha384": SHA384(),
    "sha512": SHA512(),
}
# Signature algorithm to the family of its key and the digest it fixes, if it fixes one.
_ALGORITHMS: dict[bytes, tuple[str, str | None]] = {
    bytes.fromhex("2a864886f70d010101"): ("rsa", None),
    bytes.fromhex("2a864886f70d010105"): ("rsa", "sha1"),
    bytes.fromhex("2a864886f70d01010b"): ("rsa", "sha256"),
    bytes.fromhex("2a864886f70d01010c"): ("rsa", "sha384"),
    bytes.fromhex("2a864886f70d01010d"): ("rsa", "sha512"),
    bytes.fromhex("2a8648ce3d0201"): ("ec", None),
    bytes.fromhex("2a8648ce3d0401"): ("ec", "sha1"),
    bytes.fromhex("2a8648ce3d040302"): ("ec", "sha256"),
    bytes.fromhex("2a8648ce3d040303"): ("ec", "sha384"),
    bytes.fromhex("2a8648ce3d040304"): ("ec", "sha512"),
}
_CERTIFICATES = 16
_CONSTRUCTED = 0x20
_PIECES = 256
_OBJECT_IDENTIFIER_LENGTH = 32
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_PKCS1 = padding.PKCS1v15()


def verify_mdm_signature(header: str, body: bytes) -> SignerCertificate:
    """The certificate whose key signed exactly this body.

    `header` is the value of Mdm-Signature: base64 of a CMS SignedData without content, with one
    signer. Raises BadSignature.
    """
    data = _decoded(header)
    try:
        signed = _signed_data(data)
        if signed.content is not None:
            raise BadSignature("not-detached", "The signature brings content of its own.")
        return _verified(data, signed, body)
    except der.BadDer as error:
        raise BadSignature("malformed", "The signature is not well-formed CMS.") from error


class SignedMessage(NamedTuple):
    """A signed message that was read, and whose signature was not looked at yet. `certificates`
    are those that it brings along, in DER.
    """

    content: bytes
    certificates: tuple[bytes, ...]
    data: bytes
    parts: _SignedData

    def verify(self) -> SignerCertificate:
        """The certificate whose key signed exactly this content. Raises BadSignature."""
        try:
            return _verified(self.data, self.parts, self.content)
        except der.BadDer as error:
            raise BadSignature("malformed", "The signature is not well-formed CMS.") from error


def read_signed_message(data: bytes) -> SignedMessage:
    """A CMS SignedData with its content inside and one signer, in DER or BER. Raises
    BadSignature.
    """
    try:
        signed = _signed_data(data)
        if signed.content is None:
            raise BadSignature("detached", "The signed message has no content.")
        found = tuple(_embedded(data, signed.certificates))
        return SignedMessage(_octets(data, signed.content), found, data, signed)
    except der.BadDer as error:
        raise BadSignature("malformed", "The message is not well-formed CMS.") from error


def _verified(data: bytes, signed: _SignedData, body: bytes) -> SignerCertificate:
    signer = _signer(data, signed.signer)
    certificate = _signer_certificate(data, signed.certificates, signer)
    message = _signed_bytes(signed.content_type, signer, body)
    _verify(_public_key(certificate.public_key), signer, message)
    return SignerCertificate(certificate.encoded)


class _SignedData(NamedTuple):
    content_type: bytes
    content: der.Element | None
    certificates: der.Element | None
    signer: der.Element


class _Signer(NamedTuple):
    issuer_and_serial: bytes | None
    key_identifier: bytes | None
    digest: str
    family: str
    attributes: bytes | None
    signature: bytes


def _decoded(header: str) -> bytes:
    if len(header) > HEADER_LENGTH:
        raise BadSignature("too-large", "The signature is larger than is accepted.")
    try:
        return binascii.a2b_base64("".join(header.split()), strict_mode=True)
    except ValueError as error:
        raise BadSignature("not-base64", "The signature is not base64.") from error


def _signed_data(data: bytes) -> _SignedData:
    content_info = der.read(data, 0, len(data))
    if content_info.after != len(data):
        raise der.BadDer("trailing bytes")
    kind, explicit = der.exactly(data, content_info, der.SEQUENCE, 2)
    if der.content(data, kind, der.OBJECT_IDENTIFIER) != _SIGNED_DATA:
        raise BadSignature("not-signed-data", "The CMS message is not signed data.")
    (signed,) = der.exactly(data, explicit, der.CONTEXT_0, 1)
    version, digests, content, *rest = der.at_least(data, signed, der.SEQUENCE, 4)
    der.require((der.INTEGER, der.SET), version, digests)
    certificates = rest.pop(0) if rest[0].tag == der.CONTEXT_0 else None
    if rest and rest[0].tag == der.CONTEXT_1:
        rest.pop(0)
    if len(rest) != 1:
        raise der.BadDer("signed data")
    name, own = _content(data, content)
    return _SignedData(name, own, certificates, _only_signer(data, rest[0]))


def _content(data: bytes, element: der.Element) -> tuple[bytes, der.Element | None]:
    """What the content is, and the content itself where it is inside."""
    kind, *own = der.at_least(data, element, der.SEQUENCE, 1)
    name = der.content(data, kind, der.OBJECT_IDENTIFIER)
    if len(name) > _OBJECT_IDENTIFIER_LENGTH or len(own) > 1:
        raise der.BadDer("long object identifier or several contents")
    return name, der.exactly(data, own[0], der.CONTEXT_0, 1)[0] if own else None


def _octets(data: bytes, element: der.Element) -> bytes:
    """An octet string, which BER may have in pieces."""
    if element.tag != der.OCTET_STRING | _CONSTRUCTED:
        return der.content(data, element, der.OCTET_STRING)
    pieces = der.children(data, element, _PIECES)
    return b"".join(der.content(data, piece, der.OCTET_STRING) for piece in pieces)


def _only_signer(data: bytes, signers: der.Element) -> der.Element:
    first, *others = der.at_least(data, signers, der.SET, 1)
    if others:
        raise BadSignature("several-signers", "The signature has more than one signer.")
    return first


def _signer(data: bytes, element: der.Element) -> _Signer:
    version, identifier, digest, *rest = der.at_least(data, element, der.SEQUENCE, 5)
    der.require((der.INTEGER,), version)
    attributes = rest.pop(0) if rest[0].tag == der.CONTEXT_0 else None
    if len(rest) not in (2, 3) or (len(rest) == 3 and rest[2].tag != der.CONTEXT_1):
        raise der.BadDer("signer")
    digest_name = _DIGESTS.get(_algorithm(data, digest))
    family, fixed = _ALGORITHMS.get(_algorithm(data, rest[0]), (None, None))
    if digest_name is None or family is None or fixed not in (None, digest_name):
        raise BadSignature("algorithm", "The signature's algorithms are not supported.")
    by_issuer = identifier.tag == der.SEQUENCE
    return _Signer(
        issuer_and_serial=data[identifier.content : identifier.end] if by_issuer else None,
        key_identifier=None if by_issuer else der.content(data, identifier, 0x80),
        digest=digest_name,
        family=family,
        attributes=None if attributes is None else der.whole(data, attributes),
        signature=der.content(data, rest[1], der.OCTET_STRING),
    )


def _algorithm(data: bytes, element: der.Element) -> bytes:
    name, *_parameters = der.at_least(data, element, der.SEQUENCE, 1)
    return der.content(data, name, der.OBJECT_IDENTIFIER)


def _signer_certificate(
    data: bytes, certificates: der.Element | None, signer: _Signer
) -> CertificateParts:
    distinct = set(_embedded(data, certificates))
    matching = [parts for parts in map(certificate_parts, distinct) if _is_of(parts, signer)]
    if len(matching) != 1:
        raise BadSignature("no-certificate", "The signature lacks its signer's certificate.")
    return matching[0]


def _embedded(data: bytes, certificates: der.Element | None) -> list[bytes]:
    """The certificates of a message; the set also holds other kinds under tags of their own."""
    if certificates is None:
        return []
    held = der.children(data, certificates, _CERTIFICATES)
    return [der.whole(data, element) for element in held if element.tag == der.SEQUENCE]


def _is_of(certificate: CertificateParts, signer: _Signer) -> bool:
    if signer.issuer_and_serial is not None:
        return signer.issuer_and_serial == certificate.issuer + certificate.serial_number
    return signer.key_identifier == certificate.subject_key_identifier


def _signed_bytes(content_type: bytes, signer: _Signer, body: bytes) -> bytes:
    """What the key must have signed: the attributes where there are any, else the body."""
    if signer.attributes is None:
        if body.startswith(b"\x31"):
            # Attributes signed for another body could otherwise be passed off as this one.
            raise BadSignature("digest", "The signature is over attributes, not over a body.")
        return body
    # RFC 5652, section 5.4: signed as a SET, sent under a tag of its own.
    attributes = b"\x31" + signer.attributes[1:]
    elements = der.children(attributes, der.only(attributes, der.SET))
    held = [der.whole(attributes, element) for element in elements]
    if not _holds(held, _CONTENT_TYPE, der.OBJECT_IDENTIFIER, content_type):
        raise BadSignature("content-type", "The signature is for another type of content.")
    digest = hashlib.new(signer.digest, body).digest()
    if not _holds(held, _MESSAGE_DIGEST, der.OCTET_STRING, digest):
        raise BadSignature("digest", "The signature is over another body.")
    return attributes


def _holds(attributes: list[bytes], kind: bytes, tag: int, value: bytes) -> bool:
    """Whether the one attribute of this kind has this one value.

    Signed attributes are DER, which spells each in one way: the whole of it is compared.
    """
    name = _short(der.OBJECT_IDENTIFIER, kind)
    expected = _short(der.SEQUENCE, name + _short(der.SET, _short(tag, value)))
    return [held for held in attributes if held.startswith(name, 2)] == [expected]


def _short(tag: int, value: bytes) -> bytes:
    return bytes((tag, len(value))) + value


@lru_cache(maxsize=1024)
def _public_key(encoded: bytes) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    try:
        key = load_der_public_key(encoded)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadSignature("key", "The signer's public key cannot be read.") from error
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPublicKey) and _is_fair(key):
        return key
    raise BadSignature("key", "The signer's key is of a kind or size that is not accepted.")


def _is_fair(key: rsa.RSAPublicKey) -> bool:
    # A huge exponent would make every verification cost milliseconds.
    return key.key_size in RSA_BITS and key.public_numbers().e.bit_length() <= 33


def _verify(
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, signer: _Signer, message: bytes
) -> None:
    algorithm = _HASHES[signer.digest]
    try:
        if isinstance(key, rsa.RSAPublicKey) and signer.family == "rsa":
            return key.verify(signer.signature, message, _PKCS1, algorithm)
        if isinstance(key, ec.EllipticCurvePublicKey) and signer.family == "ec":
            return key.verify(signer.signature, message, ec.ECDSA(algorithm))
    except (InvalidSignature, UnsupportedAlgorithm) as error:
        raise BadSignature("not-signed", "The signature does not hold.") from error
    raise BadSignature("key", "The signer's key does not fit the signature's algorithm.")
