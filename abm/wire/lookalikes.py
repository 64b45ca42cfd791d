"""Says what a file seems to be that was uploaded in place of Apple's server token.

Only for the sentence that an admin reads: nothing is decided by it. `abm.wire.server_token` reads
the real one.
"""

from __future__ import annotations

import binascii
import json
import re

from asn1crypto import cms, csr
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.x509.oid import NameOID

from abm.wire.wrappings import as_text, asn1_candidates

_CERTIFICATE = (
    "This is a certificate, not a server token. If it is the certificate from this page, upload it"
    " in Apple Business Manager first; the server token is what Apple gives you to download then."
)
_PUSH_CERTIFICATE = (
    "This is a push certificate (APNs), not a server token. The server token is a file ending in"
    " .p7m, which you download at your server in Apple Business Manager."
)
_CONTENT_TOKEN = (
    "This is a content token for Apps and Books (.vpptoken), not a server token. The server token"
    " is a file ending in .p7m, which you download at your server in Apple Business Manager."
)
_OPENED = (
    "This is a server token that somebody has decrypted already. Upload the file ending in .p7m as"
    " it came from Apple Business Manager."
)
_PEM_LABELS = {
    "CERTIFICATE REQUEST": "a certificate signing request",
    "PRIVATE KEY": "a private key",
    "PUBLIC KEY": "a public key",
}
_BEGINNINGS = {
    b"PK\x03\x04": "a ZIP archive",
    b"%PDF": "a PDF document",
    b"bplist00": "a property list",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
}
_BEGIN = re.compile(r"^-----BEGIN (?:[A-Z0-9]+ )*?(CERTIFICATE(?: REQUEST)?|[A-Z]+ KEY)-----", re.M)
_HTML = re.compile(r"<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_MESSAGE = re.compile(r"^content-type:[^\n]*(?:\n[ \t][^\n]*)*pkcs7-mime", re.M | re.IGNORECASE)
# The start of the text tells; the rest of a large file need not be searched.
_START = 20_000


def what_it_is(data: bytes) -> str | None:
    """A sentence on what this file is and which one is wanted; None where nothing is recognized."""
    text = as_text(data)
    if not text:
        return "This file is empty. Download the server token again and upload that."
    known = _in_json(data, text) or _in_asn1(data)
    if known:
        return known
    kind = _kind_of(data, text[:_START])
    return kind and (
        f"This is {kind}, not a server token. Upload the file ending in .p7m that you downloaded"
        " at your server in Apple Business Manager."
    )


def is_cut_off(data: bytes) -> bool:
    """Whether the head of an encrypted message is there and nothing after it."""
    return bool(_MESSAGE.search(as_text(data)[:_START]))


def _kind_of(data: bytes, text: str) -> str | None:
    for beginning, kind in _BEGINNINGS.items():
        if data.startswith(beginning):
            return kind
    if found := _BEGIN.search(text):
        return _PEM_LABELS.get(found[1], "a key or certificate that cannot be read")
    if _HTML.search(text):
        return "a web page (perhaps the sign-in page that came in place of the download)"
    if text.startswith("<?xml"):
        return "an XML file (perhaps a configuration profile)"
    return None


def _in_json(data: bytes, text: str) -> str | None:
    if text[:1] not in "{[":
        try:
            text = as_text(binascii.a2b_base64(data))
        except ValueError:
            return None
    if text[:1] not in ("{", "["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, dict) and "expDate" in found and "token" in found:
        return _CONTENT_TOKEN
    if isinstance(found, dict) and "consumer_key" in found:
        return _OPENED
    return (
        "This is a JSON file, not a server token. Upload the file ending in .p7m that you"
        " downloaded at your server in Apple Business Manager."
    )


def _in_asn1(data: bytes) -> str | None:
    for candidate in asn1_candidates(data):
        try:
            return _certificate(x509.load_der_x509_certificate(_first(candidate)))
        except (ValueError, TypeError, x509.InvalidVersion):
            pass
        kind = _signed(candidate) or _is_request(candidate)
        if kind:
            return (
                f"This is {kind}, not a server token. Upload the file ending in .p7m that you"
                " downloaded at your server in Apple Business Manager."
            )
    return None


def _first(candidate: bytes) -> bytes:
    return bytes(asn1_x509.Certificate.load(candidate).dump())


def _certificate(certificate: x509.Certificate) -> str:
    topics = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
    if any(str(topic.value).startswith("com.apple.mgmt.") for topic in topics):
        return _PUSH_CERTIFICATE
    return _CERTIFICATE


def _signed(candidate: bytes) -> str | None:
    try:
        kind = cms.ContentInfo.load(candidate)["content_type"].native
    except (ValueError, TypeError):
        return None
    return "a signed file (perhaps a configuration profile)" if kind == "signed_data" else None


def _is_request(candidate: bytes) -> str | None:
    try:
        loaded = csr.CertificationRequest.load(candidate)
        found = loaded["certification_request_info"]["version"].native
    except (ValueError, TypeError, KeyError):
        return None
    return "a certificate signing request" if found == "v1" else None
