"""Undoing: the button beside the message does the reverse, for a while, for whoever did the act."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from lxml import html

from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.models import Device, Group
from mdm.pages import frame
from profiles import giving, groups
from profiles.models import Profile
from tests.mdm.dashboard.conftest import Enroll
from tests.people import someone
from tests.profiles.steps import ADMIN, make_profile

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(enroll: Enroll) -> dict[str, Any]:
    retired = enroll("S1", state="CheckedOut")
    first, _second = make_profile("First"), make_profile("Second")
    group = groups.create_static(ADMIN, "Lab", ["S1", "S2"])
    groups.create_static(ADMIN, "Other", [])
    giving.give_group(ADMIN, group, first)
    return {"device": retired, "group": group, "first": first, "user": someone(Role.VIEWER)}


def _undo(client: Client, path: str, form: dict[str, Any]) -> dict[str, Any] | None:
    """Do it; what the button beside the message would post."""
    page = html.fromstring(client.post(path, form, follow=True).content)
    found = page.xpath("//div[@id='messages']//form")
    if not found:
        return None
    fields = {each.get("name"): each.get("value") for each in found[0].iter("input")}
    return {"path": found[0].get("action"), **fields}


ACTS: dict[str, tuple[str, dict[str, Any], Callable[[], object]]] = {
    "retire": ("/devices/{device.pk}/retire/", {}, lambda: Device.objects.get().retired_at is None),
    "archive": (
        "/ade-profiles/{second}/archive",
        {},
        lambda: Profile.objects.get(name="Second").archived_at is None,
    ),
    "take members": (
        "/groups/{group.pk}/remove",
        {"all": "?q=S2"},
        lambda: set(Group.objects.get(name="Lab").members.values_list("serial_number", flat=True)),
    ),
    "give members": (
        "/groups/{group.pk}/add",
        {"pasted": "S2 S3"},
        lambda: set(Group.objects.get(name="Lab").members.values_list("serial_number", flat=True)),
    ),
    "give a profile": (
        "/groups/{group.pk}/give",
        {"profile": "", "apply": "yes"},
        lambda: list(Group.objects.values_list("name", "profile__profile__name")),
    ),
    "move": (
        "/groups/{group.pk}/move",
        {"rank": "2", "back": "list"},
        lambda: list(Group.objects.values_list("name", "rank")),
    ),
    "deactivate": (
        "/settings/people/{user.pk}/deactivate/",
        {},
        lambda: User.objects.get(username="viewer").is_active,
    ),
}


@pytest.mark.parametrize("act", ACTS)
def test_what_was_done_is_undone(signed_in: Client, world: dict[str, Any], act: str) -> None:
    path, form, look = ACTS[act]
    path = path.format(**world, second=Profile.objects.get(name="Second").pk)
    before = look()

    undo = _undo(signed_in, path, form)
    assert look() != before
    assert undo
    # And what was undone can be done again in the same way.
    again = _undo(signed_in, undo.pop("path"), undo)
    assert look() == before
    assert again or act.endswith("members")


def test_undoing_is_offered_once_and_for_a_while(
    signed_in: Client, world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/devices/{world['device'].pk}/retire/"
    signed_in.post(path)
    late = time.time() + frame.UNDO_SECONDS + 1
    with monkeypatch.context() as patch:
        patch.setattr(frame.time, "time", lambda: late)
        assert "Undo" not in signed_in.get("/devices/").content.decode()
    signed_in.post(path)
    assert "Undo" in signed_in.get("/devices/").content.decode()
    assert "Undo" not in signed_in.get("/devices/").content.decode()


def test_members_that_are_kept_no_longer_stay_as_they_are(
    signed_in: Client, world: dict[str, Any]
) -> None:
    group = world["group"]

    page = signed_in.post(f"/groups/{group.pk}/take-out", {"members": "long gone"}, follow=True)

    assert "That was too long ago" in page.content.decode()
    assert group.members.count() == 2


def test_a_device_that_was_managed_is_only_put_back_on_the_lists(
    signed_in: Client, enroll: Enroll
) -> None:
    device = enroll("S9")

    page = signed_in.post(f"/devices/{device.pk}/retire/", follow=True).content.decode()

    assert "Its management here has ended" in page
    assert "Put it back on the lists" in page
