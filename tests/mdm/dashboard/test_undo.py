"""Undoing: the button beside the message does the reverse, for a while, for whoever did the act."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.core import signing
from django.test import Client
from lxml import html

from mdm.accounts import people
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit.record import record
from mdm.models import Device, Enrollment, Group
from mdm.pages import frame
from profiles import giving, groups
from profiles.models import Profile
from tests.mdm.dashboard.conftest import Enroll
from tests.people import signed_in as client_of
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


CHANGED = "This has changed since; nothing was undone"


def _late(monkeypatch: pytest.MonkeyPatch, world: dict[str, Any], undo: dict[str, Any]) -> None:
    late = time.time() + frame.UNDO_SECONDS + 1
    monkeypatch.setattr(signing.time, "time", lambda: late)


def _decided(monkeypatch: pytest.MonkeyPatch, world: dict[str, Any], undo: dict[str, Any]) -> None:
    people.activate(ADMIN, world["user"])
    people.deactivate(ADMIN, world["user"])


def _elsewhere(
    monkeypatch: pytest.MonkeyPatch, world: dict[str, Any], undo: dict[str, Any]
) -> None:
    other = someone(Role.HELPER)
    people.deactivate(ADMIN, other)
    undo["path"] = f"/settings/people/{other.pk}/activate"


def _forged(monkeypatch: pytest.MonkeyPatch, world: dict[str, Any], undo: dict[str, Any]) -> None:
    undo["undo"] = undo["undo"][:-1]


@pytest.mark.parametrize("meanwhile", [_late, _decided, _elsewhere, _forged])
def test_what_changed_since_stays(
    signed_in: Client,
    world: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Callable[[pytest.MonkeyPatch, dict[str, Any], dict[str, Any]], None],
) -> None:
    undo = _undo(signed_in, f"/settings/people/{world['user'].pk}/deactivate/", {})
    assert undo
    meanwhile(monkeypatch, world, undo)

    page = signed_in.post(undo.pop("path"), undo, follow=True).content.decode()

    assert CHANGED in page
    assert not User.objects.exclude(username="ada").filter(is_active=True).exists()


def test_undoing_is_for_whoever_did_it_and_a_secret_read_since_is_no_change(
    signed_in: Client, world: dict[str, Any]
) -> None:
    user = world["user"]
    undo = _undo(signed_in, f"/settings/people/{user.pk}/deactivate/", {})
    assert undo
    record(ADMIN, "account.codes.read", subject_kind="person", subject_id=user.pk)
    path = undo.pop("path")

    other = client_of(someone(Role.ADMIN, name="other"))
    assert CHANGED in other.post(path, undo, follow=True).content.decode()
    signed_in.post(path, undo)

    user.refresh_from_db()
    assert user.is_active


def test_retiring_ends_no_enrollment_that_began_since(signed_in: Client, enroll: Enroll) -> None:
    device = enroll("S9", state="CheckedOut")
    undo = _undo(signed_in, f"/devices/{device.pk}/unretire", {})
    assert undo
    Enrollment.objects.filter(device=device).update(state="Enrolled")
    path = undo.pop("path")

    assert CHANGED in signed_in.post(path, undo, follow=True).content.decode()
    assert _undo(signed_in, f"/devices/{device.pk}/unretire", {}) is None
    assert Enrollment.objects.get().state == "Enrolled"


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
