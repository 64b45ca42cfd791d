"""The dashboard in Chromium: at each width, in light and dark, by keyboard, while things move."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page, Route, expect

from commands import queue
from commands.models import Command, QueueEntry
from enrollment import links
from mdm import tables
from mdm.accounts.models import User
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import record
from mdm.models import Device, Identity, InventorySection
from mdm.pages import devices
from mdm.webhooks import subscriptions
from mdm.webhooks.models import Delivery
from tests.machines import Machine
from tests.mdm.dashboard.conftest import AXE, PASSWORD, Enroll

pytestmark = pytest.mark.django_db(transaction=True)

# Without fetching all style sheets once more, for one rule about locked orientations.
AXE_RUN = """axe.run(document, {resultTypes: ["violations"], preload: false}).then((result) =>
    result.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" | ")}`))"""


class Window:
    """A browser window that remembers what a page should not do."""

    def __init__(self, browser: Browser, server: str, **options: Any) -> None:
        self.server = server
        self.trouble: list[str] = []
        self._context = browser.new_context(base_url=server, **options)
        self.page = self._context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.trouble.append(f"script: {error}"))
        self.page.on("request", self._request)

    def sign_in(self, login: str = "ada") -> Page:
        self.page.goto("/accounts/login/")
        self.page.get_by_label("Login").fill(login)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in", exact=True).click()
        self.page.wait_for_url(f"{self.server}/")
        return self.page

    def close(self) -> None:
        self._context.close()

    def _console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.trouble.append(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.server, "data:")):
            self.trouble.append(f"request off the server: {request.url}")


@pytest.fixture
def window(chromium: Browser, live_server: Any, admin: User) -> Iterator[Any]:
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


def _populate(admin: User, enroll: Enroll) -> dict[str, str]:
    """Something of everything; the paths of the pages that show it."""
    from django.utils import timezone

    actor = Actor.person(admin)
    mac = enroll("C02MAC", platform="macOS", os_version="15.1", device_name="<b>Mac</b>")
    enroll("QUIET", push_problem="410 Unregistered")
    enroll("AWAITING", state="Authenticated")
    data = {
        "DeviceInformation": {"OSVersion": "15.1", "IsSupervised": False},
        "InstalledApplicationList": [{"Name": f"App {number}"} for number in range(5)],
    }
    for section, content in data.items():
        InventorySection.objects.create(
            enrollment=mac.enrollment, section=section, data=content, reported_at=timezone.now()
        )
    Identity.objects.create(sha256=b"<" * 32, expires_at=timezone.now(), enrollment=mac.enrollment)
    record(actor, "device.retire", subject_kind="device", subject_id=mac.pk, after={"name": "<b>"})
    for request_type in ("ProfileList", "EraseDevice"):
        queue.enqueue(
            actor,
            request_type=request_type,
            parameters={},
            enrollments=[
                mac.enrollment_id,
                Device.objects.get(serial_number="QUIET").enrollment_id,
            ],
        )
    QueueEntry.objects.filter(command__request_type="ProfileList").update(state="Error")
    link = links.create(actor, name="Class 7b", max_uses=30)
    webhook, _ = subscriptions.create(
        actor, name="Tickets", url="https://hook.example/", kinds=["device.*", "command.finished"]
    )
    sent = subscriptions.test(actor, webhook)
    said = {"at": timezone.now().isoformat(), "status": 500, "ms": 12, "said": "<b>", "trouble": ""}
    Delivery.objects.update(state="failed", due_at=None, attempts=[said])
    send = f"/commands/send/?enrollment={mac.enrollment_id}"
    return {
        "overview": "/",
        "devices": "/devices/",
        "search": "/search/?q=0000",
        "work": "/work/",
        "devices, narrowed": "/devices/?q=C02&state=managed",
        "no device fits": "/devices/?q=nothing",
        "timeline": f"/devices/{mac.pk}/",
        "commands": f"/devices/{mac.pk}/commands/",
        "inventory": f"/devices/{mac.pk}/inventory/",
        "applications": f"/devices/{mac.pk}/inventory/?section=InstalledApplicationList",
        "identity": f"/devices/{mac.pk}/identity/",
        "device, audit": f"/devices/{mac.pk}/audit/",
        "delete": f"/devices/{mac.pk}/delete/",
        "choose": send,
        "form": f"{send}&type=EraseDevice",
        "jobs": "/commands/",
        "job": f"/commands/{Command.objects.order_by('id')[0].uuid}/",
        "entry": f"/commands/entries/{QueueEntry.objects.order_by('id')[0].pk}/",
        "catalog": "/commands/catalog/",
        "links": "/enrollment/links/",
        "new link": "/enrollment/links/new/",
        "link": f"/enrollment/links/{link.pk}/",
        "refused": "/enrollment/refused/",
        "quarantine": "/enrollment/quarantine/",
        "identities": "/enrollment/identities/",
        "push certificate": "/settings/push-certificate/",
        "approvals": "/commands/approvals/",
        "kept back": f"/commands/{Command.objects.get(request_type='EraseDevice').uuid}/",
        "pause": "/commands/approvals/pause/",
        "people": "/settings/people/",
        "person": f"/settings/people/{admin.pk}/",
        "roles": "/settings/people/roles/",
        "sessions": "/accounts/sessions/",
        "invite": "/settings/people/invite/",
        "tokens": "/settings/tokens/",
        "new token": "/settings/tokens/new/",
        "webhooks": "/settings/webhooks/",
        "new webhook": "/settings/webhooks/new/",
        "webhook": f"/settings/webhooks/{webhook.pk}/",
        "delivery": f"/settings/webhooks/{webhook.pk}/deliveries/{sent.pk}/",
        "audit": "/settings/audit/",
        "health": "/settings/health/",
        "dismiss": "/settings/health/backup/dismiss/",
        "audit event": f"/settings/audit/{AuditEvent.objects.earliest('pk').pk}/",
        "audit, refused": "/settings/audit/refused/",
        "password": "/accounts/password/change/",
        "second factor": "/accounts/2fa/",
    }


def test_every_page_is_whole_accessible_and_stays_on_the_server(
    window: Any, admin: User, enroll: Enroll
) -> None:
    paths = _populate(admin, enroll)
    here = window(reduced_motion="reduce")
    found: list[str] = []
    here.page.goto("/accounts/login/")
    found += faults_everywhere(here.page, "sign-in")
    here.sign_in()
    for name, path in paths.items():
        answer = here.page.goto(path)
        assert answer.status == 200, name
        found += faults_everywhere(here.page, name)

    assert found == []
    assert here.trouble == []


# Widths with the colors that the system asks for.
VIEWS = ((1440, "light"), (1024, "dark"), (390, "light"))


def faults_everywhere(page: Page, name: str) -> list[str]:
    """What is wrong with the page that is open, at each width, in light and dark. Colors have to
    change at once: open the window with reduced motion.
    """
    faults: list[str] = []
    for width, scheme in VIEWS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        faults += _faults(page, f"{name}, {width} {scheme}")
    return faults


def _faults(page: Page, name: str) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text() + "; undefined")
    faults = [f"{name}: {violation}" for violation in page.evaluate(AXE_RUN)]
    if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
        faults.append(f"{name}: wider than the window")
    return faults


def test_a_command_is_followed_without_reloading(page: Page, admin: User, machine: Machine) -> None:
    page.goto(f"/devices/{machine.enrollment.device_id}/commands/")
    page.get_by_role("link", name="Send a command").click()
    page.get_by_role("link", name="ProfileList").click()
    page.get_by_role("button", name="Send ProfileList").click()
    row = page.get_by_role("row").filter(has_text="ProfileList")
    expect(row).to_contain_text("Queued")

    page.evaluate("window.sameDocument = true")
    command = machine.idle()
    expect(row).to_contain_text("Sent", timeout=15_000)
    machine.connect("Acknowledged", command.plist["CommandUUID"], ProfileList=[])
    expect(row).to_contain_text("Acknowledged", timeout=15_000)
    assert page.evaluate("window.sameDocument")

    row.get_by_role("link", name="Look").click()
    drawer = page.get_by_role("dialog")
    expect(drawer).to_contain_text("<string>Acknowledged</string>")
    page.keyboard.press("Escape")
    expect(drawer).not_to_be_visible()


@pytest.fixture
def five_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "TABLE", replace(devices.TABLE, page_size=5))


@pytest.mark.usefixtures("five_a_page")
def test_a_selection_survives_paging_and_sends_to_all_of_it(page: Page, enroll: Enroll) -> None:
    for number in range(9):
        enroll(f"S{number:02}")
    page.goto("/devices/?sort=serial")
    page.get_by_label("Select S00").check()
    page.get_by_role("link", name="Next").click()
    page.get_by_label("Select S08").check()
    expect(page.get_by_role("region", name="Selection")).to_contain_text("2 selected of 9")
    page.get_by_role("link", name="Previous").click()
    expect(page.get_by_label("Select S00")).to_be_checked()
    page.reload()
    expect(page.get_by_label("Select S00")).to_be_checked()

    page.get_by_role("region", name="Selection").get_by_role(
        "button", name="Send a command"
    ).click()
    page.get_by_role("link", name="ProfileList").click()
    page.get_by_role("button", name="Send ProfileList").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ProfileList")

    got = QueueEntry.objects.values_list("enrollment__device__serial_number", flat=True)
    assert set(got) == {"S00", "S08"}


@pytest.mark.usefixtures("five_a_page")
def test_all_that_fit_can_be_selected_at_once(
    page: Page, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How many they are is counted when the page is there already.
    monkeypatch.setattr(tables, "COUNT_FIRST", 6)
    for number in range(8):
        enroll(f"S{number:02}", platform="macOS")
    enroll("PHONE")
    held: list[Route] = []

    def hold(route: Route) -> None:
        counts = route.request.headers.get("hx-target") == "count-devices"
        held.append(route) if counts else route.continue_()

    page.route("**/devices/**", hold)
    page.goto("/devices/?platform=macOS")
    page.get_by_label("Select all on this page").check()
    page.get_by_role("button", name="Select all more than 6").click()
    selection = page.get_by_role("region", name="Selection")
    expect(selection).to_contain_text("more than 6 selected of more than 6")
    held.pop().continue_()
    expect(selection).to_contain_text("8 selected of 8")
    selection.get_by_role("button", name="Send a command").click()

    expect(page.locator("main")).to_contain_text("8 devices")


def test_typing_in_the_search_narrows_the_list_and_the_address(page: Page, enroll: Enroll) -> None:
    enroll("C02ABC")
    enroll("F17XYZ")
    page.goto("/devices/")
    page.get_by_role("searchbox", name="Serial, name, user, UDID or model").type("f17")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(page).to_have_url(re.compile(r"/devices/\?q=f17$"))
    page.get_by_role("combobox", name="State").select_option("awaiting")
    expect(page.locator("#region-devices")).to_contain_text("Nothing fits")
    page.go_back()
    expect(page.get_by_role("row").filter(has_text="F17XYZ")).to_be_visible()


def test_the_keyboard_reaches_the_search_the_content_and_the_rows(
    page: Page, enroll: Enroll
) -> None:
    enroll("C02ABC")
    enroll("F17XYZ")
    page.goto("/devices/?sort=serial")
    page.keyboard.press("/")
    expect(page.get_by_label("Search all devices")).to_be_focused()
    page.reload()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.get_by_label("Select C02ABC").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_label("Select F17XYZ")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_label("Select F17XYZ")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("F17XYZ")


def test_an_erase_waits_for_the_serial_number(page: Page, enroll: Enroll) -> None:
    device = enroll("C02ABC")
    page.goto(f"/commands/send/?enrollment={device.enrollment_id}&type=EraseDevice")
    button = page.get_by_role("button", name="Send EraseDevice")
    expect(button).to_be_disabled()
    page.get_by_label("Type C02ABC to confirm").fill("C02AB")
    expect(button).to_be_disabled()
    page.get_by_label("Type C02ABC to confirm").fill("c02abc")
    button.click()

    expect(page.get_by_text("Erase sent, waiting for the device")).to_be_visible()


def test_the_first_wrong_field_has_the_focus(page: Page, enroll: Enroll) -> None:
    device = enroll()
    page.goto(f"/commands/send/?enrollment={device.enrollment_id}&type=RemoveProfile")
    page.get_by_role("button", name="Send RemoveProfile").click()

    expect(page.get_by_label("Profile identifier")).to_be_focused()


def test_a_device_cannot_run_a_script_in_the_page(window: Any, enroll: Enroll) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    device = enroll("EVIL", device_name=hostile, model_name=hostile)
    here = window()
    dialogs: list[str] = []
    here.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    here.sign_in()
    for path in ("/devices/", f"/devices/{device.pk}/", f"/devices/{device.pk}/delete/"):
        here.page.goto(path)
        expect(here.page.get_by_text(hostile).first).to_be_visible()

    assert dialogs == []
    assert here.trouble == []


def test_a_page_that_was_left_open_asks_to_sign_in_again(
    page: Page, admin: User, enroll: Enroll
) -> None:
    device = enroll()
    queue.enqueue(
        Actor.person(admin),
        request_type="ProfileList",
        parameters={},
        enrollments=[device.enrollment_id],
    )
    page.goto(f"/devices/{device.pk}/commands/")
    User.objects.update(is_active=False)

    page.wait_for_url(re.compile(rf"/accounts/login/\?next=.*{device.pk}"), timeout=15_000)


def test_reading_works_without_scripts(window: Any, enroll: Enroll, signed_in: Client) -> None:
    device = enroll("C02ABC")
    here = window(java_script_enabled=False)
    page = here.sign_in()
    page.goto("/devices/")
    page.get_by_role("searchbox", name="Serial, name, user, UDID or model").fill("c02")
    page.get_by_role("button", name="Apply").click()
    page.get_by_role("link", name="C02ABC").click()
    page.get_by_role("link", name="Inventory").click()

    expect(page).to_have_url(re.compile(rf"/devices/{device.pk}/inventory/"))
