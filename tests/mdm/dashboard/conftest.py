"""An admin who is signed in, devices to look at, and Chromium to look with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser

from mdm.accounts.models import User
from mdm.models import Device, Enrollment, EnrollmentPeriod
from mdm.providers import IdentityProvider
from mdm.settings import BASE_DIR
from tests import chromium as browsers
from tests.machines import TOPIC, Machine, install_authority, install_push_certificate
from tests.oidc import RULES, Idp

PASSWORD = "correct horse battery staple"
VENDOR = BASE_DIR / "var" / "assets" / "dist" / "vendor"
AXE = BASE_DIR / "var" / "assets" / "test" / "axe.min.js"

Enroll = Callable[..., Device]
Configure = Callable[..., None]


@pytest.fixture(autouse=True)
def _static_files(settings: Any) -> None:
    """Static files are served from where they lie: nothing was collected for this run."""
    storage = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": storage}}


@pytest.fixture(autouse=True)
def _empty_cache(parts: Path) -> None:
    cache.clear()


@pytest.fixture
def admin(db: None) -> User:
    return User.objects.create_superuser("ada", "ada@example.com", PASSWORD, first_name="Ada")


@pytest.fixture
def signed_in(admin: User) -> Client:
    client = Client()
    client.force_login(admin)
    return client


@pytest.fixture
def enroll(db: None) -> Enroll:
    """Makes a device with an enrollment, as rows; `machine` makes one that speaks."""

    def make(
        serial_number: str = "C02TEST",
        *,
        state: str = "Enrolled",
        last_seen_at: datetime | None = None,
        push_problem: str = "",
        **device: Any,
    ) -> Device:
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
            authenticated_at=now - timedelta(minutes=1),
            enrolled_at=now if state != "Authenticated" else None,
            last_seen_at=last_seen_at or now,
            push_problem=push_problem,
            topic=TOPIC,
        )
        period = EnrollmentPeriod.objects.create(
            enrollment=enrollment, began_at=now - timedelta(minutes=1), completed_at=now
        )
        Enrollment.objects.filter(pk=enrollment.pk).update(period=period)
        machine.enrollment = enrollment
        machine.save()
        return machine

    return make


@pytest.fixture
def machine(db: None) -> Machine:
    """An enrolled iPhone that speaks to the real endpoints."""
    install_authority()
    install_push_certificate()
    return Machine.enrolled()


@pytest.fixture(scope="module")
def chromium(django_db_setup: None) -> Iterator[Browser]:
    """Chromium, or a skip that says why. It ends with the module, so that Django keeps other tests
    from the database beside an event loop.
    """
    if not VENDOR.is_dir() or not AXE.exists():
        pytest.skip("the front end's assets are not built; `make assets` builds them")
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def configure(settings: LazySettings) -> Configure:
    def configured(*providers: IdentityProvider) -> None:
        settings.ENV = dataclasses.replace(settings.ENV, oidc=providers)

    return configured


@pytest.fixture
def idp(configure: Configure, admin: User) -> Iterator[Idp]:
    """A provider that is set up, of a server that has an admin."""
    with Idp() as idp:
        configure(idp.provider(*RULES))
        yield idp
