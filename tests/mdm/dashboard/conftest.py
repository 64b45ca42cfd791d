"""An admin who is signed in, devices to look at, and Chromium to look with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from mdm.accounts.models import User
from mdm.models import Device, Enrollment, EnrollmentPeriod
from mdm.settings import BASE_DIR
from tests.machines import TOPIC, Machine, install_authority, install_push_certificate

PASSWORD = "correct horse battery staple"
VENDOR = BASE_DIR / "var" / "assets" / "dist" / "vendor"
AXE = BASE_DIR / "var" / "assets" / "test" / "axe.min.js"

Enroll = Callable[..., Device]


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
    return User.objects.create_user("ada", "ada@example.com", PASSWORD, first_name="Ada")


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
def chromium(django_db_setup: None) -> Iterator[Any]:
    """Chromium, or a skip that says why.

    While playwright runs, its event loop stands in this thread, and Django would keep the test
    from its data. It ends with the module, so that other tests keep that guard.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed")
    if not VENDOR.is_dir() or not AXE.exists():
        pytest.skip("the front end's assets are not built; `make assets` builds them")
    from playwright.sync_api import sync_playwright

    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()
