"""CertificateList: the certificates on the device, reduced to what an inventory shows of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from commands.catalog import sections
from commands.catalog.base import CommandType
from commands.catalog.parameters import MANAGED_ONLY
from commands.catalog.types import (
    DEVICE_AND_USER,
    DEVICE_ONLY,
    AccessRight,
    Change,
    Effect,
    Platform,
    Priority,
    ReplaceSection,
    Support,
)

SECTION = "CertificateList"
_RIGHT = AccessRight.ALLOW_INSPECTION


class CertificateList(CommandType):
    """`mdm/commands/certificate.list.yaml` of Apple's device-management schema.

    A member of the section has CommonName, IsIdentity, SHA256 (hex), and where the certificate
    can be read Subject, Issuer (RFC 4514), SerialNumber (hex), NotBefore and NotAfter (ISO 8601).
    """

    request_type = "CertificateList"
    purpose = "Ask the device which certificates and identities it holds."
    parameters = (MANAGED_ONLY,)
    support = {
        Platform.IOS: Support(
            min_version="4.0", user_enrollment=True, shared_ipad=DEVICE_ONLY, access=_RIGHT
        ),
        Platform.MACOS: Support(
            min_version="10.7", user_enrollment=True, channels=DEVICE_AND_USER, access=_RIGHT
        ),
        Platform.TVOS: Support(min_version="9.0", access=_RIGHT),
        Platform.VISIONOS: Support(min_version="1.1", user_enrollment=True, access=_RIGHT),
        Platform.WATCHOS: Support(min_version="10.0", access=_RIGHT),
    }
    priority = Priority.INVENTORY
    effect = Effect.READS
    coalesce = True
    never_not_now = frozenset({Platform.IOS})

    def _changes(
        self, content: Mapping[str, object], command: Mapping[str, object]
    ) -> list[Change]:
        reported = content.get(SECTION)
        if command.get("ManagedOnly") or not isinstance(reported, list):
            return []
        members = [item for item in reported if isinstance(item, Mapping)]
        data = [_certificate(item) for item in members[: sections.MAX_ITEMS]]
        return [ReplaceSection(SECTION, data, truncated=len(members) > sections.MAX_ITEMS)]


def _certificate(item: Mapping[object, object]) -> dict[str, object]:
    shown = sections.dictionary(item, drop=frozenset({"Data"}))
    der = item.get("Data")
    if not isinstance(der, bytes):
        return shown
    return shown | {"SHA256": hashlib.sha256(der).hexdigest()} | _parsed(der)


def _parsed(der: bytes) -> dict[str, object]:
    try:
        certificate = x509.load_der_x509_certificate(der)
        facts: dict[str, object] = {
            "Subject": certificate.subject.rfc4514_string(),
            "Issuer": certificate.issuer.rfc4514_string(),
            "SerialNumber": f"{certificate.serial_number:x}",
            "NotBefore": certificate.not_valid_before_utc,
            "NotAfter": certificate.not_valid_after_utc,
        }
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm, x509.InvalidVersion):
        return {}
    return sections.dictionary(facts)
