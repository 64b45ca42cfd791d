"""Whom we believe that a device is Apple's: certificates accepted by their fingerprint alone.

Apple publishes them at apple.com/certificateauthority. They are fetched, not shipped; whoever
stands between can send nothing else, since each is known here by its SHA-256. Devices bring the
rest of their chain along.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import structlog
from celery import current_app
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db import transaction

from enrollment.models import AppleCertificate
from enrollment.wire.machine_info import Trust
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record

FETCH = "enrollment.tasks.trust_apple"
_MOST_BYTES = 64 * 1024
_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Published:
    """A certificate of Apple's: where it is published, and the SHA-256 of its DER in hex. Without
    an address it is accepted from a file; devices bring it along, too.
    """

    name: str
    path: str
    sha256: str
    root: bool


PUBLISHED = (
    Published(
        "Apple Root CA",
        "/appleca/AppleIncRootCertificate.cer",
        "b0b1730ecbc7ff4505142c49f1295e6eda6bcaed7e2c68c5be91b5a11001f024",
        root=True,
    ),
    Published(
        "Apple Root CA - G2",
        "/certificateauthority/AppleRootCA-G2.cer",
        "c2b9b042dd57830e7d117dac55ac8ae19407d38e41d88f3215bc3a890444a050",
        root=True,
    ),
    Published(
        "Apple Root CA - G3",
        "/certificateauthority/AppleRootCA-G3.cer",
        "63343abfb89a6a03ebb57e9b3f5fa7be7c4f5c756f3017b3a8c488c3653e9179",
        root=True,
    ),
    Published(
        "Apple iPhone Certification Authority",
        "",
        "e4e2936d3c076ec4aea8ac37277524950ca005894b39bba2d347fa33155ae5fa",
        root=False,
    ),
    Published(
        "Apple iPhone Device CA",
        "",
        "76f27d00e1333bc88de0e2916c38c9a7f2b75774c25a794c092a80e3c4c66cce",
        root=False,
    ),
)
_log = structlog.get_logger(__name__)
_ROOTS = {bytes.fromhex(each.sha256) for each in PUBLISHED if each.root}
_KNOWN = {bytes.fromhex(each.sha256): each for each in PUBLISHED}


class NotAccepted(Exception):
    """A certificate that is none of Apple's; or one that could not be fetched."""


def trust() -> Trust:
    """What a device's chain may lead to. Outside of production also to the root of a stand-in."""
    roots: list[x509.Certificate] = []
    intermediates: list[x509.Certificate] = []
    for row in AppleCertificate.objects.order_by("pk"):
        certificate = x509.load_der_x509_certificate(bytes(row.certificate))
        (roots if bytes(row.sha256) in _ROOTS else intermediates).append(certificate)
    if settings.ENV.device_ca is not None and not settings.ENV.production:
        roots += x509.load_pem_x509_certificates(settings.ENV.device_ca.read_bytes())
    return Trust(roots=tuple(roots), intermediates=tuple(intermediates))


def ready() -> bool:
    """Whether any device can be believed."""
    return bool(trust().roots)


def fetch(
    actor: Actor,
    *,
    base: str = "https://www.apple.com",
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Fetch what Apple publishes; how many were new here. Raises NotAllowed, NotAccepted: those
    that were fine until then are kept.
    """
    allow(actor, "apple.trust")
    new = 0
    with httpx.Client(timeout=_SECONDS, trust_env=False, follow_redirects=False) as web:
        for each in filter(_path_of, PUBLISHED):
            known = keep(actor, _download(web, f"{base}{each.path}", each.name))
            say(f"{each.name}: {'new' if known else 'known already'}")
            new += known
    return new


def ask(actor: Actor) -> None:
    """Have a worker fetch them: no page waits for anybody else's server. Raises NotAllowed."""
    allow(actor, "apple.trust")
    try:
        current_app.send_task(FETCH, [actor.name], expires=300, retry=False, ignore_result=True)
    except Exception as error:
        _log.warning("The broker does not take tasks", error=str(error))


def keep(actor: Actor, data: bytes) -> bool:
    """Accept a certificate (DER or PEM) if it is one of Apple's by its fingerprint; True where it
    was new. Raises NotAllowed, NotAccepted.
    """
    allow(actor, "apple.trust")
    certificate = _loaded(data)
    der = certificate.public_bytes(Encoding.DER)
    digest = hashlib.sha256(der).digest()
    known = _KNOWN.get(digest)
    if known is None:
        raise NotAccepted(
            f"{certificate.subject.rfc4514_string()[:200]} is none of the certificates that Apple"
            f" publishes: its SHA-256 is {digest.hex()}."
        )
    with transaction.atomic():
        _, new = AppleCertificate.objects.get_or_create(
            sha256=digest, defaults={"certificate": der, "subject": known.name}
        )
        if new:
            record(
                actor,
                "apple.trust",
                subject_kind="certificate",
                subject_id=digest.hex(),
                after={"name": known.name},
            )
    return new


def _path_of(published: Published) -> str:
    return published.path


def known() -> list[tuple[Published, bool]]:
    """Every certificate that can be accepted, and whether it is here."""
    rows = AppleCertificate.objects.values_list("sha256", flat=True)
    there = {bytes(each).hex() for each in rows}
    return [(each, each.sha256 in there) for each in PUBLISHED]


def missing() -> list[str]:
    """The names of those that could be fetched and are not here yet."""
    return [each.name for each, here in known() if each.path and not here]


def _download(web: httpx.Client, url: str, name: str) -> bytes:
    try:
        with web.stream("GET", url) as answer:
            answer.raise_for_status()
            data = b""
            for chunk in answer.iter_bytes():
                data += chunk
                if len(data) > _MOST_BYTES:
                    raise NotAccepted(f"{name}: what {url} sends is too large to be one.")
            return data
    except httpx.HTTPError as error:
        raise NotAccepted(
            f"{name} could not be fetched from {url}: {error or type(error).__name__}."
        ) from error


def _loaded(data: bytes) -> x509.Certificate:
    try:
        if b"-----BEGIN" in data:
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except (ValueError, x509.InvalidVersion) as error:
        raise NotAccepted("This is no certificate.") from error
