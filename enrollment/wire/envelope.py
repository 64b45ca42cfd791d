"""CMS envelopes as SCEP uses them: for one RSA recipient, with SCEP's own errors.

`enrollment.wire.scep` wraps them in its messages; the encryption is `mdm.protocol.envelope`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from enrollment.wire.errors import BadAlgorithm, BadMessageCheck, BadRequest, ScepError
from mdm.protocol import envelope as sealed
from mdm.protocol.envelope import Cipher

__all__ = ["Cipher", "open_envelope", "seal_envelope"]

_MEANINGS: dict[type[sealed.EnvelopeError], type[ScepError]] = {
    sealed.UnknownAlgorithm: BadAlgorithm,
    sealed.Malformed: BadRequest,
    sealed.DoesNotOpen: BadMessageCheck,
}


def open_envelope(
    envelope: cms.EnvelopedData, certificate: x509.Certificate, key: rsa.RSAPrivateKey
) -> tuple[bytes, Cipher]:
    """What is inside, and the cipher it was in.

    Raises BadAlgorithm, BadRequest, BadMessageCheck. All that depends on the decrypted key ends
    in the same BadMessageCheck.
    """
    recipient = _recipient(envelope["recipient_infos"], certificate)
    with _scep_errors():
        return sealed.open_envelope(envelope, recipient, key)


def seal_envelope(data: bytes, recipient: x509.Certificate, cipher: Cipher) -> cms.EnvelopedData:
    """`data` for the holder of `recipient`'s RSA key. Raises BadAlgorithm for another key."""
    with _scep_errors():
        return sealed.seal_envelope(data, recipient, cipher)


def _recipient(
    recipients: cms.RecipientInfos, certificate: x509.Certificate
) -> cms.KeyTransRecipientInfo:
    """Our part of the envelope. Clients name us by issuer and serial number or by key id."""
    if len(recipients) != 1 or recipients[0].name != "ktri":
        raise BadRequest("the envelope is not for one RSA recipient")
    recipient = recipients[0].chosen
    if recipient["key_encryption_algorithm"]["algorithm"].native != "rsaes_pkcs1v15":
        raise BadAlgorithm("the content key is not wrapped with RSA PKCS#1 v1.5")
    name = recipient["rid"]
    by_serial = name.name == "issuer_and_serial_number"
    if by_serial and name.chosen["serial_number"].native != certificate.serial_number:
        raise BadRequest("the envelope is for another certificate")
    return recipient


@contextmanager
def _scep_errors() -> Iterator[None]:
    try:
        yield
    except sealed.EnvelopeError as error:
        raise _MEANINGS[type(error)](str(error)) from error
