"""Signed CMS messages as devices make and check them; `lab.signing` is the Mdm-Signature among
them, `lab.scep` wraps them once more."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from asn1crypto import cms, core
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from lab.errors import BadCms

DATA = "1.2.840.113549.1.7.1"
_SIGNED_DATA = "1.2.840.113549.1.7.2"
_RSA_ENCRYPTION = "1.2.840.113549.1.1.1"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_TIME = "1.2.840.113549.1.9.5"
_DIGESTS = {
    "sha256": ("2.16.840.1.101.3.4.2.1", hashes.SHA256()),
    "sha1": ("1.3.14.3.2.26", hashes.SHA1()),
}
_NULL = b"\x05\x00"


def tlv(tag: int, *parts: bytes) -> bytes:
    """One DER element."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


@functools.cache
def oid(dotted: str) -> bytes:
    """An object identifier in DER."""
    return bytes(core.ObjectIdentifier(dotted).dump())


def attribute(name: str, value: bytes) -> bytes:
    """A CMS attribute with one value, given in DER."""
    return tlv(0x30, oid(name), tlv(0x31, value))


@dataclass(frozen=True)
class Signer:
    """Who signs: a certificate and its RSA key. `digest` is "sha256" or "sha1"."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    digest: str = "sha256"

    @functools.cached_property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @functools.cached_property
    def identifier(self) -> bytes:
        """issuerAndSerialNumber."""
        serial = core.Integer(self.certificate.serial_number).dump()
        return tlv(0x30, self.certificate.issuer.public_bytes(), serial)

    @functools.cached_property
    def digest_algorithm(self) -> bytes:
        return tlv(0x30, oid(_DIGESTS[self.digest][0]), _NULL)


def sign(
    content: bytes,
    signer: Signer,
    *,
    detached: bool,
    attributes: Sequence[bytes] = (),
    signing_time: dt.datetime | None = None,
    chain: Sequence[x509.Certificate] = (),
) -> bytes:
    """A SignedData over `content`, in DER, with the signer's certificate and its `chain`.
    `attributes` are signed beside contentType, messageDigest and signingTime."""
    signed = _signed_attributes(content, signer, attributes, signing_time)
    signature = signer.key.sign(tlv(0x31, signed), padding.PKCS1v15(), _DIGESTS[signer.digest][1])
    info = tlv(
        0x30,
        b"\x02\x01\x01",
        signer.identifier,
        signer.digest_algorithm,
        tlv(0xA0, signed),
        tlv(0x30, oid(_RSA_ENCRYPTION), _NULL),
        tlv(0x04, signature),
    )
    inner = b"" if detached else tlv(0xA0, tlv(0x04, content))
    return tlv(
        0x30,
        oid(_SIGNED_DATA),
        tlv(
            0xA0,
            tlv(
                0x30,
                b"\x02\x01\x01",
                tlv(0x31, signer.digest_algorithm),
                tlv(0x30, oid(DATA), inner),
                tlv(0xA0, signer.der, *(each.public_bytes(Encoding.DER) for each in chain)),
                tlv(0x31, info),
            ),
        ),
    )


@dataclass(frozen=True)
class Verified:
    """A message whose signature is right. Whether its signer is to be trusted is not said."""

    content: bytes
    signer: x509.Certificate
    certificates: list[x509.Certificate]
    attributes: dict[str, object]


def verify(message: bytes) -> Verified:
    """Check the one signature of an enveloping SignedData. Raises BadCms."""
    try:
        data = cms.ContentInfo.load(message, strict=True)["content"]
        info = data["signer_infos"][0]
        certificates = [
            x509.load_der_x509_certificate(c.chosen.dump()) for c in data["certificates"]
        ]
        # A refusal by SCEP carries no content, and is signed all the same.
        content = bytes(data["encap_content_info"]["content"].native or b"")
        signer = _find_signer(info, certificates)
        attributes = {a["type"].dotted: a["values"][0].native for a in info["signed_attrs"]}
        _check_signature(info, content, signer, attributes)
    except (
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        InvalidSignature,
    ) as error:
        raise BadCms(
            f"A signed message could not be verified: {error or 'wrong signature'}."
        ) from error
    return Verified(content, signer, certificates, attributes)


def _signed_attributes(
    content: bytes,
    signer: Signer,
    attributes: Sequence[bytes],
    signing_time: dt.datetime | None,
) -> bytes:
    moment = (signing_time or dt.datetime.now(dt.UTC)).strftime("%y%m%d%H%M%SZ").encode()
    digest = hashlib.new(signer.digest, content).digest()
    members = [
        attribute(_CONTENT_TYPE, oid(DATA)),
        attribute(_SIGNING_TIME, tlv(0x17, moment)),
        attribute(_MESSAGE_DIGEST, tlv(0x04, digest)),
        *attributes,
    ]
    return b"".join(sorted(members))


def _find_signer(info: cms.SignerInfo, certificates: list[x509.Certificate]) -> x509.Certificate:
    sid = info["sid"].chosen
    for certificate in certificates:
        if isinstance(sid, cms.IssuerAndSerialNumber):
            if certificate.serial_number == sid["serial_number"].native:
                return certificate
        else:
            extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
            if extension.value.digest == sid.native:
                return certificate
    raise ValueError("the signer's certificate is missing")


def _check_signature(
    info: cms.SignerInfo,
    content: bytes,
    signer: x509.Certificate,
    attributes: dict[str, object],
) -> None:
    name = info["digest_algorithm"]["algorithm"].native
    if hashlib.new(name, content).digest() != attributes[_MESSAGE_DIGEST]:
        raise ValueError("the content was changed")
    algorithm = getattr(hashes, name.upper())()
    signed = b"\x31" + info["signed_attrs"].dump()[1:]
    key = signer.public_key()
    signature = info["signature"].native
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, signed, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, signed, ec.ECDSA(algorithm))
    else:
        raise TypeError("the signer's key is of no known kind")
