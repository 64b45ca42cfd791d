"""A push service on a real socket, and enrollments that hold tokens of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest
from pytest_django import Settings

from lab.authority import Authority, ensure_authority
from mdm.audit.actor import Actor
from mdm.models import Enrollment, PushCertificate
from mdm.push import certificate
from tests.mdm.push.devices import new_enrollment
from tests.mdm.push.service import Service

Enroll = Callable[..., Enrollment]


@pytest.fixture(scope="session")
def apple(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return ensure_authority(tmp_path_factory.mktemp("apple"))


@pytest.fixture(scope="session")
def topic(apple: Authority) -> str:
    return apple.topic


@pytest.fixture
def service(apple: Authority, settings: Settings) -> Iterator[Service]:
    """The push service that the settings name."""
    running = Service(apple)
    settings.ENV = dataclasses.replace(
        settings.ENV, apns_url=running.url, apns_ca=apple.root.certificate
    )
    yield running
    running.stop()


@pytest.fixture
def push_certificate(apple: Authority, db: None) -> PushCertificate:
    return certificate.install(
        Actor.system("test"), apple.push.certificate.read_bytes(), apple.push.key.read_bytes()
    )


@pytest.fixture
def enroll(service: Service, topic: str, db: None) -> Enroll:
    """Makes an enrolled device that is due; `away=True` for one whose token the service knows
    nothing of."""

    def make(*, away: bool = False, **fields: object) -> Enrollment:
        enrollment, token = new_enrollment(**{"topic": topic} | fields)
        if not away:
            service.run(lambda: service.stand_in.postbox.register(token, topic))
        return enrollment

    return make
