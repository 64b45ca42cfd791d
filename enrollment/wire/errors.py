"""What can be wrong with a SCEP message.

ScepError
├── Unreadable         no SCEP message at all: nothing to answer to, HTTP 400
├── BadAlgorithm       failInfo 0 (badAlg)
├── BadMessageCheck    failInfo 1 (badMessageCheck)
├── BadRequest         failInfo 2 (badRequest)
└── BadCertificateId   failInfo 4 (badCertId)
"""

from __future__ import annotations

from enum import Enum


class FailInfo(Enum):
    """Why a CertRep says FAILURE (RFC 8894 §3.2.1.4)."""

    BAD_ALG = "0"
    BAD_MESSAGE_CHECK = "1"
    BAD_REQUEST = "2"
    BAD_TIME = "3"
    BAD_CERT_ID = "4"


class ScepError(Exception):
    """A SCEP message that gets no certificate; `fail_info` is what its sender is told."""

    fail_info = FailInfo.BAD_REQUEST


class Unreadable(ScepError):
    """Not a SCEP message, or one too large to look at."""


class BadAlgorithm(ScepError):
    """An algorithm that is unknown or too weak."""

    fail_info = FailInfo.BAD_ALG


class BadMessageCheck(ScepError):
    """A signature that does not verify, or contents that cannot be decrypted."""

    fail_info = FailInfo.BAD_MESSAGE_CHECK


class BadRequest(ScepError):
    """A request that is not permitted or makes no sense."""


class BadCertificateId(ScepError):
    """A renewal signed with a certificate that may not be renewed."""

    fail_info = FailInfo.BAD_CERT_ID
