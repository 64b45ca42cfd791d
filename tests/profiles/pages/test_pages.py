"""The pages about ADE profiles and groups: what they show, change, preview and refuse."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from abm.models import Server, Wish
from mdm.accounts.rights import Role
from mdm.models import Group
from profiles import editing, following
from profiles.models import Default, DeviceProfile, Profile, Version
from tests.abm.pages.conftest import Listed
from tests.people import someone
from tests.profiles.steps import ADMIN, make_profile

pytestmark = pytest.mark.django_db


def text_of(answer: object) -> str:
    content = answer.content.decode()  # type: ignore[attr-defined]
    main = content[content.index("<main") :] if "<main" in content else content
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", main))


def form_of(version: Version) -> dict[str, object]:
    """What a browser would post of a version as it is."""
    form: dict[str, object] = {"await_minutes": str(version.await_minutes)}
    form["enrollment_type"] = "sign_in" if version.signs_in else "automated"
    for key, value in version.content.items():
        if value is True:
            form[key] = "on"
        elif isinstance(value, str | list) and value:
            form[key] = value
    return form


def test_a_profile_is_made_in_the_form(signed_in: Client) -> None:
    assert signed_in.get("/ade-profiles/new/").status_code == 200
    form = {
        "name": "Office",
        "enrollment_type": "automated",
        "is_supervised": "on",
        "is_mdm_removable": "on",
        "skip_setup_items": ["Siri", "Payment"],
        "other_panes": "Unheard",
        "await_minutes": "15",
        "department": "IT",
    }
    answer = signed_in.post("/ade-profiles/new/", form)
    made = Profile.objects.get()
    assert answer["Location"] == f"/ade-profiles/{made.pk}/"
    current = made.current
    assert current is not None
    assert current.content["skip_setup_items"] == ["Payment", "Siri", "Unheard"]
    assert (current.await_minutes, current.content["is_mandatory"]) == (15, False)
    page = text_of(signed_in.get(f"/ade-profiles/{made.pk}/"))
    assert "Department IT" in page
    assert "Unheard" in page


def test_what_is_wrong_is_said_beside_the_field_and_what_was_typed_stays(signed_in: Client) -> None:
    form = {"name": "Office", "is_mdm_removable": "", "region": "XX", "await_minutes": "0"}
    answer = signed_in.post("/ade-profiles/new/", form)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "Management can be locked on supervised devices only" in page
    assert "Give two letters of ISO 3166" in page
    assert "Give 1 to 1,440 minutes." in page
    assert 'value="XX"' in page
    assert not Profile.objects.exists()


def test_a_change_is_previewed_applied_and_discarded(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    profile = make_profile("Office")
    Default.objects.create(os="iOS", profile=profile, set_by="x")
    for number in range(3):
        listed(f"PHONE{number}", server)
    following.tell_everything()
    following.follow()
    assert profile.current is not None

    form = {**form_of(profile.current), "department": "IT"}
    answer = signed_in.post(f"/ade-profiles/{profile.pk}/edit/", form)
    assert answer["Location"] == f"/ade-profiles/{profile.pk}/versions/2/"
    page = text_of(signed_in.get(answer["Location"]))
    assert "3 devices get another profile" in page
    assert "Department — IT" in page
    profile.refresh_from_db()
    assert profile.current.number == 1

    signed_in.post(f"/ade-profiles/{profile.pk}/versions/2/apply")
    profile.refresh_from_db()
    assert profile.current is not None
    assert profile.current.number == 2
    following.follow()
    references = set(Wish.objects.values_list("definition__reference", flat=True))
    assert references == {profile.current.pk}

    signed_in.post(f"/ade-profiles/{profile.pk}/edit/", {**form, "department": "HR"})
    signed_in.post(f"/ade-profiles/{profile.pk}/versions/3/discard")
    assert not Version.objects.filter(number=3).exists()
    same = signed_in.post(f"/ade-profiles/{profile.pk}/edit/", form, follow=True)
    assert "Nothing was changed" in text_of(same)


def test_profiles_are_renamed_duplicated_archived_and_restored(signed_in: Client) -> None:
    profile = make_profile("Office")
    signed_in.post(f"/ade-profiles/{profile.pk}/rename", {"name": "Offices"})
    signed_in.post(f"/ade-profiles/{profile.pk}/duplicate")
    assert set(Profile.objects.values_list("name", flat=True)) == {"Offices", "Offices copy"}
    signed_in.post(f"/ade-profiles/{profile.pk}/archive")
    assert "Offices copy" in text_of(signed_in.get("/ade-profiles/"))
    profile.refresh_from_db()
    assert profile.archived_at is not None
    signed_in.post(f"/ade-profiles/{profile.pk}/restore")
    profile.refresh_from_db()
    assert profile.archived_at is None
    Default.objects.create(os="iOS", profile=profile, set_by="x")
    answer = signed_in.post(f"/ade-profiles/{profile.pk}/archive", follow=True)
    assert "It is in use: default of iOS and iPadOS" in text_of(answer)


def test_defaults_are_previewed_before_they_are_set(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    office, macs = make_profile("Office"), make_profile("Macs")
    listed("MAC1", server, device_family="Mac", os="OSX")
    listed("PHONE1", server)
    assert "none: Unassigned" in signed_in.get("/ade-profiles/defaults/").content.decode()
    form = {"d-iOS-all": str(office.pk), f"d-macOS-{server.pk}": str(macs.pk), "d-tvOS-all": ""}
    page = text_of(signed_in.post("/ade-profiles/defaults/", form))
    assert "2 devices get another profile" in page
    assert not Default.objects.exists()
    signed_in.post("/ade-profiles/defaults/", {**form, "apply": "yes"})
    assert set(Default.objects.values_list("os", "server", "profile")) == {
        ("iOS", None, office.pk),
        ("macOS", server.pk, macs.pk),
    }
    answer = signed_in.post("/ade-profiles/defaults/", form, follow=True)
    assert "Nothing was changed" in text_of(answer)


def test_a_profile_is_given_to_a_selection(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    office = make_profile("Office")
    rows = [listed(f"PHONE{number}", server) for number in range(2)]
    answer = signed_in.post("/ade-profiles/choose", {"id": [row.pk for row in rows]})
    path = answer["Location"]
    assert "Give a profile to 2 devices" in text_of(signed_in.get(path))
    page = text_of(signed_in.get(f"{path}&profile={office.pk}"))
    assert "2 devices get another profile" in page
    signed_in.post(path, {"profile": str(office.pk)})
    assert DeviceProfile.objects.filter(profile=office).count() == 2
    signed_in.post(path, {"profile": "none"})
    assert not DeviceProfile.objects.exists()


def test_a_group_is_picked_given_a_profile_ranked_and_deleted(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    office = make_profile("Office")
    listed("PHONE1", server)
    answer = signed_in.post("/groups/new/", {"name": "Cart", "pasted": "PHONE1\nLATER1\n"})
    cart = Group.objects.get(name="Cart")
    assert answer["Location"] == f"/groups/{cart.pk}/"
    page = text_of(signed_in.get(f"/groups/{cart.pk}/"))
    assert "LATER1" in page
    assert "Not in ABM" in page
    give = f"/groups/{cart.pk}/give"
    assert "1 device gets another profile" in text_of(
        signed_in.post(give, {"profile": str(office.pk)})
    )
    gone = make_profile("Gone")
    editing.archive(ADMIN, gone)
    refused = signed_in.post(give, {"profile": str(gone.pk)}, follow=True)
    assert "Gone is archived. Restore it first." in text_of(refused)
    signed_in.post(give, {"profile": str(office.pk), "apply": "yes"})
    cart.refresh_from_db()
    assert cart.profile.profile == office
    signed_in.post("/groups/new/", {"name": "Second"})
    second = Group.objects.get(name="Second")
    signed_in.post(f"/groups/{second.pk}/move", {"rank": "1"})
    assert list(Group.objects.values_list("name", flat=True)) == ["Second", "Cart"]
    signed_in.post(f"/groups/{cart.pk}/add", {"pasted": "MORE1"})
    signed_in.post(f"/groups/{cart.pk}/remove", {"id": cart.members.get(serial_number="LATER1").pk})
    assert set(cart.members.values_list("serial_number", flat=True)) == {"PHONE1", "MORE1"}
    assert signed_in.get(f"/groups/{cart.pk}/delete/").status_code == 200
    signed_in.post(f"/groups/{cart.pk}/delete/")
    assert list(Group.objects.values_list("name", "rank")) == [("Second", 1)]


def test_a_smart_group_counts_while_it_is_written_and_follows(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    listed("PHONE1", server, color="RED")
    listed("PHONE2", server, color="BLUE")
    assert signed_in.get("/groups/new-smart/").status_code == 200
    rule = {"match": "all", "field": ["color"], "op": ["is"], "value": ["red"]}
    assert "1 device fulfills it now." in text_of(signed_in.get("/groups/count", rule))
    assert "Condition 1: Give what color" in text_of(
        signed_in.get("/groups/count", {**rule, "value": [""]})
    )
    answer = signed_in.post("/groups/new-smart/", {**rule, "name": "Red", "value": [""]})
    assert answer.status_code == 422
    signed_in.post("/groups/new-smart/", {**rule, "name": "Red"})
    red = Group.objects.get()
    assert set(red.members.values_list("serial_number", flat=True)) == {"PHONE1"}
    assert "Color is red" in text_of(signed_in.get(f"/groups/{red.pk}/"))
    signed_in.post(f"/groups/{red.pk}/rule/", {**rule, "value": ["blue"]})
    assert set(red.members.values_list("serial_number", flat=True)) == {"PHONE2"}


def test_the_device_page_says_why(signed_in: Client, server: Server, listed: Listed) -> None:
    row = listed("TV1", server, device_family="AppleTV", os="tvOS")
    following.tell_everything()
    following.follow()
    page = text_of(signed_in.get(f"/devices/{row.device_id}/profile/"))
    assert "It is Unassigned" in page
    assert "There is no default for tvOS." in page
    notice = text_of(signed_in.get(f"/devices/{row.device_id}/"))
    assert "It is Unassigned" in notice
    overview = text_of(signed_in.get("/"))
    assert "1 device is Unassigned." in overview
    assert "There is no default for tvOS." in overview
    devices = text_of(signed_in.get("/abm/devices/?assignment=unassigned"))
    assert "TV1" in devices


def test_the_assignment_is_shown_paused_and_resumed(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    profile = make_profile("Office")
    Default.objects.create(os="iOS", profile=profile, set_by="x")
    listed("PHONE1", server)
    following.tell_everything()
    following.follow()
    assert "To be told" in text_of(signed_in.get("/abm/assignment/"))
    page = text_of(signed_in.get(f"/abm/assignment/{server.pk}/"))
    assert "1 device to be told in 1 request" in page
    signed_in.post(f"/abm/assignment/{server.pk}/pause")
    assert "paused the assignment" in text_of(signed_in.get(f"/abm/assignment/{server.pk}/"))
    assert "is paused; 1 device waits for it" in text_of(signed_in.get("/"))
    signed_in.post(f"/abm/assignment/{server.pk}/resume")
    server.refresh_from_db()
    assert server.assigning_paused_at is None


def test_who_is_not_signed_in_sees_nothing(client: Client) -> None:
    someone(Role.ADMIN)

    for path in ("/ade-profiles/", "/groups/", "/ade-profiles/defaults/", "/abm/assignment/"):
        assert client.get(path)["Location"].startswith("/accounts/login/")
    assert ADMIN.name
