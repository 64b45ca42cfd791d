"""The certificate that a request came with, and the parts of it that a signature needs.

No decision about trust is made here: `mdm.identity` makes it. Source: RFC 5280, section 4.1.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

from mdm.protocol import der

# Device identities are one to four kilobytes; what is kept of them must stay bounded.
CERTIFICATE_LENGTH = 8 * 1024

_SUBJECT_KEY_IDENTIFIER = bytes.fromhex("551d0e")
_FIELDS = (der.INTEGER, der.SEQUENCE, der.SEQUENCE, der.SEQUENCE, der.SEQUENCE, der.SEQUENCE)


@dataclass(frozen=True)
class SignerCertificate:
    """A certificate as sent; nothing is said about who issued it or for what."""

    der: bytes

    @cached_property
    def sha256(self) -> bytes:
        """The fingerprint that an enrollment is bound to, 32 bytes."""
        return hashlib.sha256(self.der).digest()


@dataclass(frozen=True, slots=True)
class CertificateParts:
    """A certificate and, as they are encoded in it, the parts that tell whose signature it is."""

    encoded: bytes
    serial_number: bytes
    issuer: bytes
    public_key: bytes
    extensions: der.Element | None

    @property
    def subject_key_identifier(self) -> bytes | None:
        """The identifier in the extension of that name; raises BadDer where it is malformed."""
        if self.extensions is None:
            return None
        (extensions,) = der.exactly(self.encoded, self.extensions, der.CONTEXT_3, 1)
        for extension in der.children(self.encoded, extensions):
            name, *_, value = der.at_least(self.encoded, extension, der.SEQUENCE, 2)
            if der.content(self.encoded, name, der.OBJECT_IDENTIFIER) == _SUBJECT_KEY_IDENTIFIER:
                held = der.content(self.encoded, value, der.OCTET_STRING)
                return der.content(held, der.only(held, der.OCTET_STRING), der.OCTET_STRING)
        return None


# A device connects several times in a row: what was read of its certificate is kept that long.
@lru_cache(maxsize=1024)
def certificate_parts(encoded: bytes) -> CertificateParts:
    """The parts of one DER certificate; raises BadDer."""
    if len(encoded) > CERTIFICATE_LENGTH:
        raise der.BadDer("certificate too large")
    outer = der.only(encoded, der.SEQUENCE)
    body, algorithm, signature = der.exactly(encoded, outer, der.SEQUENCE, 3)
    der.require((der.SEQUENCE, der.BIT_STRING), algorithm, signature)
    fields = der.at_least(encoded, body, der.SEQUENCE, 6)
    if fields[0].tag == der.CONTEXT_0:
        fields.pop(0)
    if len(fields) < 6:
        raise der.BadDer("too few elements")
    serial, _algorithm, issuer, _validity, _subject, public_key, *rest = fields
    der.require(_FIELDS, *fields[:6])
    return CertificateParts(
        encoded=encoded,
        serial_number=der.whole(encoded, serial),
        issuer=der.whole(encoded, issuer),
        public_key=der.whole(encoded, public_key),
        extensions=next((field for field in rest if field.tag == der.CONTEXT_3), None),
    )
