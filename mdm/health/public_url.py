"""Whether devices reach this server at GUARD_PUBLIC_URL: its readiness is asked for over the
network, as a device would come, and the TLS certificate is looked at.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from datetime import datetime
from urllib.parse import SplitResult, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.utils import timezone

from mdm.health.probes import Found
from mdm.health.readiness import READY, who

_SECONDS = 5.0
_LARGEST = 200

Authorities = Callable[[], list[x509.Certificate]]

# What OpenSSL calls the ways in which a certificate is no good (x509_vfy.h).
_NOT_YET_VALID, _EXPIRED = 9, 10
_SELF_SIGNED, _SELF_SIGNED_CHAIN = 18, 19
_NO_ISSUER, _NO_FIRST_ISSUER = 20, 21
_OTHER_NAME, _OTHER_ADDRESS = 62, 64


class _Wrong(Exception):
    """What is wrong, and what to do; when the certificate ends, where one was seen."""

    def __init__(self, words: str, ends_at: datetime | None = None) -> None:
        super().__init__(words)
        self.ends_at = ends_at


def believe(authorities: Authorities) -> None:
    """Let certificates of these CAs count too, outside of production: devices that try things out
    are told to trust them.
    """
    _believed.append(authorities)


def look(asked_by: int | None) -> Found:
    """Come to GUARD_PUBLIC_URL over the network."""
    address = urlsplit(settings.ENV.public_url)
    try:
        return _visit(address)
    except _Wrong as wrong:
        return Found(False, str(wrong), wrong.ends_at)


_believed: list[Authorities] = []


def _visit(address: SplitResult) -> Found:
    if address.scheme != "https":
        raise _Wrong(
            f"{settings.ENV.public_url} is no https address, and devices enroll over https alone."
            " Set GUARD_PUBLIC_URL to the https address at which devices reach this server."
        )
    host, port = address.hostname or "", address.port or 443
    context = _context()
    context.check_hostname = True
    line = http.client.HTTPSConnection(host, port, timeout=_SECONDS, context=context)
    try:
        line.connect()
        certificate = _shown(line.sock)
        ends = certificate.not_valid_after_utc
        line.request("GET", f"{address.path}/readyz", headers={"User-Agent": "GuardMDM"})
        answer = line.getresponse()
        _check(address, answer.status, answer.read(_LARGEST), ends)
    except ssl.SSLCertVerificationError as error:
        raise _about_certificate(host, port, error) from None
    except socket.gaierror as error:
        raise _Wrong(
            f"The name {host} is not known in DNS as this server sees it ({error.strerror}). Make"
            " the record, or correct GUARD_PUBLIC_URL."
        ) from None
    except ssl.SSLError as error:
        raise _Wrong(
            f"{host}:{port} answers, but not with TLS 1.2 or newer ({error.reason or error}). See"
            " that the port is the one that TLS is served on."
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Wrong(
            f"{host}:{port} cannot be reached from this server: {_why(error)}. See that the proxy"
            " or the web processes run and that the firewall lets it through. Where your network"
            " keeps servers from reaching their own public address, try it from outside and"
            " dismiss this step."
        ) from None
    finally:
        line.close()
    return Found(
        True,
        f"This server answers at {settings.ENV.public_url}. Its certificate is from"
        f" {_name(certificate.issuer)} and valid until {ends:%B %d, %Y}.",
        ends,
    )


def _check(address: SplitResult, status: int, body: bytes, ends: datetime) -> None:
    said = body.decode("utf-8", "replace").split()
    if status == 503:
        raise _Wrong(
            f"{address.netloc} answers that it is not ready (status 503): its database is away, or"
            " the proxy finds no web process.",
            ends,
        )
    if status != 200 or said[:1] != [READY]:
        raise _Wrong(
            f"Something answers at {address.netloc}, with status {status}, but it is not GuardMDM."
            " See where the proxy sends the path /readyz; /mdm and /scep have to come here too.",
            ends,
        )
    if said[1:] != [who()]:
        raise _Wrong(
            f"Another GuardMDM answers at {address.netloc}: one with another GUARD_SECRET_KEY.",
            ends,
        )


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not settings.ENV.production:
        for authority in (each for authorities in _believed for each in authorities()):
            context.load_verify_locations(cadata=authority.public_bytes(Encoding.PEM).decode())
    return context


def _about_certificate(host: str, port: int, error: ssl.SSLCertVerificationError) -> _Wrong:
    """Look at the certificate that was not accepted, and say why it was not."""
    certificate = _unverified(host, port)
    if certificate is None:
        return _Wrong(f"The certificate of {host}:{port} is not accepted: {error.verify_message}.")
    ends = certificate.not_valid_after_utc
    issuer = _name(certificate.issuer)
    match error.verify_code:
        case code if code == _EXPIRED:
            # The leaf's or one above it.
            day = f"on {ends:%B %d, %Y}" if ends <= timezone.now() else "in the chain above it"
            words = f"expired {day}. Renew it, and restart what serves it."
        case code if code == _NOT_YET_VALID:
            words = f"is not valid before {certificate.not_valid_before_utc:%B %d, %Y}."
        case code if code in {_OTHER_NAME, _OTHER_ADDRESS}:
            words = f"is for {_names(certificate)} and not for {host}. Get one for {host}."
        case code if code == _SELF_SIGNED:
            words = "is self-signed: no device trusts it. Get one from a public CA."
        case code if code in {_NO_ISSUER, _NO_FIRST_ISSUER, _SELF_SIGNED_CHAIN}:
            words = (
                f"is from {issuer}, which devices do not trust, or its intermediate certificates"
                " are not sent with it. Serve the whole chain, from a public CA."
            )
        case _:
            words = f"is not accepted: {error.verify_message}."
    return _Wrong(f"The certificate of {host}:{port} {words}", ends)


def _unverified(host: str, port: int) -> x509.Certificate | None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as line,
        ):
            return _shown(line)
    except (OSError, ValueError):
        return None


def _shown(line: ssl.SSLSocket) -> x509.Certificate:
    return x509.load_der_x509_certificate(line.getpeercert(binary_form=True) or b"")


def _names(certificate: x509.Certificate) -> str:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return "no name at all"
    names = [str(name.value) for name in found.value][:4]
    return " and ".join(names) or "no name at all"


def _name(name: x509.Name) -> str:
    for oid in (x509.NameOID.ORGANIZATION_NAME, x509.NameOID.COMMON_NAME):
        values = name.get_attributes_for_oid(oid)
        if values:
            return str(values[0].value)[:100]
    return "an unnamed CA"


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {_SECONDS:g} seconds"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
