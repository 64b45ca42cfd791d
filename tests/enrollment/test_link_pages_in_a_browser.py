"""The page behind a link in a real browser: at every width, by keyboard, for everyone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connections
from playwright.sync_api import Browser
from pytest_django.live_server_helper import LiveServer

from enrollment import links
from enrollment.models import EnrollmentLink
from enrollment.wire.authority import Authority
from mdm.models import PushCertificate
from tests.chromium import chromium

AXE = Path(__file__).parents[2] / "var" / "assets" / "test" / "axe.min.js"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def short_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The live server's threads end with their request, and so do their connections."""
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)


@pytest.fixture
def address(
    short_connections: None,
    link: EnrollmentLink,
    ca: Authority,
    push_certificate: PushCertificate,
    live_server: LiveServer,
) -> str:
    return live_server.url + urlsplit(links.url(link)).path


def test_the_page_fits_every_width_and_asks_nobody_else(browser: Any, address: str) -> None:
    complaints: list[str] = []
    hosts: set[str] = set()
    for width in (1440, 1024, 390):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.get_by_role("link", name="Download the profile").is_visible()
        page.close()
    assert complaints == []
    assert hosts - {""} == {urlsplit(address).netloc}


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not built; `make assets` does that")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_breaks_no_rule_of_accessibility(browser: Any, address: str, scheme: str) -> None:
    for path in (address, address.replace("/enroll/", "/enroll/unknown-")):
        page = browser.new_page(color_scheme=scheme, bypass_csp=True)
        page.goto(path)
        page.add_script_tag(path=AXE)
        violations = page.evaluate("axe.run().then(found => found.violations)")
        assert [rule["id"] for rule in violations] == []
        page.close()


def test_a_click_downloads_the_profile(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the profile").click()
    assert download.value.suggested_filename == "enroll.mobileconfig"


def test_the_steps_open_by_keyboard(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    page.get_by_text("Mac", exact=True).focus()
    page.keyboard.press("Enter")
    assert page.get_by_text("Enter the password of an administrator").is_visible()
