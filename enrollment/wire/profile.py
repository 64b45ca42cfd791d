"""The enrollment profile: what a device installs to become managed, and its signature.

Which device gets which one is decided in `enrollment.links`; the certificates it speaks of are
made in `enrollment.wire.authority`.
"""

from __future__ import annotations

import plistlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from uuid import UUID, uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

MIME_TYPE = "application/x-apple-aspen-config"

# A device replaces the profile with the same identifier: this is what makes a renewal one.
PROFILE_IDENTIFIER = "guardmdm.enrollment"

KEY_SIZE = 2048
_SIGN_AND_ENCRYPT = 5


class AccessRights(IntFlag):
    """What the MDM payload lets the server do (Apple's MDM payload, AccessRights)."""

    INSPECT_PROFILES = 1
    INSTALL_PROFILES = 2
    LOCK_AND_REMOVE_PASSCODE = 4
    ERASE = 8
    QUERY_DEVICE = 16
    QUERY_NETWORK = 32
    INSPECT_PROVISIONING = 64
    INSTALL_PROVISIONING = 128
    INSPECT_APPS = 256
    QUERY_RESTRICTIONS = 512
    QUERY_SECURITY = 1024
    SETTINGS = 2048
    MANAGE_APPS = 4096
    ALL = 8191


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentProfile:
    """What one enrollment profile says.

    URLs are absolute https addresses; `topic` is the push certificate's UID and begins with
    com.apple.mgmt.; `challenge` is the secret that the SCEP request will bring back.
    """

    organization: str
    ca_certificate: x509.Certificate
    scep_url: str
    challenge: str
    topic: str
    server_url: str
    check_in_url: str
    sign_message: bool = True
    access_rights: AccessRights = AccessRights.ALL


def profile_plist(
    profile: EnrollmentProfile, new_uuid: Callable[[], UUID] = uuid4
) -> dict[str, object]:
    """The profile as a plist dictionary, with payload UUIDs of its own each time."""
    identity = _payload(new_uuid(), "identity", "com.apple.security.scep", "Device identity")
    return {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": PROFILE_IDENTIFIER,
        "PayloadUUID": _text(new_uuid()),
        "PayloadScope": "System",
        "PayloadOrganization": profile.organization,
        "PayloadDisplayName": f"Device management by {profile.organization}",
        "PayloadDescription": (
            f"Lets {profile.organization} manage this device."
            " Removing it removes everything that was installed through it."
        ),
        "PayloadContent": [
            _root(profile, new_uuid()),
            identity | {"PayloadContent": _scep(profile)},
            _mdm(profile, new_uuid(), identity["PayloadUUID"]),
        ],
    }


def profile_bytes(profile: EnrollmentProfile, new_uuid: Callable[[], UUID] = uuid4) -> bytes:
    """The profile as an XML plist, not signed."""
    return plistlib.dumps(profile_plist(profile, new_uuid))


def sign_profile(
    data: bytes,
    certificate: x509.Certificate,
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    chain: Sequence[x509.Certificate] = (),
) -> bytes:
    """CMS SignedData (DER, SHA-256) with `data` inside; `chain` holds the intermediates."""
    builder = pkcs7.PKCS7SignatureBuilder().set_data(data)
    builder = builder.add_signer(certificate, key, hashes.SHA256())
    for intermediate in chain:
        builder = builder.add_certificate(intermediate)
    options = [pkcs7.PKCS7Options.Binary, pkcs7.PKCS7Options.NoCapabilities]
    return builder.sign(Encoding.DER, options)


def _root(profile: EnrollmentProfile, uuid: UUID) -> dict[str, object]:
    payload = _payload(uuid, "ca", "com.apple.security.root", "Certificate authority")
    der = profile.ca_certificate.public_bytes(Encoding.DER)
    return payload | {"PayloadCertificateFileName": "ca.cer", "PayloadContent": der}


def _scep(profile: EnrollmentProfile) -> dict[str, object]:
    return {
        "URL": profile.scep_url,
        "Subject": [[["O", profile.organization]], [["CN", "MDM Identity"]]],
        "Challenge": profile.challenge,
        "Key Type": "RSA",
        "Keysize": KEY_SIZE,
        "Key Usage": _SIGN_AND_ENCRYPT,
        "KeyIsExtractable": False,
    }


def _mdm(profile: EnrollmentProfile, uuid: UUID, identity_uuid: object) -> dict[str, object]:
    return _payload(uuid, "mdm", "com.apple.mdm", "Device management") | {
        "IdentityCertificateUUID": identity_uuid,
        "Topic": profile.topic,
        "ServerURL": profile.server_url,
        "CheckInURL": profile.check_in_url,
        "AccessRights": int(profile.access_rights),
        "SignMessage": profile.sign_message,
        "CheckOutWhenRemoved": True,
        "ServerCapabilities": [
            "com.apple.mdm.per-user-connections",
            "com.apple.mdm.bootstraptoken",
        ],
    }


def _payload(uuid: UUID, name: str, kind: str, display_name: str) -> dict[str, object]:
    return {
        "PayloadType": kind,
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{PROFILE_IDENTIFIER}.{name}",
        "PayloadUUID": _text(uuid),
        "PayloadDisplayName": display_name,
    }


def _text(uuid: UUID) -> str:
    return str(uuid).upper()
