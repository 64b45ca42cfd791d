"""A server that is ready to enroll devices: a CA, a push certificate, an admin, a link."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from pytest_django import Settings

from abm.models import Server
from enrollment import authority, challenges, links
from enrollment.models import EnrollmentLink
from enrollment.wire.authority import Authority
from mdm.audit.actor import Actor
from mdm.models import PushCertificate
from profiles import editing, following, giving
from profiles.models import Profile
from profiles.wire.content import new_content
from tests import machines
from tests.abm.connected import connect
from tests.enrollment import arriving, factory
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
def server(ca: Authority, push_certificate: PushCertificate, settings: Settings) -> Server:
    """Of ABM, on a server that trusts the certificates of `factory`."""
    settings.ENV = dataclasses.replace(settings.ENV, device_ca=factory.root())
    return connect()


@pytest.fixture
def office(server: Server) -> Profile:
    """The default of iOS; the device of `arriving` is listed."""
    made = editing.create(arriving.ADMIN, "Office", new_content())
    giving.set_default(arriving.ADMIN, "iOS", None, made)
    arriving.listed(server, arriving.SERIAL)
    following.follow()
    return made


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
