"""A server that is ready to enroll devices: a CA, a push certificate, an admin, a link."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pytest_django import Settings

from enrollment import authority, challenges, links
from enrollment.models import EnrollmentLink
from enrollment.wire.authority import Authority
from mdm.audit.actor import Actor
from mdm.models import PushCertificate
from tests import machines
from tests.enrollment.scep_client import Client, build_csr, rsa_key

MakeClient = Callable[..., Client]


@pytest.fixture(autouse=True)
def plain_static_files(settings: Settings) -> None:
    """Hashed names need `collectstatic`, which is not what these tests are about."""
    backend = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": backend}}


@pytest.fixture
def ca(db: None) -> Authority:
    """The authority of this server."""
    machines.install_authority()
    return authority.current()


@pytest.fixture
def push_certificate(db: None) -> PushCertificate:
    return machines.install_push_certificate()


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
