"""The page of one device: what it shows, and how it stays true."""

from __future__ import annotations

import plistlib
import re

import pytest
from django.test import Client

from commands import queue
from commands.models import QueueEntry
from mdm.accounts.models import User
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.models import Device, Enrollment, InventorySection
from tests.machines import Machine
from tests.mdm.dashboard.conftest import Enroll

PULSE = re.compile(r'id="pulse"[^>]*hx-get="([^"]+)"[^>]*hx-trigger="every (\d+)s"')


def _pulse(page: bytes) -> tuple[str, str]:
    """Where the page asks whether it is still true, and how many seconds apart."""
    found = PULSE.search(page.decode())
    assert found
    return found[1].replace("&amp;", "&"), found[2]


def _ask(admin: User, enrollment: Enrollment, request_type: str = "RestartDevice") -> QueueEntry:
    sent = queue.enqueue(
        Actor.person(admin), request_type=request_type, parameters={}, enrollments=[enrollment.pk]
    )
    return sent.command.entries.get()


@pytest.mark.parametrize("panel", ["timeline", "commands", "inventory", "identity"])
def test_every_tab_has_its_own_address(signed_in: Client, enroll: Enroll, panel: str) -> None:
    device = enroll()

    page = signed_in.get(f"/devices/{device.pk}/{panel}/")

    assert page.status_code == 200
    assert f'href="/devices/{device.pk}/{panel}/" aria-current="page"' in page.content.decode()


def test_an_unknown_tab_is_a_404(signed_in: Client, enroll: Enroll) -> None:
    assert signed_in.get(f"/devices/{enroll().pk}/nonsense/").status_code == 404


def test_a_device_that_never_enrolled_has_a_page_too(signed_in: Client) -> None:
    device = Device.objects.create(serial_number="NEVER")

    for panel in ("timeline", "commands", "inventory", "identity"):
        assert signed_in.get(f"/devices/{device.pk}/{panel}/").status_code == 200, panel


def test_nothing_new_is_an_empty_answer(signed_in: Client, enroll: Enroll) -> None:
    device = enroll()
    where, seconds = _pulse(signed_in.get(f"/devices/{device.pk}/commands/").content)

    answer = signed_in.get(where, headers={"HX-Request": "true"})

    assert (answer.status_code, answer.content, seconds) == (204, b"", "10")


@pytest.mark.django_db
def test_each_step_of_a_command_is_news_to_an_open_page(
    signed_in: Client, admin: User, machine: Machine
) -> None:
    device = machine.enrollment.device
    page = f"/devices/{device.pk}/commands/"
    where, _ = _pulse(signed_in.get(page).content)

    def news() -> str:
        nonlocal where
        answer = signed_in.get(where, headers={"HX-Request": "true"})
        assert answer.status_code == 200
        where, seconds = _pulse(answer.content)
        assert signed_in.get(where, headers={"HX-Request": "true"}).status_code == 204
        return f"{seconds}: {answer.content.decode()}"

    entry = _ask(admin, machine.enrollment)
    assert "2: " in (queued := news())
    assert "Queued" in queued
    assert machine.idle().command == "RestartDevice"
    assert "Sent" in news()
    machine.connect("NotNow", str(entry.command_uuid).upper())
    assert "NotNow" in news()
    machine.idle()
    news()
    machine.connect("Acknowledged", str(entry.command_uuid).upper())
    assert "10: " in (answered := news())
    assert "Acknowledged" in answered


@pytest.mark.django_db
def test_a_command_and_its_answer_can_be_read_as_they_went(
    signed_in: Client, admin: User, machine: Machine
) -> None:
    entry = _ask(admin, machine.enrollment)
    machine.idle()
    machine.connect(
        "Error",
        str(entry.command_uuid).upper(),
        ErrorChain=[
            {
                "ErrorCode": 12021,
                "ErrorDomain": "MCMDMErrorDomain",
                "LocalizedDescription": "Das ging <b>nicht</b>.",
                "USEnglishDescription": "That <b>failed</b>.",
            }
        ],
    )

    whole = signed_in.get(f"/commands/entries/{entry.pk}/").content.decode()
    drawer = signed_in.get(
        f"/commands/entries/{entry.pk}/",
        headers={"HX-Request": "true", "HX-Target": "drawer-body"},
    ).content.decode()

    for shown in (whole, drawer):
        assert "&lt;string&gt;RestartDevice&lt;/string&gt;" in shown
        assert "That &lt;b&gt;failed&lt;/b&gt;." in shown
        assert "<b>failed" not in shown
    assert "<html" in whole
    assert "<html" not in drawer


@pytest.mark.django_db
def test_a_secret_of_a_command_is_not_shown(
    signed_in: Client, admin: User, machine: Machine
) -> None:
    Device.objects.update(platform="macOS", os_version="15.1")
    signed_in.post(
        f"/commands/send/?enrollment={machine.enrollment.pk}&type=DeviceLock",
        {"p.PIN": "739164", "confirmation": machine.serial_number},
    )
    entry = QueueEntry.objects.get()
    assert machine.idle().plist["Command"]["PIN"] == "739164"

    for path in (
        f"/commands/entries/{entry.pk}/",
        f"/commands/{entry.command.uuid}/",
        f"/devices/{machine.enrollment.device_id}/commands/",
        "/settings/audit/",
    ):
        assert "739164" not in signed_in.get(path).content.decode(), path


def test_a_command_that_was_not_delivered_can_be_cancelled_and_one_that_was_cannot(
    signed_in: Client, admin: User, machine: Machine
) -> None:
    first = _ask(admin, machine.enrollment)
    signed_in.post(f"/commands/entries/{first.pk}/cancel")
    second = _ask(admin, machine.enrollment)
    machine.idle()
    answer = signed_in.post(f"/commands/entries/{second.pk}/cancel", follow=True)

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == ("Cancelled", "Sent")
    assert "The device has this command already" in answer.content.decode()


def test_an_erase_on_its_way_is_seen_by_whoever_looks(
    signed_in: Client, admin: User, enroll: Enroll
) -> None:
    device = enroll()
    _ask(admin, device.enrollment, "EraseDevice")

    page = signed_in.get(f"/devices/{device.pk}/").content.decode()

    assert "Erase sent, waiting for the device" in page


@pytest.mark.django_db
def test_removing_management_tells_the_device_to_drop_the_profile(
    signed_in: Client, machine: Machine
) -> None:
    path = f"/devices/{machine.enrollment.device_id}/"
    signed_in.post(f"{path}remove-management/")

    assert "Removal sent, waiting for the device" in signed_in.get(path).content.decode()
    command = machine.idle().plist["Command"]
    assert command["RequestType"] == "RemoveProfile"
    machine.check_in("CheckOut")
    page = signed_in.get(path).content.decode()
    assert "Checked out" in page
    assert "Removal sent" not in page


def test_the_inventory_is_shown_whatever_shape_it_has(signed_in: Client, enroll: Enroll) -> None:
    from django.utils import timezone

    device = enroll()
    shapes = {
        "DeviceInformation": {"OSVersion": "17", "Nested": {"A": {"B": [1, {"C": None}]}}},
        "ProfileList": [{"PayloadDisplayName": "<i>Wi-Fi</i>", "IsManaged": True}, "odd", 5],
        "InstalledApplicationList": [{"Name": f"App {n}"} for n in range(600)],
        "CertificateList": [],
        "SecurityInfo": "text",
    }
    for section, data in shapes.items():
        InventorySection.objects.create(
            enrollment=device.enrollment, section=section, data=data, reported_at=timezone.now()
        )

    pages = {
        section: signed_in.get(f"/devices/{device.pk}/inventory/?section={section}")
        for section in [*shapes, "unknown"]
    }

    texts = {section: page.content.decode() for section, page in pages.items()}
    assert all(page.status_code == 200 for page in pages.values())
    assert "Nested.A.B" in texts["DeviceInformation"]
    assert "&lt;i&gt;Wi-Fi&lt;/i&gt;" in texts["ProfileList"]
    assert "100 more are stored" in texts["InstalledApplicationList"]
    assert "empty list" in texts["CertificateList"]


@pytest.mark.django_db
def test_the_timeline_tells_what_came_and_what_was_sent(
    signed_in: Client, admin: User, machine: Machine
) -> None:
    _ask(admin, machine.enrollment)
    page = signed_in.get(f"/devices/{machine.enrollment.device_id}/timeline/").content.decode()

    for words in ("Authenticate", "TokenUpdate", "Enrollment completed", "RestartDevice"):
        assert words in page
    assert page.index("RestartDevice") < page.index("TokenUpdate") < page.index("Authenticate")
    for before in ("nonsense", "2026-13-45", "2020-01-01T00:00:00+00:00", "2020-01-01"):
        answer = signed_in.get(
            f"/devices/{machine.enrollment.device_id}/timeline/", {"before": before}
        )
        assert answer.status_code == 200, before


def test_retiring_releasing_and_bringing_back(signed_in: Client, enroll: Enroll) -> None:
    device = enroll()
    path = f"/devices/{device.pk}/"
    assert "Its history stays" in signed_in.get(f"{path}retire/").content.decode()

    signed_in.post(f"{path}retire/")
    assert "Retired" in signed_in.get(path).content.decode()
    signed_in.post(f"{path}unretire")

    device.refresh_from_db()
    assert device.retired_at is None
    assert device.enrollment.state == "Released"
    acts = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"device.retire", "device.unretire", "enrollment.release"} <= acts


def test_deleting_wants_the_serial_number_typed_and_no_live_enrollment(
    signed_in: Client, enroll: Enroll
) -> None:
    live, gone = enroll("LIVE"), enroll("GONE", state="CheckedOut")

    signed_in.post(f"/devices/{gone.pk}/delete/", {"confirmation": "LIVE"})
    assert Device.objects.count() == 2
    refused = signed_in.post(
        f"/devices/{live.pk}/delete/", {"confirmation": "live"}, follow=True
    ).content.decode()
    signed_in.post(f"/devices/{gone.pk}/delete/", {"confirmation": " gone "})

    assert "Retire it first" in refused
    assert list(Device.objects.values_list("serial_number", flat=True)) == ["LIVE"]


def test_waking_says_when_there_is_nobody_to_wake(signed_in: Client, enroll: Enroll) -> None:
    live, gone = enroll("LIVE"), enroll("GONE", state="CheckedOut")

    assert (
        "is being woken" in signed_in.post(f"/devices/{live.pk}/wake", follow=True).content.decode()
    )
    assert (
        "cannot be woken"
        in signed_in.post(f"/devices/{gone.pk}/wake", follow=True).content.decode()
    )
    live.enrollment.refresh_from_db()
    assert live.enrollment.wake_at is not None
    assert AuditEvent.objects.filter(action="enrollment.wake").count() == 1


def test_plist_in_a_page_is_a_plist(signed_in: Client, admin: User, enroll: Enroll) -> None:
    import html

    entry = _ask(admin, enroll(supervised=True).enrollment)
    page = signed_in.get(f"/commands/entries/{entry.pk}/").content.decode()
    (raw,) = re.findall(r'id="raw-request"[^>]*>(.*?)</pre>', page, re.DOTALL)

    assert plistlib.loads(html.unescape(raw).encode())["Command"]["RequestType"] == "RestartDevice"
