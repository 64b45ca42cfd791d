"""The order in which a device gets its profile: every combination of rules, resolved at once, and
explained one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import product

import pytest
from django.utils import timezone

from abm.models import AbmDevice, Server, Wish
from mdm.models import Device
from profiles import editing, explain, following, giving, groups, resolution
from profiles.errors import NotNow
from profiles.models import Profile
from profiles.wire.content import new_content
from tests.abm.connected import connect
from tests.profiles.steps import ADMIN, make_profile

pytestmark = pytest.mark.django_db

# In which groups a device is; the first of a pair has the better rank. "a" and "b" have a profile,
# "none" has not.
_MEMBERSHIPS = ((), ("a",), ("none",), ("a", "b"), ("none", "b"), ("none", "a"), ("a", "none"))


def listed(serial: str, server: Server, os: str = "iOS", family: str = "iPhone") -> AbmDevice:
    device, _ = Device.objects.get_or_create(serial_number=serial)
    return AbmDevice.objects.create(
        serial_number=serial,
        server=server,
        device=device,
        os=os,
        device_family=family,
        profile_status="empty",
    )


def follow() -> None:
    following.tell_everything()
    following.follow()


@dataclass(frozen=True)
class Case:
    own: bool
    membership: tuple[str, ...]
    theirs: bool
    general: bool

    @property
    def serial(self) -> str:
        letters = "".join("Y" if each else "N" for each in (self.own, self.theirs, self.general))
        return f"{letters}{''.join(self.membership).upper() or 'X'}"

    @property
    def expected(self) -> tuple[str, str]:
        """The rule and the profile, by the documented order."""
        if self.own:
            return "device", "own"
        for group in self.membership:
            if group != "none":
                return "group", group
        if self.theirs:
            return "default", "theirs"
        return ("default", "general") if self.general else ("", "")


CASES = [
    Case(own, membership, theirs, general)
    for own, membership, theirs, general in product(
        (False, True), _MEMBERSHIPS, (False, True), (False, True)
    )
]


def test_every_combination_of_rules_is_resolved_and_explained_alike() -> None:
    profiles = {name: make_profile(name) for name in ("own", "a", "b", "theirs", "general")}
    # Defaults belong to an OS or to a server: each combination of them has a pair of its own.
    with_theirs, without = connect("With"), connect("Without")
    giving.set_default(ADMIN, "macOS", with_theirs, profiles["theirs"])
    giving.set_default(ADMIN, "iOS", with_theirs, profiles["theirs"])
    giving.set_default(ADMIN, "iOS", None, profiles["general"])
    members: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for case in CASES:
        server = with_theirs if case.theirs else without
        os, family = ("iOS", "iPhone") if case.general else ("OSX", "Mac")
        listed(case.serial, server, os, family)
        if case.own:
            giving.give_devices(ADMIN, [case.serial], profiles["own"])
        for group in case.membership:
            members.setdefault(case.membership, {}).setdefault(group, []).append(case.serial)
    # Groups are ranked as they are made.
    for membership, named in members.items():
        for group in membership:
            made = groups.create_static(ADMIN, f"{membership} {group}", named[group])
            if group != "none":
                giving.give_group(ADMIN, made, profiles[group])

    following.follow()

    assert len(CASES) == 56
    found = {
        wish.listed.serial_number: wish
        for wish in Wish.objects.select_related("listed", "definition")
    }
    assert len(found) == len(CASES)
    by_version = {profile.current_id: name for name, profile in profiles.items()}
    for case in CASES:
        wish = found[case.serial]
        version = wish.definition.reference if wish.definition else None
        assert (wish.rule, by_version.get(version, "")) == case.expected, case
        told = explain.explain(case.serial)
        winner = told.winner
        assert (
            winner.kind if winner else "",
            str(winner.profile) if winner else "",
        ) == case.expected, case
        assert str(told.wanted.profile if told.wanted else "") == case.expected[1], case
        assert told.state == ("pending" if case.expected[0] else "unassigned"), case
        assert (winner.id if winner else None) == wish.rule_id, case


@pytest.mark.parametrize(
    ("os", "family", "default"),
    [
        ("iOS", "iPhone", "iOS"),
        ("iPadOS", "iPad", "iOS"),
        ("iOS", "iPad", "iOS"),
        ("OSX", "Mac", "macOS"),
        ("tvOS", "AppleTV", "tvOS"),
        ("visionOS", "Vision", "visionOS"),
        ("watchOS", "Watch", "watchOS"),
        ("", "Mac", "macOS"),
        ("newOS", "Newcomer", ""),
    ],
)
def test_each_os_has_its_default(os: str, family: str, default: str) -> None:
    server = connect()
    for word in ("iOS", "macOS", "tvOS", "visionOS", "watchOS"):
        giving.set_default(ADMIN, word, None, make_profile(word))
    row = listed("SERIAL1", server, os, family)
    follow()
    wish = Wish.objects.select_related("definition").get(listed=row)
    expected = f"{default}, version 1" if default else ""
    assert str(wish.definition or "") == expected


def test_where_abm_does_not_know_the_os_the_device_itself_does() -> None:
    server = connect()
    giving.set_default(ADMIN, "tvOS", None, make_profile("TVs"))
    row = listed("SERIAL1", server, "", "")
    Device.objects.update(platform="tvOS")
    follow()
    assert str(Wish.objects.get(listed=row).definition) == "TVs, version 1"

    # It says so only now, and no smart group asks what devices say.
    Device.objects.update(platform="macOS")
    following.tell_of([row.device_id])
    following.follow()
    assert Wish.objects.get(listed=row).definition is None


def test_a_wish_that_changes_is_told_anew_and_one_that_stays_remembers() -> None:
    server = connect()
    office = make_profile("Office")
    giving.set_default(ADMIN, "iOS", None, office)
    row = listed("SERIAL1", server)
    follow()
    Wish.objects.update(tries=3, answer="FAILED")

    # The same profile by another rule.
    giving.give_devices(ADMIN, ["SERIAL1"], office)
    following.follow()
    wish = Wish.objects.get(listed=row)
    assert (wish.rule, wish.tries, wish.answer) == ("device", 3, "FAILED")

    editing.apply(ADMIN, editing.draft(ADMIN, office, {**new_content(), "department": "IT"}))
    following.follow()
    wish = Wish.objects.get(listed=row)
    assert (wish.tries, wish.answer, wish.retry_at) == (0, "", None)
    assert str(wish.definition) == "Office, version 2"


@pytest.mark.parametrize(("answer", "kept"), [("THROTTLED", True), ("NOT_ACCESSIBLE", True)])
def test_what_apple_says_of_the_device_itself_holds_for_another_wish_too(
    answer: str, kept: bool
) -> None:
    """Asking earlier would renew the throttle."""
    server = connect()
    office = make_profile("Office")
    giving.set_default(ADMIN, "iOS", None, office)
    row = listed("SERIAL1", server)
    follow()
    later = timezone.now() + timedelta(hours=3)
    Wish.objects.update(tries=2, tried_at=timezone.now(), answer=answer, retry_at=later)

    editing.apply(ADMIN, editing.draft(ADMIN, office, {**new_content(), "department": "IT"}))
    following.follow()
    wish = Wish.objects.get(listed=row)
    assert str(wish.definition) == "Office, version 2"
    assert (wish.tries, wish.answer, wish.retry_at) == (2, answer, later)

    Wish.objects.update(retry_at=timezone.now() - timedelta(minutes=1))
    editing.apply(ADMIN, editing.draft(ADMIN, office, {**new_content(), "department": "HR"}))
    following.follow()
    wish = Wish.objects.get(listed=row)
    assert (wish.tries, wish.answer, wish.retry_at) == (0, "", None)


def test_a_version_that_is_applied_meanwhile_leaves_the_wish_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is applied when definitions have been prepared and wishes are not written yet."""
    server = connect()
    office = make_profile("Office")
    giving.set_default(ADMIN, "iOS", None, office)
    row = listed("SERIAL1", server)
    follow()
    usual = resolution._prepare_definitions

    def prepare() -> None:
        usual()
        editing.apply(ADMIN, editing.draft(ADMIN, office, {**new_content(), "department": "IT"}))

    with monkeypatch.context() as patched:
        patched.setattr(resolution, "_prepare_definitions", prepare)
        follow()
    assert str(Wish.objects.get(listed=row).definition) == "Office, version 1"
    following.follow()
    assert str(Wish.objects.get(listed=row).definition) == "Office, version 2"


def test_what_leaves_the_list_or_moves_away_loses_its_wish() -> None:
    server, other = connect("One"), connect("Two")
    giving.set_default(ADMIN, "iOS", None, make_profile("Office"))
    row = listed("SERIAL1", server)
    moved = listed("SERIAL2", server)
    follow()
    assert Wish.objects.count() == 2

    AbmDevice.objects.filter(pk=row.pk).update(removed_at="2026-01-01T00:00Z", current=False)
    AbmDevice.objects.filter(pk=moved.pk).update(current=False)
    there = listed("SERIAL2", other)
    follow()
    assert list(Wish.objects.values_list("listed", flat=True)) == [there.pk]


def test_some_devices_are_resolved_as_all_would_be_and_a_comparison_tells_it_before() -> None:
    server = connect()
    office, kiosk = make_profile("Office"), make_profile("Kiosk")
    giving.set_default(ADMIN, "iOS", None, office)
    for number in range(5):
        listed(f"SERIAL{number}", server)
    follow()
    group = groups.create_static(ADMIN, "Some", ["SERIAL1", "SERIAL2"])
    following.follow()
    giving.give_group(ADMIN, group, kiosk)

    [change] = resolution.compare(["SERIAL1", "SERIAL2", "SERIAL3"])
    assert (change.before, change.after, change.devices) == (
        office.current_id,
        kiosk.current_id,
        2,
    )
    assert resolution.resolve(["SERIAL1", "SERIAL3"]) == {server.pk: 1}
    assert resolution.resolve() == {server.pk: 1}
    assert resolution.compare() == []
    assert resolution.resolve() == {}


def test_only_a_profile_with_an_applied_version_that_is_not_archived_can_be_given() -> None:
    gone = make_profile("Gone")
    editing.archive(ADMIN, gone)
    draft = Profile.objects.create(name="Draft", created_by="x")
    for profile in (gone, draft):
        with pytest.raises(NotNow):
            giving.set_default(ADMIN, "iOS", None, profile)
        with pytest.raises(NotNow):
            giving.give_devices(ADMIN, ["SERIAL1"], profile)
        with pytest.raises(NotNow):
            giving.give_group(ADMIN, groups.create_static(ADMIN, str(profile)), profile)
