"""Reads the client certificate that a proxy passes on after it ended the device's TLS.

Whether the peer is a proxy whose word counts is settled before, in `mdm.identity`.
"""

import binascii
import re
from typing import Literal
from urllib.parse import unquote_to_bytes

from mdm.protocol import der
from mdm.protocol.certificate import SignerCertificate
from mdm.protocol.errors import BadCertificateHeader

HeaderForm = Literal["rfc9440", "nginx"]

HEADER_LENGTH = 32 * 1024

_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----\s*"
)


def certificate_from_header(value: str, form: HeaderForm) -> SignerCertificate:
    """The certificate in the header's value; raises BadCertificateHeader.

    `rfc9440` is `:base64 DER:` (RFC 9440, section 2.1), `nginx` the URL-escaped PEM of
    `$ssl_client_escaped_cert`. Two headers, which servers join with a comma, are refused: one of
    them did not come from the proxy.
    """
    if len(value) > HEADER_LENGTH:
        raise BadCertificateHeader("too-large", "The client certificate is larger than accepted.")
    try:
        encoded = _from_rfc9440(value) if form == "rfc9440" else _from_nginx(value)
        der.only(encoded, der.SEQUENCE)
    except ValueError as error:
        raise BadCertificateHeader(
            "malformed", "The header does not hold one client certificate."
        ) from error
    return SignerCertificate(encoded)


def _from_rfc9440(value: str) -> bytes:
    value = value.strip(" \t")
    if len(value) < 2 or value[0] != ":" or value[-1] != ":":
        raise ValueError("not a byte sequence")
    return binascii.a2b_base64(value[1:-1], strict_mode=True)


def _from_nginx(value: str) -> bytes:
    match = _PEM.fullmatch(unquote_to_bytes(value))
    if match is None:
        raise ValueError("not one PEM certificate")
    return binascii.a2b_base64(b"".join(match.group(1).split()), strict_mode=True)
