"""A new server's checklist in Chromium, from fresh to green: everything that it tries is there on a
real socket, and a real worker tries it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery.contrib.testing.worker import start_worker
from django.db.models import F
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from mdm.accounts.models import User
from mdm.audit.actor import Actor
from mdm.celery import app
from mdm.health import backups, pulse
from mdm.health.models import ProbeResult
from mdm.models import InventorySection, PushCertificate
from profiles import giving
from tests.machines import install_authority
from tests.mdm.dashboard.conftest import Enroll
from tests.mdm.dashboard.test_in_browser import Window, _faults
from tests.mdm.health.smtp import post
from tests.mdm.health.steps import all_alive, prove, ready_admin, use_mail_server
from tests.mdm.health.tls import answering
from tests.profiles.steps import ADMIN, make_profile

pytestmark = pytest.mark.django_db(transaction=True)

_SOON = 20_000


@pytest.fixture
def worker() -> Iterator[None]:
    """Celery's worker in a thread of this process, where the settings of the test hold."""
    with start_worker(app, pool="solo", queues=pulse.queues(), perform_ping_check=False):
        yield


@pytest.fixture
def window(chromium: Browser, live_server: Any, admin: User) -> Iterator[Window]:
    opened = Window(chromium, live_server.url, viewport={"width": 390, "height": 900})
    yield opened
    opened.close()
    assert opened.trouble == []


def test_a_checklist_turns_green_as_things_begin_to_work(
    window: Window,
    worker: None,
    service: Any,
    script: Any,
    admin: User,
    settings: Any,
    enroll: Enroll,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    page = window.sign_in()
    all_alive()
    expect(page.get_by_text("0 of 8 done")).to_be_visible()
    assert _faults(page, "fresh") == []

    def check(label: str, said: str) -> None:
        page.get_by_role("button", name=f"Check again: {label}").click()
        expect(page.get_by_text(said)).to_be_visible(timeout=_SOON)

    check("A second admin", "There is only one admin; two are needed.")
    check("Backup", "None is known of.")
    page.get_by_role("link", name="Dismiss: Backup").click()
    page.get_by_label("Reason").fill("we back up the volume")
    page.get_by_role("button", name="Dismiss").click()
    page.get_by_role("button", name="Bring it back: Backup").click()
    expect(page.get_by_text("Backup is on the checklist again.")).to_be_visible()

    ready_admin("ben")
    prove(admin)
    backups.note(Actor.system("a job"), "snapshot of the volume")
    assert isinstance(request.getfixturevalue("push_certificate"), PushCertificate)
    device = enroll("C02FIRST")
    InventorySection.objects.create(
        enrollment=device.enrollment, section="x", data={}, reported_at=timezone.now()
    )
    giving.set_default(ADMIN, "iOS", None, make_profile())
    request.getfixturevalue("server")
    script.say(200, {"auth_session_token": "S"})
    script.say(200, {"server_name": "Office", "server_uuid": "U", "org_name": "Acme"})
    install_authority()
    ProbeResult.objects.update(asked_at=F("asked_at") - timedelta(minutes=1))
    page.goto("/")
    with post() as office, answering(tmp_path) as port:
        use_mail_server(settings, office.port)
        settings.ENV = dataclasses.replace(settings.ENV, public_url=f"https://localhost:{port}")
        for label in (
            *("Public address and TLS", "Mail", "Push certificate", "Apple Business Manager"),
            *("Default ADE profile", "First device", "A second admin", "Backup"),
        ):
            page.get_by_role("button", name=f": {label}").click()
            done = page.get_by_role("list", name="Done").get_by_text(label, exact=True)
            expect(done).to_be_visible(timeout=_SOON)

    _all_done(page)
    assert len(office.mails) == 1
    page.goto("/")
    expect(page.get_by_role("heading", name="First steps")).to_have_count(0)
    expect(page.get_by_text(f"TLS certificate of https://localhost:{port}")).to_be_visible()


def _all_done(page: Page) -> None:
    expect(page.get_by_text("All done")).to_be_visible()
    assert _faults(page, "done") == []
