"""Reading configuration profiles as a device does: signature, payloads, certificates. Installing
what they say is `lab.devices.enrolling`'s and `lab.devices.commands`'s work."""

from __future__ import annotations

import plistlib
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from lab import cms
from lab.errors import BadCms, EnrollmentFailed
from lab.scep import ScepPayload

MIME = "application/x-apple-aspen-config"
_CERTIFICATES = frozenset(
    {"com.apple.security.root", "com.apple.security.pkcs1", "com.apple.security.pem"}
)


@dataclass(frozen=True)
class Profile:
    """`data` is the file as it came, `signer` who signed it; None where nobody did."""

    data: bytes
    content: dict[str, Any]
    signer: x509.Certificate | None

    @property
    def identifier(self) -> str:
        return str(self.content["PayloadIdentifier"])

    def payloads(self, *types: str) -> list[dict[str, Any]]:
        return [p for p in self.content["PayloadContent"] if p.get("PayloadType") in types]

    def certificates(self) -> list[x509.Certificate]:
        """The certificates that installing the profile makes the device trust."""
        return [_certificate(p["PayloadContent"]) for p in self.payloads(*_CERTIFICATES)]

    def authorities(self) -> bytes:
        """The same, as PEM."""
        return b"".join(c.public_bytes(Encoding.PEM) for c in self.certificates())

    def mdm(self) -> dict[str, Any]:
        """The one MDM payload. Raises EnrollmentFailed when there is none, or are two."""
        payloads = self.payloads("com.apple.mdm")
        if len(payloads) != 1:
            raise EnrollmentFailed(f"The profile holds {len(payloads)} MDM payloads, not one.")
        return payloads[0]

    def identity(self) -> ScepPayload:
        """The SCEP payload that the MDM payload names as its identity."""
        wanted = self.mdm()["IdentityCertificateUUID"]
        for payload in self.payloads("com.apple.security.scep"):
            if payload["PayloadUUID"] == wanted:
                return ScepPayload.read(payload["PayloadContent"])
        raise EnrollmentFailed("The MDM payload's identity is not in the profile.")

    def summary(self) -> dict[str, Any]:
        """The profile as ProfileList reports it: everything but the payloads' contents."""
        kept = (
            "Description",
            "DisplayName",
            "Identifier",
            "Organization",
            "Type",
            "UUID",
            "Version",
        )
        names = {f"Payload{word}" for word in kept}
        summary = {k: v for k, v in self.content.items() if k in names - {"PayloadType"}}
        summary["PayloadRemovalDisallowed"] = self.content.get("PayloadRemovalDisallowed", False)
        summary["HasRemovalPasscode"] = False
        summary["IsEncrypted"] = False
        if self.signer is not None:
            summary["SignerCertificates"] = [self.signer.public_bytes(Encoding.DER)]
        summary["PayloadContent"] = [
            {k: v for k, v in payload.items() if k in names - {"PayloadUUID"}}
            for payload in self.content["PayloadContent"]
        ]
        return summary


def read_profile(data: bytes) -> Profile:
    """A .mobileconfig, signed or not. Raises BadCms for a wrong signature or something that is
    no profile at all."""
    signer, plist = None, data
    if not data.lstrip().startswith((b"<?xml", b"<!DOCTYPE", b"<plist", b"bplist")):
        verified = cms.verify(data)
        plist, signer = verified.content, verified.signer
    try:
        content = plistlib.loads(plist)
        missing = _REQUIRED - set(content)
    except Exception as error:  # plistlib's failures have no common base
        raise BadCms(f"This is no profile: {error}.") from error
    if missing or content["PayloadType"] != "Configuration":
        raise BadCms(f"This is no configuration profile: {sorted(missing) or 'wrong type'}.")
    if not isinstance(content["PayloadContent"], list):
        raise BadCms("The profile's PayloadContent is no array.")
    return Profile(data, content, signer)


_REQUIRED = {"PayloadType", "PayloadIdentifier", "PayloadUUID", "PayloadVersion", "PayloadContent"}


def _certificate(data: bytes) -> x509.Certificate:
    if data.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_certificate(data)
    return x509.load_der_x509_certificate(data)
