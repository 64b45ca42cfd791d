"""The pages about ABM in Chromium: at each width, in light and dark, and while a sync runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from abm import disowns
from abm.models import DisownDevice, RunLine, Server, SyncRun
from commands.models import QueueEntry
from mdm import selection
from mdm.accounts.models import User
from mdm.audit.actor import Actor
from mdm.models import Device
from tests.abm.pages.conftest import Connect, Listed, Noted, Ran
from tests.mdm.dashboard.conftest import Enroll
from tests.mdm.dashboard.test_in_browser import Window, faults_everywhere

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def window(chromium: Browser, live_server: Any, admin: User) -> Any:
    """Opens windows."""
    opened: list[Window] = []

    def open_window(**options: Any) -> Window:
        opened.append(Window(chromium, live_server.url, **options))
        return opened[-1]

    yield open_window
    for each in opened:
        each.close()


@pytest.fixture
def page(window: Any) -> Page:
    return window().sign_in()


@pytest.fixture
def paths(
    admin: User, connect: Connect, listed: Listed, ran: Ran, noted: Noted, enroll: Enroll
) -> dict[str, str]:
    """Something of everything; the paths of the pages that show it."""
    server, other = connect("Schools"), connect("Warehouse", problem="terms_not_signed")
    enroll("C02MAC", platform="macOS", device_name="<b>Mac</b>")
    row = listed("C02MAC", server, device_family="Mac", profile_status="pushed", more={"key": [1]})
    listed("F17PHONE", other, doubtful=True, profile_status="odd")
    listed("GONE", other, removed_at=timezone.now(), current=False)
    ended = ran(server, added=1, full=True, devices=200, pages=2)
    ran(other, "Failed", sentence="Apple refused: T_C_NOT_SIGNED", errors=1)
    running = ran(connect("Offices"), "Running", doing="Following changes", devices=7, pages=1)
    for level in ("info", "warning", "error"):
        RunLine.objects.create(run=ended, level=level, sentence=f"A line: {level}.")
    for decision in ("added", "changed", "stale", "asked", "undecided", "removed"):
        noted(server, "C02MAC", decision, run_id=ended.pk, changes={"color": ["RED", "BLUE"]})
    token = selection.freeze(admin.pk, [row.pk])
    disown = disowns.ask(Actor.person(admin), [listed(f"OLD{n}", server).pk for n in range(9)])
    for each, state in zip(disown.devices.order_by("pk"), DisownDevice.State.values, strict=False):
        DisownDevice.objects.filter(pk=each.pk).update(state=state, sentence=f"Because: {state}.")
    return {
        "overview": "/",
        "servers": "/abm/servers/",
        "devices": "/abm/devices/",
        "devices, narrowed": f"/abm/devices/?q=C02&family=Mac&selection={token}",
        "removed": "/abm/devices/?listed=removed",
        "none fits": "/abm/devices/?q=nothing",
        "import": "/abm/devices/import/",
        "disown": f"/abm/devices/disowns/new/?of={token}",
        "disowned": f"/abm/devices/disowns/{disown.pk}/",
        "all disowned": "/abm/devices/disowns/",
        "runs": "/abm/runs/",
        "no runs": "/abm/runs/?state=Interrupted",
        "run": f"/abm/runs/{ended.pk}/",
        "run, devices": f"/abm/runs/{ended.pk}/devices/",
        "running": f"/abm/runs/{running.pk}/",
        "device": f"/devices/{row.device_id}/abm/",
        "timeline": f"/devices/{row.device_id}/",
        "not in ABM": f"/devices/{Device.objects.create(serial_number='NOT1').pk}/abm/",
    }


def test_every_page_is_whole_accessible_and_stays_on_the_server(
    window: Any, paths: dict[str, str]
) -> None:
    here = window(reduced_motion="reduce")
    here.sign_in()
    found: list[str] = []
    for name, path in paths.items():
        answer = here.page.goto(path)
        assert answer.status == 200, name
        found += faults_everywhere(here.page, name)
    here.page.goto("/abm/devices/import/")
    here.page.get_by_label("Or paste them").fill("C02MAC\nUNKNOWN1\nnot one\n")
    here.page.get_by_role("button", name="Look them up").click()
    expect(here.page.get_by_role("heading", level=1)).to_have_text("2 serial numbers read")
    found += faults_everywhere(here.page, "import, result")
    here.page.goto("/abm/devices/")
    here.page.get_by_label("More ways to sync").click()
    expect(here.page.get_by_role("button", name="Full sync")).to_be_visible()
    found += faults_everywhere(here.page, "menu")

    assert found == []
    assert here.trouble == []


def test_the_empty_pages_are_whole_too(window: Any, connect: Connect) -> None:
    here = window(reduced_motion="reduce")
    page = here.sign_in()
    found: list[str] = []
    page.goto("/abm/runs/")
    found += faults_everywhere(page, "no runs")
    page.goto("/abm/devices/disowns/")
    expect(page.get_by_text("Nothing was ever disowned")).to_be_visible()
    found += faults_everywhere(page, "nothing disowned")
    page.goto("/abm/devices/")
    expect(page.get_by_role("link", name="Connect Apple Business Manager")).to_be_visible()
    found += faults_everywhere(page, "not connected")
    connect()
    page.reload()
    expect(page.locator("#region-abm-devices")).to_contain_text("By hand")
    found += faults_everywhere(page, "nothing listed")

    assert found == []
    assert here.trouble == []


def test_a_sync_is_watched_in_place_by_two_and_the_table_follows(
    window: Any, server: Server, listed: Listed, ran: Ran
) -> None:
    listed("OLDONE", server)
    pages = []
    for _ in range(2):
        pages.append(window().sign_in())
        pages[-1].goto("/abm/devices/?sort=serial")
        pages[-1].evaluate("window.sameDocument = true")
    first, second = pages
    first.get_by_role("button", name="Sync Now").click()
    expect(first.locator("#abm-sync")).to_contain_text("Waiting for a worker")
    second.reload()
    second.evaluate("window.sameDocument = true")

    run = SyncRun.objects.filter(state="Waiting")
    run.update(state="Running", started_at=timezone.now(), doing="Reading the whole list")
    SyncRun.objects.update(pages=3, devices=2_300, moved_at=timezone.now())
    for page in pages:
        expect(page.locator("#abm-sync")).to_contain_text("Reading the whole list.")
        expect(page.locator("#abm-sync")).to_contain_text("2,300")
    listed("NEWONE", server)
    SyncRun.objects.update(state="Finished", finished_at=timezone.now(), doing="", added=1)
    for page in pages:
        expect(page.locator("#abm-sync")).to_contain_text("1 added.")
        expect(page.get_by_role("row").filter(has_text="NEWONE")).to_be_visible()
        expect(page).to_have_url(re.compile(r"/abm/devices/\?sort=serial$"))
        assert page.evaluate("window.sameDocument")


def test_what_cannot_be_synced_is_said_in_place(page: Page, connect: Connect) -> None:
    connect("Old", token_expires_at=timezone.now())
    page.goto("/abm/devices/")
    page.get_by_role("button", name="Sync Now").click()

    expect(page.get_by_role("alert").filter(has_text="Old cannot be synced")).to_be_visible()


def test_the_menu_stays_open_while_a_sync_runs(page: Page, server: Server, ran: Ran) -> None:
    run = ran(server, "Running", pages=1)
    page.goto("/abm/devices/")
    page.get_by_label("More ways to sync").click()
    SyncRun.objects.filter(pk=run.pk).update(pages=41)
    expect(page.locator("#abm-sync")).to_contain_text("41")

    with page.expect_response("**/abm/sync-now"):
        page.get_by_role("button", name="Full sync").click()
    server.refresh_from_db()
    assert server.list_asked_at is not None


def test_a_runs_log_grows_while_it_is_watched(page: Page, server: Server, ran: Ran) -> None:
    run = ran(server, "Running", doing="Following changes")
    page.goto(f"/abm/runs/{run.pk}/")
    page.evaluate("window.sameDocument = true")
    RunLine.objects.create(run=run, sentence="Page 1: 100 devices.")
    SyncRun.objects.filter(pk=run.pk).update(pages=1)
    expect(page.locator("#region-run-log")).to_contain_text("Page 1: 100 devices.")
    SyncRun.objects.filter(pk=run.pk).update(
        state="Finished", finished_at=timezone.now(), changed=4, doing=""
    )

    expect(page.locator("#run-progress")).to_contain_text("4 changed.")
    assert page.evaluate("window.sameDocument")


def test_imported_devices_get_a_command(
    page: Page, server: Server, listed: Listed, enroll: Enroll, tmp_path: Path
) -> None:
    for number in range(3):
        enroll(f"S{number}")
        listed(f"S{number}", server)
    file = tmp_path / "serials.csv"
    file.write_text("Name;Serial Number\nAnn;S0\nBob;S2\nEve;U1\n")
    page.goto("/abm/devices/")
    page.get_by_role("link", name="Import serial numbers").click()
    page.get_by_label("File").set_input_files(file)
    page.get_by_role("button", name="Look them up").click()
    page.get_by_role("link", name="Show the 2 devices").click()
    expect(page.locator(".table-chips")).to_contain_text("Imported: 2 devices")
    page.get_by_label("Select all on this page").check()
    bar = page.get_by_role("region", name="Selection")
    bar.get_by_role("button", name="Send a command").click()
    page.get_by_role("link", name="ProfileList").click()
    page.get_by_role("button", name="Send ProfileList").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ProfileList")

    got = QueueEntry.objects.values_list("enrollment__device__serial_number", flat=True)
    assert set(got) == {"S0", "S2"}


def test_a_selection_is_downloaded_again_and_again(
    page: Page, server: Server, listed: Listed
) -> None:
    for number in range(3):
        listed(f"S{number}", server)
    page.goto("/abm/devices/?sort=serial")
    page.get_by_label("Select S0").check()
    page.get_by_label("Select S2").check()
    bar = page.get_by_role("region", name="Selection")
    for _ in range(2):
        with page.expect_download() as download:
            bar.get_by_role("button", name="Serial numbers").click()
        assert Path(download.value.path()).read_bytes() == b"S0\r\nS2\r\n"


def test_a_hostile_list_runs_no_script(window: Any, connect: Connect, listed: Listed) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    row = listed("EVIL1", connect(hostile), model=hostile, more={hostile: hostile})
    here = window()
    dialogs: list[str] = []
    here.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    here.sign_in()
    for path in ("/abm/devices/", f"/devices/{row.device_id}/abm/"):
        here.page.goto(path)
        expect(here.page.get_by_text(hostile).first).to_be_visible()

    assert dialogs == []
    assert here.trouble == []


def test_reading_and_syncing_work_without_scripts(
    window: Any, server: Server, listed: Listed
) -> None:
    listed("C02ABC", server)
    listed("F17XYZ", server)
    page = window(java_script_enabled=False).sign_in()
    page.goto("/abm/devices/")
    page.get_by_role("searchbox", name="Serial, model, tag or name").fill("c02")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("row")).to_have_count(2)
    page.get_by_role("button", name="Sync Now").click()

    expect(page.locator("#abm-sync")).to_contain_text("Waiting for a worker")
    expect(page).to_have_url(re.compile(r"/abm/devices/\?.*q=c02"))


def test_devices_are_chosen_confirmed_and_watched_without_a_reload(
    page: Page, server: Server, listed: Listed
) -> None:
    for number in range(3):
        listed(f"OLD{number}", server)
    page.goto("/abm/devices/")
    for number in range(2):
        page.get_by_label(f"Select OLD{number}").check()
    page.get_by_role("button", name="Disown…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Disown 2 devices")
    button = page.get_by_role("button", name="Disown 2 devices")
    expect(button).to_be_disabled()
    page.get_by_label("to confirm").fill("2")
    button.click()
    progress = page.locator("#disown-progress")
    expect(progress).to_contain_text("Waiting 2")
    DisownDevice.objects.filter(serial_number="OLD0").update(state=DisownDevice.State.DISOWNED)
    expect(progress).to_contain_text("Disowned 1")
    page.get_by_role("button", name="Stop").click()
    expect(progress).to_contain_text("Not asked 1")
    expect(progress).to_contain_text("Outcome")
