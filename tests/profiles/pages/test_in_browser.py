"""The pages about ADE profiles, groups and arrivals in Chromium: at each width, in light and dark;
and what only works with scripts.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from abm.models import Definition, LedgerEntry, Server, Wish
from enrollment.models import Arrival, RefusedArrival
from mdm import selection
from mdm.accounts.models import User
from profiles import editing, following, giving, groups
from profiles.models import Profile
from profiles.wire.content import new_content
from tests.abm.pages.conftest import Connect, Listed
from tests.mdm.dashboard.conftest import Enroll
from tests.mdm.dashboard.test_in_browser import Window, faults_everywhere
from tests.profiles.steps import ADMIN, make_profile

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
def paths(admin: User, connect: Connect, listed: Listed, enroll: Enroll) -> dict[str, str]:
    """Something of everything; the paths of the pages that show it."""
    server, other = connect("Schools"), connect("Warehouse", problem="terms_not_signed")
    enroll("PHONE0", platform="iOS", device_name="<b>Phone</b>")
    phones = [listed(f"PHONE{number}", server) for number in range(3)]
    listed("MAC1", other, device_family="Mac", os="OSX", profile_status="assigned")
    tv = listed("TV1", server, device_family="AppleTV", os="tvOS")
    office = make_profile("Office", department="IT", is_mdm_removable=False)
    make_profile("Kiosk <script>")
    giving.set_default(ADMIN, "iOS", None, office)
    giving.set_default(ADMIN, "macOS", other, office)
    cart = groups.create_static(ADMIN, "Cart", ["PHONE1", "LATER1"])
    giving.give_group(ADMIN, cart, office)
    rule = {"match": "any", "conditions": [{"field": "color", "op": "is", "value": "RED"}]}
    smart = groups.create_smart(ADMIN, "Red ones", rule)
    following.follow()
    defined = Definition.objects.filter(server=server).first()
    assert defined is not None
    defined.state, defined.profile_uuid = Definition.State.DEFINED, "A" * 32
    defined.save()
    Definition.objects.filter(server=other).update(state="Refused", refusal="LOCALE_INVALID")
    later = timezone.now() + timedelta(hours=1)
    Wish.objects.filter(listed=phones[2]).update(
        tries=1, tried_at=timezone.now(), answer="THROTTLED", retry_at=later
    )
    LedgerEntry.objects.create(
        server=server,
        serial_number="PHONE2",
        source="assign",
        decision="asked",
        op_type="THROTTLED",
        changes={"profile_uuid": ["", "A" * 32]},
    )
    editing.draft(ADMIN, office, {**new_content(), "department": "HR"})
    Arrival.objects.create(
        serial_number="PHONE0", product="iPhone17,1", version=office.current, flags=["unchecked"]
    )
    RefusedArrival.objects.create(
        serial_number="STRANGE1", reason="not_listed", sentence="ABM does not list it.", count=3
    )
    token = selection.freeze(admin.pk, [row.pk for row in phones])
    return {
        "overview": "/",
        "profiles": "/ade-profiles/",
        "profile": f"/ade-profiles/{office.pk}/",
        "new": "/ade-profiles/new/",
        "edit": f"/ade-profiles/{office.pk}/edit/",
        "draft": f"/ade-profiles/{office.pk}/versions/2/",
        "copy": f"/ade-profiles/{office.pk}/apple/{defined.pk}/",
        "defaults": "/ade-profiles/defaults/",
        "give": f"/ade-profiles/give/?to={token}",
        "give, previewed": f"/ade-profiles/give/?to={token}&profile={office.pk}",
        "groups": "/groups/",
        "static": f"/groups/{cart.pk}/",
        "smart": f"/groups/{smart.pk}/",
        "rule": f"/groups/{smart.pk}/rule/",
        "new group": "/groups/new/",
        "new smart group": "/groups/new-smart/",
        "delete": f"/groups/{smart.pk}/delete/",
        "device, settled": f"/devices/{phones[0].device_id}/profile/",
        "device, cooling": f"/devices/{phones[2].device_id}/profile/",
        "device, unassigned": f"/devices/{tv.device_id}/profile/",
        "ABM devices": "/abm/devices/?assignment=unassigned",
        "assignments": "/abm/assignment/",
        "assignment": f"/abm/assignment/{server.pk}/",
        "arrivals": "/enrollment/arrivals/",
        "refused": "/enrollment/arrivals/refused/",
        "settings": "/enrollment/arrivals/settings/",
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

    assert found == []
    assert here.trouble == []


def test_the_empty_pages_are_whole_too(window: Any) -> None:
    here = window(reduced_motion="reduce")
    page = here.sign_in()
    found: list[str] = []
    for path, words in (
        ("/ade-profiles/", "No ADE profiles yet"),
        ("/ade-profiles/defaults/", "There is no profile yet"),
        ("/groups/", "No groups yet"),
        ("/abm/assignment/", "No ABM server is connected"),
        ("/enrollment/arrivals/", "No device has come yet"),
        ("/enrollment/arrivals/refused/", "Nobody was refused"),
    ):
        page.goto(path)
        expect(page.get_by_text(words)).to_be_visible()
        found += faults_everywhere(page, path)

    assert found == []
    assert here.trouble == []


def test_panes_are_searched_and_chosen_together(page: Page) -> None:
    page.goto("/ade-profiles/new/")
    page.get_by_label("Name").fill("Office")
    page.get_by_label("Search panes").fill("apple pay")
    expect(page.get_by_label("Apple Pay")).to_be_visible()
    expect(page.get_by_label("Siri", exact=False).first).to_be_hidden()
    page.get_by_role("button", name="None", exact=True).click()
    page.get_by_label("Apple Pay").check()
    page.get_by_role("button", name="Make the profile").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Office")
    [made] = Profile.objects.all()
    assert made.current is not None
    assert made.current.content["skip_setup_items"] == ["Payment"]


def test_a_rule_is_written_with_a_live_count(page: Page, server: Server, listed: Listed) -> None:
    listed("PHONE1", server)
    listed("IPAD1", server, device_family="iPad", os="iPadOS", color="RED")
    page.goto("/groups/new-smart/")
    page.get_by_label("Name").fill("Red iPads")
    page.get_by_label("Value").select_option("iPad")
    expect(page.locator("#rule-count")).to_have_text("1 device fulfills it now.")
    page.get_by_role("button", name="Another condition").click()
    page.get_by_label("What").nth(1).select_option("color")
    page.get_by_label("Comparison").nth(1).select_option("is_not")
    page.get_by_label("Value").nth(1).fill("red")
    expect(page.locator("#rule-count")).to_have_text("0 devices fulfill it now.")
    page.get_by_label("Comparison").nth(1).select_option("is")
    expect(page.locator("#rule-count")).to_have_text("1 device fulfills it now.")
    page.get_by_role("button", name="Make the group").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Red iPads")
    expect(page.locator("main")).to_contain_text("IPAD1")
