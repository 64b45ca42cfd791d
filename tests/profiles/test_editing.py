"""Profiles and their versions: made, drafted, applied, put away."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from abm import servers
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed
from mdm.models import Group
from profiles import editing, giving, groups, selectors
from profiles.errors import BadProfile, NotNow
from profiles.models import Profile, Version
from profiles.wire.content import new_content
from tests.abm.connected import connect
from tests.profiles.steps import ADMIN, make_profile

pytestmark = pytest.mark.django_db

NOBODY = dataclasses.replace(Actor.system("nobody"), active=False)


def content(**more: Any) -> dict[str, Any]:
    return {**new_content(), **more}


def actions() -> list[str]:
    return list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))


def test_a_new_profile_has_its_first_version_applied() -> None:
    made = editing.create(ADMIN, " Office ", content(department=" IT "), await_minutes=5)
    assert (made.name, made.created_by) == ("Office", "tests")
    current = made.current
    assert current is not None
    assert (current.number, current.await_minutes, current.content["department"]) == (1, 5, "IT")
    assert current.applied_by == "tests"
    assert actions() == ["profile.create"]


@pytest.mark.parametrize("name", ["", " ", "x" * 126, "a\nb"])
def test_a_name_is_one_that_apple_takes(name: str) -> None:
    with pytest.raises(BadProfile) as bad:
        editing.create(ADMIN, name, content())
    assert list(bad.value.errors) == ["name"]


def test_two_profiles_in_use_have_two_names_whatever_their_case() -> None:
    office = make_profile("Office")
    with pytest.raises(BadProfile):
        make_profile("OFFICE")
    editing.archive(ADMIN, office)
    make_profile("office")
    with pytest.raises(BadProfile):
        editing.restore(ADMIN, office)
    office.refresh_from_db()
    assert office.archived_at is not None


def test_everything_that_is_wrong_is_said_at_once_and_nothing_is_made() -> None:
    with pytest.raises(BadProfile) as bad:
        editing.create(ADMIN, "", content(region="XX", department=7), await_minutes=0)
    assert set(bad.value.errors) == {"name", "region", "department", "await_minutes"}
    assert not Profile.objects.exists()


def test_a_draft_changes_nothing_and_there_is_one_at_a_time() -> None:
    office = make_profile("Office")
    editing.draft(ADMIN, office, content(department="IT"))
    second = editing.draft(ADMIN, office, content(department="HR"))
    office.refresh_from_db()
    assert office.current is not None
    assert office.current.number == 1
    assert [each.content["department"] for each in office.versions.order_by("number")] == [
        "",
        "HR",
    ]
    assert second.number == 2


def test_what_says_the_same_is_no_draft_but_another_way_in_or_limit_is() -> None:
    office = make_profile("Office")
    with pytest.raises(NotNow):
        editing.draft(ADMIN, office, content())
    editing.draft(ADMIN, office, content(), signs_in=True)
    editing.draft(ADMIN, office, content(), await_minutes=31)


def test_a_version_is_applied_and_an_earlier_one_again() -> None:
    office = make_profile("Office")
    first = office.current
    assert first is not None
    second = editing.draft(ADMIN, office, content(department="IT"))
    assert editing.apply(ADMIN, second).current == second
    with pytest.raises(NotNow):
        editing.apply(ADMIN, second)
    assert editing.apply(ADMIN, first).current == first
    assert actions() == ["profile.create", "profile.draft", "profile.apply", "profile.apply"]
    second.refresh_from_db()
    assert second.content["department"] == "IT"


def test_a_draft_that_was_replaced_or_discarded_cannot_be_applied() -> None:
    office = make_profile("Office")
    replaced = editing.draft(ADMIN, office, content(department="IT"))
    editing.draft(ADMIN, office, content(department="HR"))
    with pytest.raises(NotNow):
        editing.apply(ADMIN, Version(pk=replaced.pk, profile=office, number=2))
    applied = office.current
    assert applied is not None
    with pytest.raises(NotNow):
        editing.discard(ADMIN, applied)


def test_each_version_has_a_secret_of_its_own() -> None:
    office = make_profile("Office")
    draft = editing.draft(ADMIN, office, content(department="IT"))
    first = office.versions.get(number=1)
    secrets = {editing.secret_of(first), editing.secret_of(draft)}
    assert len(secrets) == 2
    for version in (first, draft):
        assert editing.by_secret(editing.secret_of(version)) == version
    assert editing.by_secret("guessed") is None
    assert editing.by_secret("\udcff") is None
    said = str(list(AuditEvent.objects.values_list("before", "after")))
    assert not any(secret in said for secret in secrets)


def test_a_copy_says_the_same_and_is_given_to_nobody() -> None:
    office = make_profile("Office", department="IT")
    giving.set_default(ADMIN, "iOS", None, office)
    one, two = editing.duplicate(ADMIN, office), editing.duplicate(ADMIN, office)
    assert (one.name, two.name) == ("Office copy", "Office copy 2")
    assert one.current is not None
    assert one.current.content["department"] == "IT"
    assert editing.uses(one) == []


def test_one_that_is_in_use_is_not_archived_and_says_where() -> None:
    office = make_profile("Office")
    giving.set_default(ADMIN, "iOS", None, office)
    giving.give_devices(ADMIN, ["A1", "B2"], office)
    giving.give_group(ADMIN, groups.create_static(ADMIN, "Cart"), office)
    with pytest.raises(NotNow) as refused:
        editing.archive(ADMIN, office)
    for words in ("group Cart", "default of iOS and iPadOS", "2 devices of their own"):
        assert words in str(refused.value)


def test_a_default_on_a_server_that_is_gone_keeps_nothing() -> None:
    office, server = make_profile("Office"), connect()
    giving.set_default(ADMIN, "iOS", server, office)
    assert editing.uses(office) == ["default of iOS and iPadOS on Office"]
    assert list(Profile.objects.filter(selectors.in_use())) == [office]
    servers.disconnect(ADMIN, server)
    assert editing.uses(office) == []
    assert list(Profile.objects.filter(selectors.in_use())) == []
    editing.archive(ADMIN, office)


def test_who_is_switched_off_changes_nothing() -> None:
    office = make_profile("Office")
    draft = editing.draft(ADMIN, office, content(department="IT"))
    for act in (
        lambda: editing.create(NOBODY, "Other", content()),
        lambda: editing.draft(NOBODY, office, content(department="HR")),
        lambda: editing.apply(NOBODY, draft),
        lambda: editing.discard(NOBODY, draft),
        lambda: editing.rename(NOBODY, office, "Other"),
        lambda: editing.duplicate(NOBODY, office),
        lambda: editing.archive(NOBODY, office),
        lambda: editing.restore(NOBODY, office),
        lambda: giving.give_devices(NOBODY, ["A1"], office),
        lambda: giving.set_default(NOBODY, "iOS", None, office),
        lambda: groups.create_static(NOBODY, "Cart"),
        lambda: groups.create_smart(NOBODY, "Cart", {}),
    ):
        with pytest.raises(NotAllowed):
            act()
    assert (Profile.objects.count(), Version.objects.count(), Group.objects.count()) == (1, 2, 0)
