"""A server that is ready to enroll devices: a CA, a push certificate, an admin, a link."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pytest_django import Settings

from enrollment import authority, challenges, links
from enrollment.models import CertificateAuthority, EnrollmentLink
from enrollment.wire.authority import Authority, create_authority
from mdm.audit.actor import Actor
from mdm.models import PushCertificate
from mdm.secrets import seal
from tests.enrollment.scep_client import Client, build_csr, rsa_key

TOPIC = "com.apple.mgmt.External.9f3b2d60-0000-4000-8000-000000000001"

MakeClient = Callable[..., Client]


@cache
def _authority() -> Authority:
    return create_authority("Test CA", datetime.now(UTC))


@pytest.fixture(autouse=True)
def plain_static_files(settings: Settings) -> None:
    """Hashed names need `collectstatic`, which is not what these tests are about."""
    backend = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": backend}}


@pytest.fixture
def ca(db: None) -> Authority:
    """The authority of this server; made once for all tests, since a key takes a while."""
    made = _authority()
    key = made.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    CertificateAuthority.objects.create(
        certificate=made.certificate.public_bytes(Encoding.DER), sealed_key=seal("ca key", key)
    )
    return authority.current()


@pytest.fixture
def push_certificate(db: None) -> PushCertificate:
    now = datetime.now(UTC)
    return PushCertificate.objects.create(
        topic=TOPIC,
        certificate="",
        sealed_key=b"",
        serial="1",
        not_before=now,
        not_after=now + timedelta(days=365),
    )


@pytest.fixture
def admin() -> Actor:
    return Actor.system("test")


@pytest.fixture
def link(db: None, admin: Actor) -> EnrollmentLink:
    return links.create(admin, name="Sales", max_uses=3)


@pytest.fixture
def make_client(ca: Authority, link: EnrollmentLink) -> MakeClient:
    """A SCEP client with a fresh challenge of the link, or with the one that is given."""

    def make(secret: str | None = None, key: str = "a", **changes: object) -> Client:
        secret = challenges.for_link(link) if secret is None else secret
        client = Client(ca.certificate, rsa_key(key), build_csr(rsa_key(key), secret))
        return client.but(**changes)

    return make
