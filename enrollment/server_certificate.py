"""The TLS certificate of the devices' port on one machine, kept as files that the server reads.

Behind a proxy that ends TLS it is not used. The CA it comes from is `enrollment/authority.py`.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from django.conf import settings
from django.utils import timezone

from enrollment import authority
from enrollment.wire.authority import Authority, issue_server_certificate

RENEW_BEFORE = timedelta(days=30)
_LOCAL = ("localhost", "127.0.0.1", "::1")


def keep(folder: Path) -> bool:
    """Have a valid server.pem and server.key in `folder`; True where they were made anew.

    server.pem also holds our CA's certificate, so that a client can be shown the whole chain;
    ca.pem holds it alone.
    """
    own, hosts = authority.current(), _hosts()
    if _is_good(folder, own, hosts):
        return False
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = issue_server_certificate(own, key.public_key(), hosts, timezone.now())
    ca = own.certificate.public_bytes(Encoding.PEM)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(folder / "server.key", pem, 0o600)
    _write(folder / "server.pem", certificate.public_bytes(Encoding.PEM) + ca, 0o644)
    _write(folder / "ca.pem", ca, 0o644)
    return True


def _hosts() -> list[str]:
    host = urlsplit(settings.ENV.public_url).hostname or "localhost"
    return list(dict.fromkeys([host, *_LOCAL]))


def _is_good(folder: Path, own: Authority, hosts: list[str]) -> bool:
    """Whether what is there is ours, fits, names these hosts, and lasts; else it is made anew."""
    try:
        certificate = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
        key = load_pem_private_key((folder / "server.key").read_bytes(), None)
        ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        certificate.verify_directly_issued_by(own.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    named = {str(name.value) for name in names.value}
    return (
        ca == own.certificate
        and key.public_key() == certificate.public_key()
        and certificate.not_valid_after_utc - timezone.now() >= RENEW_BEFORE
        and named == set(hosts)
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all: the server may read it at any moment."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    new.replace(path)
