"""Apple Business Manager, the whole way, in a person's Chromium: the exchange of the token, the
first sync, what changes in the portal, the end of the token. All of the server's processes work.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from lab.devices.hardware import Model
from mdm.local.environment import ROOT
from tests.chromium import chromium
from tests.e2e.sent import send, wait_for_state
from tests.e2e.waiting import until
from tests.e2e.world import World

NAME = "Head office"
FIVE_MINUTES = 300.0
_SOON = 60_000


@pytest.fixture(scope="module")
def page(world: World) -> Iterator[Page]:
    """A window in which the admin is signed in; whatever its console says is a failure."""
    trouble: list[str] = []
    with chromium() as browser:
        window = browser.new_context(base_url=world.server.people_url, accept_downloads=True)
        opened = window.new_page()
        opened.on("console", lambda said: said.type == "error" and trouble.append(said.text))
        opened.on("pageerror", lambda error: trouble.append(str(error)))
        opened.goto("/accounts/login/")
        opened.get_by_label("Login").fill(world.username)
        opened.get_by_label("Password").fill(world.password)
        opened.get_by_role("button", name="Sign in", exact=True).click()
        opened.wait_for_url(f"{world.server.people_url}/")
        yield opened
    assert trouble == []


@pytest.fixture(scope="module")
def connected(world: World, page: Page, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The serial numbers of 120 devices that were assigned before a person connected ABM."""
    folder = tmp_path_factory.mktemp("token")
    page.goto("/abm/servers/new/")
    page.get_by_label("Name").fill(NAME)
    page.get_by_role("button", name="Generate").click()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile(r"Certificate \(\.pem\)")).click()
    download.value.save_as(folder / "certificate.pem")

    portal(world, "server", name=NAME, certificate=(folder / "certificate.pem").read_text())
    bought = portal(world, "buy", count=120, name=NAME)["bought"]
    token = portal(world, "token", name=NAME)["p7m"]
    (folder / "Head_office_smime.p7m").write_text(token)
    page.set_input_files("#token-file", folder / "Head_office_smime.p7m")
    page.get_by_role("button", name="Check and put to use").click()
    expect(page.get_by_text("What Apple says of it")).to_be_visible(timeout=_SOON)
    return list(bought)


def portal(world: World, act: str, **more: Any) -> dict[str, Any]:
    return world.lab.order("abm", act=act, **more)


def time_passes(world: World, *seconds: float) -> list[list[str]]:
    """Move the beat's clock; returns the tasks that it sent for each."""
    done = subprocess.run(
        (sys.executable, "-m", "tests.e2e.beat", *map(str, seconds)),
        cwd=ROOT,
        env=world.server.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


def test_the_first_sync_follows_the_exchange_of_the_token(
    world: World, page: Page, connected: list[str]
) -> None:
    page.goto("/abm/devices/")
    expect(page.locator("#region-abm-devices")).to_contain_text("120 devices", timeout=_SOON)

    shown = world.admin.get("/abm-devices/", serial_number=connected[7])["results"]
    assert [each["serial_number"] for each in shown] == [connected[7]]


def test_a_device_added_in_the_portal_appears_without_a_click(
    world: World, page: Page, connected: list[str]
) -> None:
    page.goto("/abm/devices/")
    expect(page.locator("#region-abm-devices")).to_contain_text("120 devices", timeout=_SOON)
    portal(world, "buy", count=1, name=NAME)
    page.evaluate("window.sameDocument = true")

    sent = time_passes(world, FIVE_MINUTES - 30, FIVE_MINUTES)
    assert sent == [[], ["abm.tasks.sync_due"]]

    expect(page.locator("#region-abm-devices")).to_contain_text("121 devices", timeout=_SOON)
    assert page.evaluate("window.sameDocument")


def test_sync_now_brings_what_changed_and_the_device_says_so(
    world: World, page: Page, connected: list[str]
) -> None:
    serial = connected[3]
    portal(world, "change", serials=[serial], values={"asset_tag": "CART-7"})
    page.goto(f"/abm/devices/?q={serial}")
    page.get_by_role("button", name="Sync Now").first.click()
    expect(page.locator("#region-abm-devices")).to_contain_text("CART-7", timeout=_SOON)

    page.get_by_role("link", name=serial).first.click()
    page.get_by_role("link", name="ABM", exact=True).click()
    expect(page.get_by_text("CART-7").first).to_be_visible()
    entries = world.admin.get("/abm-ledger/", serial_number=serial)["results"]
    changed = [each for each in entries if each["decision"] == "changed"]
    assert [each["changes"] for each in changed] == [{"asset_tag": ["", "CART-7"]}]


def test_a_disowned_device_leaves_the_list_without_a_further_click(
    world: World, page: Page, connected: list[str]
) -> None:
    serial = connected[11]
    page.goto(f"/abm/devices/?q={serial}")
    page.get_by_label(f"Select {serial}").check()
    page.get_by_role("button", name="Disown…").click()
    page.get_by_label("to confirm").fill(serial)
    page.get_by_role("button", name="Disown 1 device").click()
    expect(page.locator("#disown-progress")).to_contain_text("Disowned 1", timeout=_SOON)

    def removed() -> Any:
        [row] = world.admin.get("/abm-devices/", serial_number=serial)["results"]
        return row["removed_at"]

    until(removed)
    assert portal(world, "status", search=serial)["devices"] == []


def test_an_expired_token_stops_the_sync_and_no_enrolled_device(
    world: World, page: Page, connected: list[str]
) -> None:
    (serial,) = world.add(Model.IPHONE)
    portal(world, "own", name=NAME)
    time_passes(world, FIVE_MINUTES)
    until(lambda: world.admin.get("/abm-devices/", serial_number=serial)["results"])
    world.execute(
        "UPDATE abm_server SET token_expires_at = now() - interval '1 day' WHERE name = %(name)s",
        name=NAME,
    )
    try:
        asked = portal(world, "status")["answers"]
        [late] = portal(world, "buy", count=1, name=NAME)["bought"]
        time_passes(world, FIVE_MINUTES)

        page.goto("/abm/servers/")
        expect(page.get_by_text("Token expired").first).to_be_visible()
        page.goto("/")
        expect(page.locator("main")).to_contain_text(NAME)
        command = send(world, serial, "DeviceInformation")
        wait_for_state(world, serial, command, "Acknowledged")
        assert portal(world, "status")["answers"] == asked
        assert world.admin.get("/abm-devices/", serial_number=late)["results"] == []
        assert world.lab.device(serial)["state"] == "enrolled"
    finally:
        world.execute(
            "UPDATE abm_server SET token_expires_at = now() + interval '1 year'"
            " WHERE name = %(name)s",
            name=NAME,
        )
