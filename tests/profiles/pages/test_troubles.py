"""What can be wrong with a device that should enroll by itself: each is named on the overview, its
button leads to the cure, and it is gone when it is cured. In Chromium, with the lab's Apple.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from pytest_django import Settings

from abm import sync
from abm.models import Server
from lab.dep.catalog import Family
from lab.dep.faults import FaultKind
from mdm.accounts.models import User
from profiles import giving
from tests.abm.apple import Apple, apple
from tests.abm.patience import PATIENT
from tests.abm.test_assignment import hours_pass
from tests.mdm.dashboard.test_in_browser import Window
from tests.profiles.steps import ADMIN, make_profile, synced, told

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lab_apple(settings: Settings, transactional_db: None) -> Iterator[Apple]:
    with apple() as played:
        settings.ENV = dataclasses.replace(settings.ENV, dep_url=played.url)
        yield played


@pytest.fixture
def page(chromium: Browser, live_server: Any, admin: User) -> Iterator[Page]:
    window = Window(chromium, live_server.url)
    yield window.sign_in()
    trouble = window.trouble
    window.close()
    assert trouble == []


def buy(played: Apple, family: Family, count: int = 1) -> list[str]:
    serials = played.portal.buy(count, family)
    played.portal.assign(serials, "Office")
    return serials


def attention(page: Page, words: str) -> Any:
    """The line on the overview that says so."""
    page.goto("/")
    found = page.locator("li.attention").filter(has_text=words)
    expect(found).to_have_count(1)
    return found


def is_gone(page: Page, words: str) -> None:
    page.goto("/")
    expect(page.locator("li.attention").filter(has_text=words)).to_have_count(0)


def test_devices_do_not_appear_because_the_token_has_expired(lab_apple: Apple, page: Page) -> None:
    server, remote = lab_apple.connect()
    buy(lab_apple, Family.IPHONE, 2)
    synced(server)
    Server.objects.update(token_expires_at=timezone.now() - timedelta(hours=1))

    line = attention(page, "ABM server Office: token expired (2 devices).")
    line.get_by_role("link", name="Open the server").click()
    expect(page.get_by_role("heading", name="Renew the token")).to_be_visible()
    expect(page.locator("main")).to_contain_text("so they do not enroll by themselves")

    lab_apple.renew(server, remote)
    is_gone(page, "token expired")


def test_the_sync_fails_because_of_the_network(
    lab_apple: Apple, page: Page, settings: Settings
) -> None:
    server, _ = lab_apple.link("Office")
    buy(lab_apple, Family.IPHONE)
    synced(server)
    here = settings.ENV
    settings.ENV = dataclasses.replace(here, dep_url="http://127.0.0.1:9")
    sync.sync(server.pk, PATIENT)

    line = attention(page, "ABM server Office: unreachable (1 device).")
    expect(line).to_contain_text("Apple's device enrollment service does not answer")
    line.get_by_role("link", name="Open the server").click()
    expect(page.locator("main")).to_contain_text("whether this server may reach")

    settings.ENV = here
    synced(server)
    is_gone(page, "unreachable")


def test_a_device_does_not_enroll_because_apple_did_not_take_its_profile(
    lab_apple: Apple, page: Page
) -> None:
    server, _ = lab_apple.link("Office")
    giving.set_default(ADMIN, "iOS", None, make_profile("Phones"))
    [serial] = buy(lab_apple, Family.IPHONE)
    lab_apple.order(FaultKind.THROTTLED, endpoint="/profile/devices")
    synced(server)

    line = attention(page, "1 device waits for Apple to take the profile.")
    line.get_by_role("link", name="Show them").click()
    page.get_by_role("link", name=serial).click()
    page.get_by_role("link", name="See why").click()
    expect(page.locator("main")).to_contain_text("because Apple throttled the request at")
    expect(page.locator("main")).to_contain_text("the next try is at")

    hours_pass(2)
    told(server)
    is_gone(page, "waits for Apple")
    # Two steps from the first page: search, and there it stands.
    page.get_by_label("Search all devices").fill(serial)
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text(serial)


def test_devices_get_the_wrong_profile_because_a_default_is_wrong(
    lab_apple: Apple, page: Page
) -> None:
    server, _ = lab_apple.link("Office")
    giving.set_default(ADMIN, "iOS", None, make_profile("Shared", is_multi_user=True))
    make_profile("Phones")
    [serial] = buy(lab_apple, Family.IPHONE)
    buy(lab_apple, Family.IPAD)
    synced(server)

    line = attention(page, "1 device gets the wrong profile.")
    line.get_by_role("link", name="Change the default").click()
    page.get_by_label("iOS and iPadOS, any server").select_option("Phones")
    page.get_by_role("button", name="See what it changes").click()
    expect(page.locator("main")).to_contain_text("2 devices get another profile")
    page.get_by_role("button", name="Set the defaults").click()
    expect(page.locator("main")).to_contain_text("The defaults are set")

    told(server)
    is_gone(page, "wrong profile")
    uuid = lab_apple.portal.devices[serial].profile_uuid or ""
    assert lab_apple.portal.profiles[uuid]["profile"]["profile_name"] == "Phones"


def test_a_device_is_unassigned_because_its_os_has_no_default(lab_apple: Apple, page: Page) -> None:
    server, _ = lab_apple.link("Office")
    make_profile("Screens")
    [serial] = buy(lab_apple, Family.APPLE_TV)
    synced(server)

    line = attention(page, "1 device is Unassigned.")
    expect(line).to_contain_text("There is no default for tvOS.")
    line.get_by_role("link", name="Show them").click()
    page.get_by_role("link", name=serial).click()
    page.get_by_role("link", name="See why").click()
    expect(page.locator("main")).to_contain_text("there is no default for tvOS")
    page.get_by_role("link", name="Set a default").click()
    page.get_by_label("tvOS, any server").select_option("Screens")
    page.get_by_role("button", name="See what it changes").click()
    page.get_by_role("button", name="Set the defaults").click()

    told(server)
    is_gone(page, "Unassigned")
    assert lab_apple.portal.devices[serial].profile_status == "assigned"
