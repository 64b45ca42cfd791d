"""CertRep, the answer to a SCEP request (RFC 8894 §3.3.2); requests are `enrollment.wire.scep`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from asn1crypto import cms, core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from enrollment.wire.authority import Authority
from enrollment.wire.envelope import seal_envelope
from enrollment.wire.errors import FailInfo
from enrollment.wire.scep import (
    CONTENT_TYPE,
    DIGESTS,
    FAIL_INFO,
    MESSAGE_DIGEST,
    MESSAGE_TYPE,
    PKI_STATUS,
    RECIPIENT_NONCE,
    SENDER_NONCE,
    TRANSACTION_ID,
    Message,
    Request,
    digest_of,
    hash_of,
)

CERT_REP = "3"
NONCE = 16


def success(
    authority: Authority, message: Message, request: Request, issued: x509.Certificate
) -> bytes:
    """CertRep SUCCESS: the issued certificate, in an envelope for the request's signer."""
    certificates = pkcs7.serialize_certificates([issued], Encoding.DER)
    envelope = cms.ContentInfo(
        {
            "content_type": "enveloped_data",
            "content": seal_envelope(certificates, request.signer, request.cipher),
        }
    )
    return _answer(authority, message, [_printable(PKI_STATUS, "0")], envelope.dump())


def failure(authority: Authority, message: Message, fail_info: FailInfo) -> bytes:
    """CertRep FAILURE, with the reason in SCEP's own small vocabulary."""
    status = [_printable(PKI_STATUS, "2"), _printable(FAIL_INFO, fail_info.value)]
    return _answer(authority, message, status, None)


def _answer(
    authority: Authority,
    message: Message,
    status: Sequence[cms.CMSAttribute],
    content: bytes | None,
) -> bytes:
    # A client that signed with SHA-1 may know nothing better; signed attributes can never be
    # mistaken for a certificate, so that the CA's key is not put at risk by it.
    name = message.digest if message.digest in DIGESTS else "sha256"
    digest = digest_of(name)
    attributes = cms.CMSAttributes(
        [
            _attribute(CONTENT_TYPE, cms.ContentType("data")),
            _attribute(MESSAGE_DIGEST, core.OctetString(hash_of(digest, content or b""))),
            _printable(MESSAGE_TYPE, CERT_REP),
            _printable(TRANSACTION_ID, message.transaction_id),
            _attribute(SENDER_NONCE, core.OctetString(os.urandom(NONCE))),
            _attribute(RECIPIENT_NONCE, core.OctetString(message.sender_nonce)),
            *status,
        ]
    )
    signature = authority.key.sign(attributes.dump(), PKCS1v15(), digest)
    return _signed(authority.certificate, name, attributes, signature, content)


def _signed(
    certificate: x509.Certificate,
    digest: str,
    attributes: cms.CMSAttributes,
    signature: bytes,
    content: bytes | None,
) -> bytes:
    own = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
    signer = {
        "version": "v1",
        "sid": cms.SignerIdentifier(
            name="issuer_and_serial_number",
            value={"issuer": own.issuer, "serial_number": own.serial_number},
        ),
        "digest_algorithm": {"algorithm": digest},
        "signed_attrs": attributes,
        "signature_algorithm": {"algorithm": "rsassa_pkcs1v15"},
        "signature": signature,
    }
    signed_data = cms.SignedData(
        {
            "version": "v1",
            "digest_algorithms": [{"algorithm": digest}],
            "encap_content_info": {"content_type": "data", "content": content},
            "certificates": [cms.CertificateChoices("certificate", own)],
            "signer_infos": [signer],
        }
    )
    info = cms.ContentInfo({"content_type": "signed_data", "content": signed_data})
    return bytes(info.dump())


def _printable(oid: str, text: str) -> cms.CMSAttribute:
    return _attribute(oid, core.PrintableString(text))


def _attribute(oid: str, value: core.Asn1Value) -> cms.CMSAttribute:
    return cms.CMSAttribute({"type": oid, "values": [value]})
