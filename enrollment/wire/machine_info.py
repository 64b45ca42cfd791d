"""MachineInfo: what a device says of itself when it asks to enroll automatically, signed with the
certificate that Apple gave it in the factory.

Validity dates are not read and SHA-1 is fine: Apple's intermediates have expired long ago, and
devices go on with what they have. Who issued counts: Apple's root also stands above certificates
for developers, so a device's own issuer must be a device CA. What is proven is that a device of
Apple's signed this, not that it has this serial number: nothing in its certificate says so, and
only attestation could. Source: Apple's "MachineInfo"; RFC 5652, RFC 5280.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mdm.protocol.errors import BadPlist
from mdm.protocol.errors import BadSignature as BadCms
from mdm.protocol.plist import safe_plist_loads
from mdm.protocol.signature import read_signed_message

MAX_MESSAGE = 64 * 1024
MAX_SERIAL = 64
MAX_TEXT = 200
# The root, two intermediates, the device, and room for two that a later generation may add.
_LONGEST_CHAIN = 6
# How the CAs are called that issue nothing but devices' certificates.
_DEVICE_CA = re.compile(r"\bDevice CA\b")
# What a device says in the second phase of an over-the-air enrollment, which it signs just so for
# whoever asks, and never when it enrolls automatically.
_OTHER_MESSAGES = ("CHALLENGE", "NotOnConsole", "UserID", "UserLongName", "UserShortName")
_ALWAYS_SAID = ("UDID", "PRODUCT", "VERSION")


class MachineInfoError(ValueError):
    """A message that proves nothing; a sentence says why. `claimed_serial` is the serial number
    that it claims all the same, "" for none: good for a log, and for nothing else.

    MachineInfoError
    ├── Unreadable       no CMS, no property list, or one that is no MachineInfo
    ├── Unsigned         a bare property list
    ├── BadSignature     the signature is not over this content
    └── Foreign          the signer is no device of Apple's
    """

    def __init__(self, message: str, claimed_serial: str = "") -> None:
        super().__init__(message)
        self.claimed_serial = claimed_serial


class Unreadable(MachineInfoError):
    pass


class Unsigned(MachineInfoError):
    pass


class BadSignature(MachineInfoError):
    pass


class Foreign(MachineInfoError):
    pass


@dataclass(frozen=True, slots=True)
class Trust:
    """Where a device's chain may end; `intermediates` help where a message leaves them out."""

    roots: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineInfo:
    """What a device says of itself. Texts are "" where it says nothing; `build` is Apple's
    VERSION.
    """

    serial_number: str
    udid: str
    product: str
    build: str
    os_version: str = ""
    supplemental_build_version: str = ""
    supplemental_os_version_extra: str = ""
    imei: str = ""
    meid: str = ""
    language: str = ""
    software_update_device_id: str = ""
    can_request_software_update: bool = False
    software_update_required: bool = False
    can_request_psso_config: bool = False
    pairing_token: bytes = b""


def read(message: bytes, trust: Trust) -> MachineInfo:
    """What the device says, once it is proven that a device of Apple's says it. Raises
    MachineInfoError.
    """
    return _machine_info(proven(message, trust))


def proven(message: bytes, trust: Trust) -> bytes:
    """What a device of Apple's has signed, whatever it says. Raises MachineInfoError."""
    if len(message) > MAX_MESSAGE:
        raise Unreadable("The message is larger than any MachineInfo.")
    if message.lstrip()[:1] == b"<" or message.startswith(b"bplist"):
        raise Unsigned("The message is not signed.", _claimed(message))
    try:
        signed = read_signed_message(message)
    except BadCms as error:
        raise Unreadable(f"The message cannot be read: {error}") from error
    try:
        signer = signed.verify()
    except BadCms as error:
        raise BadSignature(
            f"The signature does not prove the message: {error}", _claimed(signed.content)
        ) from error
    _check_chain(signer.der, signed.certificates, trust, _claimed(signed.content))
    return signed.content


# --- The content ---------------------------------------------------------------------------------


def _machine_info(content: bytes) -> MachineInfo:
    try:
        given = safe_plist_loads(content)
    except BadPlist as error:
        raise Unreadable(f"What is signed is no property list: {error}") from error
    serial = _serial(given.get("SERIAL"))
    if not serial:
        raise Unreadable("The message has no serial number.")
    if any(key in given for key in _OTHER_MESSAGES):
        raise Unreadable("This was signed for an over-the-air enrollment, not for this.", serial)
    missing = [key for key in _ALWAYS_SAID if not _text(given.get(key))]
    if missing:
        raise Unreadable(f"The message does not say {missing[0]}, which every device says.", serial)
    pairing = given.get("PAIRING_TOKEN")
    return MachineInfo(
        serial_number=serial,
        udid=_text(given.get("UDID")),
        product=_text(given.get("PRODUCT")),
        build=_text(given.get("VERSION")),
        os_version=_text(given.get("OS_VERSION")),
        supplemental_build_version=_text(given.get("SUPPLEMENTAL_BUILD_VERSION")),
        supplemental_os_version_extra=_text(given.get("SUPPLEMENTAL_OS_VERSION_EXTRA")),
        imei=_text(given.get("IMEI")),
        meid=_text(given.get("MEID")),
        language=_text(given.get("LANGUAGE")),
        software_update_device_id=_text(given.get("SOFTWARE_UPDATE_DEVICE_ID")),
        can_request_software_update=given.get("MDM_CAN_REQUEST_SOFTWARE_UPDATE") is True,
        software_update_required=given.get("MANDATORY_SOFTWARE_UPDATE_REQUIRED") is True,
        can_request_psso_config=given.get("MDM_CAN_REQUEST_PSSO_CONFIG") is True,
        pairing_token=pairing if isinstance(pairing, bytes) else b"",
    )


def _claimed(content: bytes) -> str:
    try:
        return _serial(safe_plist_loads(content).get("SERIAL"))
    except BadPlist:
        return ""


def _serial(value: object) -> str:
    if not isinstance(value, str):
        return ""
    serial = value.strip().upper()
    return serial if serial.isascii() and serial.isalnum() and len(serial) <= MAX_SERIAL else ""


def _text(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return "".join(each for each in value[:MAX_TEXT] if each.isprintable())


# --- The chain -----------------------------------------------------------------------------------

# What cryptography raises for extensions that it cannot make sense of.
_UNREADABLE = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


def _check_chain(leaf_der: bytes, sent: Sequence[bytes], trust: Trust, claimed: str) -> None:
    """Raises Foreign unless the leaf was issued by a device CA below one of the roots themselves,
    whatever their names are.
    """
    leaf = _loaded(leaf_der)
    if leaf is None:
        raise Foreign("The signer's certificate cannot be read.", claimed)
    others = [found for each in sent[:_LONGEST_CHAIN] if (found := _loaded(each)) is not None]
    vouched = _vouched([*trust.intermediates, *others], trust.roots)
    issuers = [each for each, _ in vouched if _is_device_ca(each)]
    if _authority(leaf) is not None or not any(_issued(each, leaf) for each in issuers):
        raise Foreign(
            "The message is signed, but not by a device of Apple's: its certificate was issued by"
            f" {_name(leaf)}.",
            claimed,
        )


def _vouched(
    certificates: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> list[tuple[x509.Certificate, int]]:
    """The CAs that the roots stand above, themselves included, and how many more each may have
    below it. From the top down: only a key that is vouched for is calculated with, so that nobody
    can choose how long that takes, and each certificate is visited once, however they have signed
    one another.
    """
    left = [each for each in _distinct(certificates) if each not in roots]
    found = step = [(root, _most_below(root, _LONGEST_CHAIN)) for root in roots]
    while step:
        step = [
            (each, _most_below(each, below - 1))
            for each in left
            if (below := max((b for above, b in step if _issued(above, each)), default=0)) > 0
            and _authority(each) is not None
        ]
        left = [each for each in left if all(each != one for one, _ in step)]
        found = [*found, *step]
    return found


def _most_below(certificate: x509.Certificate, allowed: int) -> int:
    """How many CAs may stand below this one (RFC 5280, section 4.2.1.9)."""
    constraints = _authority(certificate)
    own = constraints.path_length if constraints is not None else None
    return allowed if own is None else min(own, allowed)


def _issued(issuer: x509.Certificate, issued: x509.Certificate) -> bool:
    try:
        if issuer.subject != issued.issuer:
            return False
        key, algorithm = issuer.public_key(), issued.signature_hash_algorithm
        if algorithm is None:
            return False
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(
                issued.signature, issued.tbs_certificate_bytes, padding.PKCS1v15(), algorithm
            )
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(issued.signature, issued.tbs_certificate_bytes, ec.ECDSA(algorithm))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _authority(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    """What the certificate may issue; None where it is no CA's, or cannot be read."""
    try:
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except (*_UNREADABLE, x509.ExtensionNotFound):
        return None
    try:
        signs = extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        signs = True
    return constraints if constraints.ca and signs else None


def _is_device_ca(certificate: x509.Certificate) -> bool:
    try:
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return False
    return any(_DEVICE_CA.search(str(name.value)) for name in names)


def _loaded(der: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None


def _distinct(certificates: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    return list({each.public_bytes(Encoding.DER): each for each in certificates}.values())


def _name(certificate: x509.Certificate) -> str:
    try:
        return _text(certificate.issuer.rfc4514_string())
    except ValueError:
        return "someone without a name"
