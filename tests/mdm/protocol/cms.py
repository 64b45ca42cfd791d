"""Makes and judges detached CMS signatures without the product, for the tests beside it."""

from __future__ import annotations

import base64
import datetime
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from asn1crypto import algos, cms, core, keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import NameOID

HASHES = {
    "sha1": hashes.SHA1(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Identity:
    key: Any
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def identity(key: Any, name: str = "device", padding_bytes: int = 0) -> Identity:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    filler = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\0" * padding_bytes)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2002, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(filler, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Identity(key, certificate)


@cache
def rsa_identity(name: str = "device", bits: int = 2048) -> Identity:
    return identity(rsa.generate_private_key(65537, bits), name)


@cache
def ec_identity(name: str = "device", curve: str = "secp256r1") -> Identity:
    curves = {"secp256r1": ec.SECP256R1, "secp384r1": ec.SECP384R1, "secp256k1": ec.SECP256K1}
    return identity(ec.generate_private_key(curves[curve]()), name)


def header(encoded: bytes) -> str:
    return base64.b64encode(encoded).decode("ascii")


def sign(body: bytes, *signers: Identity, **options: Any) -> bytes:
    """A ContentInfo; the options are those of `signer_info` and of `envelope`."""
    certificates = options.pop("certificates", [signer.der for signer in signers])
    content = options.pop("content", None)
    infos = [signer_info(body, signer, **options) for signer in signers]
    return envelope(infos, certificates, content)


def envelope(infos: list[cms.SignerInfo], certificates: list[bytes], content: Any = None) -> bytes:
    signed = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [info["digest_algorithm"] for info in infos],
            "encap_content_info": {"content_type": "data", "content": content},
            "certificates": [asn1_x509.Certificate.load(der) for der in certificates],
            "signer_infos": infos,
        }
    )
    return cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump()


def signer_info(
    body: bytes,
    signer: Identity,
    digest: str = "sha256",
    attributes: bool = True,
    by_key_identifier: bool = False,
    content_type: str = "data",
    named_digest: str | None = None,
    algorithm: str | None = None,
    extra: list[cms.CMSAttribute] | None = None,
) -> cms.SignerInfo:
    values = cms.CMSAttributes(
        [
            cms.CMSAttribute({"type": "content_type", "values": [content_type]}),
            cms.CMSAttribute(
                {
                    "type": "message_digest",
                    "values": [core.OctetString(hashlib.new(digest, body).digest())],
                }
            ),
            *(extra or []),
        ]
    )
    message = values.dump() if attributes else body
    info = {
        "version": "v1",
        "sid": _signer_identifier(signer, by_key_identifier),
        "digest_algorithm": algos.DigestAlgorithm({"algorithm": named_digest or digest}),
        "signature_algorithm": algos.SignedDigestAlgorithm(
            {"algorithm": algorithm or _algorithm(signer.key, digest)}
        ),
        "signature": raw_signature(signer.key, message, digest),
    }
    if attributes:
        info["signed_attrs"] = values
    return cms.SignerInfo(info)


def raw_signature(key: Any, message: bytes, digest: str) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), HASHES[digest])
    return key.sign(message, ec.ECDSA(HASHES[digest]))


def reference_verifies(encoded: bytes, body: bytes) -> set[bytes]:
    """Certificates in the message whose key signed the body, by asn1crypto's reading of it."""
    signed = cms.ContentInfo.load(encoded)["content"]
    (info,) = signed["signer_infos"]
    digest = info["digest_algorithm"]["algorithm"].native
    message = body
    if info["signed_attrs"].native is not None:
        held = {attribute["type"].native: attribute for attribute in info["signed_attrs"]}
        (named,) = held["message_digest"]["values"].native
        assert named == hashlib.new(digest, body).digest()
        assert held["content_type"]["values"].native == [
            signed["encap_content_info"]["content_type"].native
        ]
        message = b"\x31" + info["signed_attrs"].dump()[1:]
    found = set()
    for choice in signed["certificates"]:
        certificate = choice.chosen.dump()
        if _holds(choice.chosen.public_key.dump(), info["signature"].native, message, digest):
            found.add(certificate)
    return found


def _holds(public_key: bytes, signature: bytes, message: bytes, digest: str) -> bool:
    key: Any = load_der_public_key(public_key)
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), HASHES[digest])
        else:
            key.verify(signature, message, ec.ECDSA(HASHES[digest]))
    except InvalidSignature:
        return False
    return True


def _signer_identifier(signer: Identity, by_key_identifier: bool) -> cms.SignerIdentifier:
    certificate = asn1_x509.Certificate.load(signer.der)
    if by_key_identifier:
        return cms.SignerIdentifier("subject_key_identifier", certificate.key_identifier)
    return cms.SignerIdentifier(
        "issuer_and_serial_number",
        {"issuer": certificate.issuer, "serial_number": certificate.serial_number},
    )


def _algorithm(key: Any, digest: str) -> str:
    return "rsassa_pkcs1v15" if isinstance(key, rsa.RSAPrivateKey) else f"{digest}_ecdsa"


def spki(numbers: rsa.RSAPublicNumbers) -> bytes:
    info = keys.PublicKeyInfo.wrap(
        keys.RSAPublicKey({"modulus": numbers.n, "public_exponent": numbers.e}), "rsa"
    )
    return info.dump()


def replace_public_key(certificate: bytes, key: bytes) -> bytes:
    """The certificate with another key in it; nobody signed that."""
    held = asn1_x509.Certificate.load(certificate)
    held["tbs_certificate"]["subject_public_key_info"] = keys.PublicKeyInfo.load(key)
    return held.dump(force=True)
