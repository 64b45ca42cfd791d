"""An admin with a token, and devices to speak of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from mdm.accounts import tokens
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.models import Device, Enrollment, EnrollmentPeriod

Enroll = Callable[..., Enrollment]
SignIn = Callable[..., APIClient]


@pytest.fixture
def admin(db: None) -> User:
    return User.objects.create_superuser("ada", "ada@example.com")


@pytest.fixture
def token(admin: User) -> str:
    """The text of the admin's token."""
    _, text = tokens.create(
        Actor.person(admin),
        admin,
        name="tests",
        role=Role.ADMIN,
        expires_in=timedelta(days=1),
    )
    return text


@pytest.fixture
def bearer() -> SignIn:
    """A client that shows a token."""

    def sign_in(text: str) -> APIClient:
        client = APIClient(raise_request_exception=False)
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
        return client

    return sign_in


@pytest.fixture
def api(bearer: SignIn, token: str) -> APIClient:
    return bearer(token)


@pytest.fixture
def enroll(db: None) -> Enroll:
    """Makes a device that is enrolled, with its device channel."""

    def make(serial_number: str, *, state: str = "Enrolled", **device: Any) -> Enrollment:
        now = timezone.now()
        udid = f"00008030-{serial_number}"
        machine = Device.objects.create(
            serial_number=serial_number,
            udid=udid,
            **{"platform": "iOS", "os_version": "17.5", "supervised": False, **device},
        )
        enrollment = Enrollment.objects.create(
            key=udid.lower(),
            device=machine,
            kind="device",
            channel="device",
            device_identifier=udid,
            state=state,
            access_rights=8191,
            enrolled_at=now,
            last_seen_at=now,
        )
        period = EnrollmentPeriod.objects.create(enrollment=enrollment, began_at=now)
        Enrollment.objects.filter(pk=enrollment.pk).update(period=period)
        machine.enrollment = enrollment
        machine.save()
        return enrollment

    return make


@pytest.fixture
def static_files(settings: Any) -> None:
    """Static files are served from where they lie: nothing was collected for this run."""
    storage = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": storage}}
