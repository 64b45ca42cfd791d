"""Who speaks, and which certificate may speak for which enrollment.

Every request of a device proves possession of one certificate: by its signature over the body
(Mdm-Signature) or through a proxy that ended the TLS connection. Each enrollment is bound to
exactly one certificate by its SHA-256; that comparison is part of the statements that read the
enrollment (mdm/checkin, commands/connect.py). Only Authenticate can change the bond, and only
after `issued` has found that our authority issued the certificate for such an enrollment.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID
from django.conf import settings
from django.utils import timezone

from mdm import forwarded
from mdm.env import IdentityMode
from mdm.protocol.binding import BadBinding, Binding, Purpose
from mdm.protocol.client_certificate import certificate_from_header
from mdm.protocol.signature import SignerCertificate, verify_mdm_signature
from mdm.refusals import Refused

__all__ = [
    "Binding",
    "Issued",
    "Purpose",
    "SignerCertificate",
    "check_issuer",
    "claimed",
    "issued",
    "speaker",
    "trust",
]

_RELOAD_AFTER = 10.0

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Authorities = Callable[[], list[x509.Certificate]]


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that our authority issued, and what it was issued for."""

    certificate: x509.Certificate
    binding: Binding


def speaker(environ: Mapping[str, object], body: bytes) -> SignerCertificate:
    """The certificate that this request proves possession of.

    Raises Refused, or a ProtocolError where the proof cannot be read or does not hold.
    """
    mode = settings.ENV.identity_mode
    if mode is IdentityMode.MDM_SIGNATURE:
        header = environ.get("HTTP_MDM_SIGNATURE")
        if not isinstance(header, str) or not header:
            raise Refused("no_signature", "The request has no Mdm-Signature.", status=400)
        return verify_mdm_signature(header, body)
    header = environ.get(settings.ENV.identity_header_key)
    if not from_trusted_proxy(forwarded.peer(environ)):
        raise Refused(
            "untrusted_proxy", "Client certificates are taken only from GUARD_TRUSTED_PROXIES."
        )
    if not isinstance(header, str) or not header:
        raise Refused("no_certificate", "The proxy passed no client certificate.", status=400)
    if mode is IdentityMode.CLIENT_CERT:
        return certificate_from_header(header, "rfc9440")
    return certificate_from_header(header, "nginx")


def from_trusted_proxy(address: str) -> bool:
    """Whether the peer is one of GUARD_TRUSTED_PROXIES."""
    return forwarded.is_in(address, settings.ENV.trusted_proxies)


def trust(authorities: Authorities) -> None:
    """Let `authorities()` name CA certificates that issue device identities."""
    _providers.append(authorities)
    _forget()


def issued(signer: SignerCertificate) -> Issued:
    """What this certificate was issued for, after `claimed` and `check_issuer`. Raises Refused."""
    claim = claimed(signer)
    check_issuer(claim)
    return claim


def claimed(signer: SignerCertificate) -> Issued:
    """What this certificate says that it was issued for; who issued it is not checked.

    Raises Refused (403) for CA or server certificates, expired ones, and ones without a binding.
    Only for Authenticate: an enrollment keeps speaking with its bound certificate after that has
    expired, since refusing it would strand the device.
    """
    try:
        certificate = x509.load_der_x509_certificate(signer.der)
        _check_use(certificate, timezone.now())
        return Issued(certificate, Binding.from_certificate(certificate))
    except BadBinding as error:
        raise Refused("no_binding", str(error)) from error
    except _UNREADABLE as error:
        raise Refused("bad_certificate", "The identity certificate cannot be read.") from error


def check_issuer(claim: Issued) -> None:
    """Raises Refused (403) for a certificate of another authority. One whose SHA-256 is on record
    (mdm_identity) need not be asked: we made that record when we issued it.
    """
    try:
        if _is_ours(claim.certificate):
            return
    except _UNREADABLE as error:
        raise Refused("bad_certificate", "The identity certificate cannot be read.") from error
    raise Refused("foreign_authority", "The identity is not from our authority.")


# What reading a certificate that somebody made by hand may raise.
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class _Loaded:
    authorities: list[x509.Certificate]
    at: float


_providers: list[Authorities] = []
_loaded: _Loaded | None = None


def _is_ours(certificate: x509.Certificate) -> bool:
    if _signed_by_one_of(certificate, _authorities().authorities):
        return True
    # A process that loaded its list before the authority was made must not refuse for ever.
    if time.monotonic() - _authorities().at < _RELOAD_AFTER:
        return False
    _forget()
    return _signed_by_one_of(certificate, _authorities().authorities)


def _authorities() -> _Loaded:
    global _loaded
    held = _loaded
    if held is None:
        authorities = [ca for provider in _providers for ca in provider()]
        held = _loaded = _Loaded(authorities, time.monotonic())
    return held


def _forget() -> None:
    global _loaded
    _loaded = None


def _signed_by_one_of(certificate: x509.Certificate, authorities: list[x509.Certificate]) -> bool:
    for authority in authorities:
        if certificate.issuer != authority.subject:
            continue
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
            continue
        return True
    return False


def _check_use(certificate: x509.Certificate, now: datetime) -> None:
    extensions = certificate.extensions
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise Refused("wrong_usage", "The certificate is not one for device identities.")
    constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    if constraints.ca:
        raise Refused("wrong_usage", "A CA certificate cannot be a device's identity.")
    if certificate.not_valid_after_utc < now:
        raise Refused("expired_identity", "The identity has expired; enroll with a new one.")
