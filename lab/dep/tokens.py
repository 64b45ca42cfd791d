"""Server tokens as Apple gives them out: encrypted for the certificate that was uploaded, in a file
ending in `_smime.p7m`."""

from __future__ import annotations

import base64
import datetime as dt
import json
import secrets
from dataclasses import asdict, dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from lab.dep.clock import stamp
from lab.errors import PortalRefused

LIFETIME = dt.timedelta(days=365)
_HEAD = (
    'Content-Type: application/pkcs7-mime; name="smime.p7m"; smime-type=enveloped-data\r\n'
    "Content-Transfer-Encoding: base64\r\n"
    'Content-Disposition: attachment; filename="smime.p7m"\r\n\r\n'
)


@dataclass(frozen=True, slots=True)
class Token:
    """`expires` is in Unix seconds."""

    consumer_key: str
    consumer_secret: str
    access_token: str
    access_secret: str
    expires: int

    def json(self) -> dict[str, str | int]:
        return asdict(self)


def issue(now: dt.datetime, consumer: Token | None = None) -> Token:
    """A token for a year; with `consumer`, another one of the same server."""
    key = consumer.consumer_key if consumer else f"CK_{secrets.token_hex(24)}"
    secret = consumer.consumer_secret if consumer else f"CS_{secrets.token_hex(20)}"
    access = f"AT_{secrets.token_hex(24)}", f"AS_{secrets.token_hex(20)}"
    return Token(key, secret, *access, int((now + LIFETIME).timestamp()))


def public_key_of(certificate: bytes) -> x509.Certificate:
    """The certificate in an uploaded PEM file. Raises PortalRefused."""
    try:
        read = x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise PortalRefused("This file holds no certificate in PEM.") from error
    if not isinstance(read.public_key(), rsa.RSAPublicKey):
        raise PortalRefused("The certificate has to have an RSA key.")
    return read


def sealed(token: Token, certificate: bytes) -> bytes:
    """The file that is offered for download. Raises PortalRefused."""
    recipient = public_key_of(certificate)
    inside = _inside(token)
    der = (
        pkcs7.PKCS7EnvelopeBuilder()
        .set_data(inside)
        .add_recipient(recipient)
        .encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])
    )
    return _HEAD.encode() + _folded(der)


def _inside(token: Token) -> bytes:
    words = {
        "consumer_key": token.consumer_key,
        "consumer_secret": token.consumer_secret,
        "access_token": token.access_token,
        "access_secret": token.access_secret,
        "access_token_expiry": stamp(dt.datetime.fromtimestamp(token.expires, dt.UTC)),
    }
    head = "Content-Type: text/plain;charset=UTF-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
    body = f"-----BEGIN MESSAGE-----\r\n{json.dumps(words)}\r\n-----END MESSAGE-----\r\n"
    return (head + body).encode()


def _folded(der: bytes) -> bytes:
    return base64.encodebytes(der).replace(b"\n", b"\r\n")
