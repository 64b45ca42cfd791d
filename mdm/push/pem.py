"""Reading a certificate and its private key from what people have: PEM in one file or two, or
PKCS#12, with or without a password. What they are good for is decided in `certificate.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs12,
)

_LARGEST = 100_000
_PEM = b"-----BEGIN "
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)

_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class PushCertificateError(Exception):
    """Why a push certificate is not taken, as a sentence that says what to do."""


class Unreadable(PushCertificateError):
    """The files hold no certificate, no key, or need a password."""


class WrongCertificate(PushCertificateError):
    """The files can be read, but this certificate cannot be used."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: _Key

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """PKCS#8, not encrypted."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read(data: bytes, key: bytes | None, password: str | None) -> Credentials:
    """The certificate and the private key that belongs to it. Raises Unreadable, WrongCertificate.

    Of several certificates (a chain) the key's own is taken.
    """
    if len(data) + len(key or b"") > _LARGEST:
        raise Unreadable("These files are too large for a certificate and its key.")
    secret = password.encode() if password else None
    if _PEM in data:
        certificates, private = _from_pem(data + b"\n" + (key or b""), secret)
    elif key is not None and _PEM in key:
        certificates, private = [_from_der(data)], _key(key, secret)
    else:
        certificates, private = _from_pkcs12(data, secret)
    for certificate in certificates:
        if _public(certificate) == _public(private):
            return Credentials(certificate, private)
    raise WrongCertificate(
        "The private key does not belong to this certificate. Use the key with which the"
        " certificate signing request was made."
    )


def _from_pem(text: bytes, password: bytes | None) -> tuple[list[x509.Certificate], _Key]:
    blocks = [(match[1], match[0]) for match in _BLOCK.finditer(text)]
    found = [block for label, block in blocks if label in (b"CERTIFICATE", b"X509 CERTIFICATE")]
    if not found:
        raise Unreadable(
            "There is no certificate in this file. Upload the certificate that"
            " identity.apple.com gave you, not the request that it was made from."
        )
    keys = [block for label, block in blocks if label.endswith(b"PRIVATE KEY")]
    if not keys:
        raise Unreadable("The private key is missing. Add the file with the key.")
    try:
        return [x509.load_pem_x509_certificate(block) for block in found], _key(keys[0], password)
    except ValueError as error:
        raise Unreadable("The certificate cannot be read: the file is damaged.") from error


def _from_der(data: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(data)
    except ValueError as error:
        raise Unreadable("There is no certificate in this file.") from error


def _from_pkcs12(data: bytes, password: bytes | None) -> tuple[list[x509.Certificate], _Key]:
    try:
        key, certificate, more = pkcs12.load_key_and_certificates(data, password)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unreadable(
            "This is neither PEM nor a PKCS#12 file that opens with this password."
        ) from error
    if certificate is None and not more:
        raise Unreadable("There is no certificate in this PKCS#12 file.")
    if key is None:
        raise Unreadable("There is no private key in this PKCS#12 file. Export it with its key.")
    return ([certificate] if certificate else []) + more, _usable(key)


def _key(block: bytes, password: bytes | None) -> _Key:
    encrypted = b"ENCRYPTED" in block
    if encrypted and password is None:
        raise Unreadable("The private key is encrypted. Give its password.")
    try:
        key = load_pem_private_key(block, password if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = "its password is wrong" if encrypted else "the file is damaged"
        raise Unreadable(f"The private key cannot be read: {why}.") from error
    return _usable(key)


def _usable(key: object) -> _Key:
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise WrongCertificate("The private key is neither RSA nor elliptic curve.")
    return key


def _public(holder: x509.Certificate | _Key) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
