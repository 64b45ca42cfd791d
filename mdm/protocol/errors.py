"""What can be wrong with bytes from a device; the edges turn these into clean 4xx answers.

ProtocolError
├── BadPlist                a body that is not a property list we are willing to read
├── BadMessage              a property list that is not the message it claims to be
├── BadSignature            an Mdm-Signature that does not hold for this body
├── BadCertificateHeader    a client certificate header from the proxy that cannot be read
└── BadBinding              what an identity is for cannot be read (mdm.protocol.binding)
"""


class ProtocolError(Exception):
    """`reason` is a short stable slug for counters and logs; `str()` is a sentence for people.

    Neither quotes what the device sent, so both are safe to log and to count.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class BadPlist(ProtocolError):
    """The body cannot be read as a property list within its budget."""


class BadMessage(ProtocolError):
    """The property list lacks a field, or has one of another type, size or value."""


class BadSignature(ProtocolError):
    """The detached CMS signature is malformed, unsupported or not over this body."""


class BadCertificateHeader(ProtocolError):
    """The header does not hold exactly one certificate in the configured form."""
