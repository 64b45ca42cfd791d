"""Groups of devices: picked or found by a rule, in the order of their rank."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from abm import store
from abm.models import AbmDevice, Server
from mdm import devices as devices_of_mdm
from mdm.audit.models import AuditEvent
from mdm.models import Device, Enrollment, Group
from profiles import following, giving, groups, membership, rules
from profiles.errors import BadGroup
from profiles.rules import BadRule
from tests.abm.connected import connect
from tests.profiles.steps import ADMIN, make_profile, wanted
from tests.steps import Meanwhile

pytestmark = pytest.mark.django_db


def rule(field: str, op: str, value: Any = "", match: str = "all") -> dict[str, Any]:
    return {"match": match, "conditions": [{"field": field, "op": op, "value": value}]}


def listed(serial: str, server: Server, **facts: Any) -> AbmDevice:
    device, _ = Device.objects.get_or_create(serial_number=serial)
    given = {"os": "iOS", "device_family": "iPhone", "profile_status": "empty"}
    return AbmDevice.objects.create(
        serial_number=serial,
        server=server,
        device=device,
        added_at=facts.pop("added_at", timezone.now()),
        **{**given, **facts},
    )


def found(given: dict[str, Any]) -> set[str]:
    """The serial numbers that a rule finds."""
    sql, parameters = rules.where(rules.clean(given))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT d.serial_number {rules.DEVICES} AND {sql}", parameters)
        return {serial for (serial,) in cursor.fetchall()}


def members(group: Group) -> set[str]:
    return set(group.members.values_list("serial_number", flat=True))


# --- Rules ---------------------------------------------------------------------------------------


@pytest.fixture
def devices(db: None) -> dict[str, Server]:
    """A red iPhone with iOS 26.9 and a tag, a blue iPad with 26.10, and an old Mac elsewhere."""
    one, two = connect("One"), connect("Two")
    day = datetime(2026, 1, 1, tzinfo=UTC)
    listed("PHONE", one, color="RED", asset_tag="CART_7%", model="IPHONE 17", added_at=day)
    listed(
        "IPAD",
        one,
        color="Blue",
        os="iPadOS",
        device_family="iPad",
        model="IPAD AIR",
        added_at=day + timedelta(days=1),
    )
    listed("MAC", two, os="OSX", device_family="Mac", added_at=day + timedelta(days=2))
    Device.objects.filter(serial_number="PHONE").update(os_version="26.9")
    Device.objects.filter(serial_number="IPAD").update(os_version="26.10")
    Device.objects.filter(serial_number="MAC").update(os_version="not one")
    device = Device.objects.get(serial_number="MAC")
    enrollment = Enrollment.objects.create(
        key="mac", device=device, kind="device", channel="device", state="Enrolled"
    )
    Device.objects.filter(pk=device.pk).update(enrollment=enrollment)
    Device.objects.create(serial_number="NEITHER")
    return {"one": one, "two": two}


@pytest.mark.parametrize(
    ("field", "op", "value", "expected"),
    [
        ("os", "is", "iPadOS", "IPAD"),
        ("os", "is_not", "iPadOS", "PHONE MAC"),
        ("os", "is", "macOS", "MAC"),
        ("family", "is", "iPhone", "PHONE"),
        ("family", "is_not", "iPhone", "IPAD MAC"),
        ("os_version", "at_least", "26.10", "IPAD"),
        ("os_version", "below", "26.10", "PHONE"),
        ("os_version", "at_least", "26.10.0", "IPAD"),
        ("os_version", "below", "26.9.0", ""),
        ("os_version", "is", "26", "PHONE IPAD"),
        ("os_version", "is", "26.9", "PHONE"),
        ("model", "contains", "air", "IPAD"),
        ("model", "starts_with", "iphone", "PHONE"),
        ("model", "empty", "", "MAC"),
        ("color", "is", "red", "PHONE"),
        ("color", "is_not", "red", "IPAD MAC"),
        ("color", "not_contains", "e", "MAC"),
        ("asset_tag", "contains", "_7%", "PHONE"),
        ("asset_tag", "contains", "X7%", ""),
        ("asset_tag", "not_empty", "", "PHONE"),
        ("description", "empty", "", "PHONE IPAD MAC"),
        ("serial_number", "starts_with", "p", "PHONE"),
        ("enrolled", "is", "yes", "MAC"),
        ("enrolled", "is", "no", "PHONE IPAD"),
        ("arrived", "on_or_after", "2026-01-02", "IPAD MAC"),
        ("arrived", "before", "2026-01-02", "PHONE"),
        ("order", "first", "2", "PHONE IPAD"),
        ("order", "not_first", "2", "MAC"),
    ],
)
def test_each_condition_finds_its_devices(
    devices: dict[str, Server], field: str, op: str, value: str, expected: str
) -> None:
    assert found(rule(field, op, value)) == set(expected.split())
    assert membership.count(rules.clean(rule(field, op, value))) == len(expected.split())


def test_a_server_is_a_condition_too_and_conditions_are_joined(
    devices: dict[str, Server],
) -> None:
    assert found(rule("server", "is", devices["two"].pk)) == {"MAC"}
    assert found(rule("server", "is_not", devices["two"].pk)) == {"PHONE", "IPAD"}
    both = [
        {"field": "color", "op": "is", "value": "RED"},
        {"field": "family", "op": "is", "value": "iPad"},
    ]
    assert found({"match": "all", "conditions": both}) == set()
    assert found({"match": "any", "conditions": both}) == {"PHONE", "IPAD"}


@pytest.mark.parametrize(
    ("given", "at"),
    [
        (None, None),
        ({"match": "some", "conditions": [{}]}, None),
        ({"match": "all", "conditions": []}, None),
        ({"match": "all", "conditions": "x"}, None),
        ({"match": "all", "conditions": [{}] * 21}, None),
        ({"match": "all", "conditions": [7]}, 0),
        (rule("nonsense", "is", "x"), 0),
        (rule("color", "at_least", "x"), 0),
        (rule("color", "is", " "), 0),
        (rule("family", "is", "Toaster"), 0),
        (rule("os_version", "below", "26.x"), 0),
        (rule("os_version", "below", "1.2.3.4.5.6.7"), 0),
        (rule("arrived", "before", "yesterday"), 0),
        (rule("order", "first", "0"), 0),
        (rule("order", "first", "²"), 0),
        (rule("server", "is", "x"), 0),
    ],
)
def test_what_is_no_rule_is_refused(given: Any, at: int | None) -> None:
    with pytest.raises(BadRule) as bad:
        rules.clean(given)
    assert bad.value.at == at


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_condition = st.fixed_dictionaries(
    {
        "field": st.sampled_from(sorted(rules.BY_KEY)) | st.text(max_size=5),
        "op": st.sampled_from(sorted({op for ops in rules.OPS.values() for op in ops})),
        "value": _json | st.sampled_from(["26.1", "2026-01-01", "3", "iPhone", "yes", "iOS"]),
    }
)
_rule = st.fixed_dictionaries(
    {"match": st.sampled_from(["all", "any"]), "conditions": st.lists(_condition, max_size=4)}
)


@given(data=_rule | _json)
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_is_accepted_as_a_rule_runs(data: Any) -> None:
    try:
        cleaned = rules.clean(data)
    except BadRule:
        return
    assert rules.clean(cleaned) == cleaned
    assert membership.count(cleaned) == 0
    assert len(rules.said(cleaned)) == len(cleaned["conditions"])


# --- Members -------------------------------------------------------------------------------------


def test_a_smart_group_follows_what_is_known_of_a_device() -> None:
    server = connect()
    red, other = listed("RED1", server, color="RED"), listed("BLUE1", server, color="BLUE")
    group = groups.create_smart(ADMIN, "Red", rule("color", "is", "red"))
    assert members(group) == {"RED1"}

    AbmDevice.objects.filter(pk=other.pk).update(color="RED")
    AbmDevice.objects.filter(pk=red.pk).update(color="BLACK")
    following.tell(["BLUE1", "RED1"])
    following.follow()
    assert members(group) == {"BLUE1"}
    group.refresh_from_db()
    assert group.changed_at is not None

    Device.objects.filter(serial_number="BLUE1").update(retired_at=timezone.now())
    following.tell(["BLUE1"])
    following.follow()
    assert members(group) == set()


def test_where_one_leaves_the_first_in_order_another_moves_up() -> None:
    server = connect()
    rows = [listed(f"S{number}", server) for number in range(3)]
    group = groups.create_smart(ADMIN, "First", rule("order", "first", 2))
    assert members(group) == {"S0", "S1"}
    AbmDevice.objects.filter(pk=rows[0].pk).update(removed_at=timezone.now(), current=False)
    following.tell(["S0"])
    following.follow()
    assert members(group) == {"S1", "S2"}


def test_what_a_device_says_of_itself_moves_it() -> None:
    server = connect()
    row = listed("S1", server)
    group = groups.create_smart(ADMIN, "New", rule("os_version", "at_least", "26"))
    Device.objects.filter(pk=row.device_id).update(os_version="26.1")
    following.tell_of([row.device_id])
    following.follow()
    assert members(group) == {"S1"}


def test_a_device_that_is_retired_brought_back_or_deleted_moves() -> None:
    server = connect()
    row = listed("S1", server)
    group = groups.create_smart(ADMIN, "Phones", rule("family", "is", "iPhone"))
    assert row.device is not None
    for change, expected in (
        (devices_of_mdm.retire, set()),
        (devices_of_mdm.unretire, {"S1"}),
        (devices_of_mdm.retire, set()),
    ):
        change(ADMIN, row.device)
        following.follow()
        assert members(group) == expected
    # Another one is made for the row that ABM still lists, by the next sync.
    devices_of_mdm.delete(ADMIN, row.device)
    following.follow()
    assert members(group) == set()
    assert store.relink(server) == 1
    following.follow()
    assert members(group) == {"S1"}


def test_a_member_that_is_deleted_leaves() -> None:
    row = listed("S1", connect())
    group = groups.create_smart(ADMIN, "Phones", rule("family", "is", "iPhone"))
    assert row.device is not None
    devices_of_mdm.delete(ADMIN, row.device)
    following.follow()
    assert members(group) == set()


def test_picked_devices_are_added_and_removed_also_unknown_ones() -> None:
    server, office = connect(), make_profile("Office")
    listed("S1", server)
    group = groups.create_static(ADMIN, "Cart", ["S1", "LATER1", "S1"])
    giving.give_group(ADMIN, group, office)
    following.follow()
    assert wanted("S1") == "Office, version 1"

    listed("LATER1", server)
    following.tell(["LATER1"])
    following.follow()
    assert wanted("LATER1") == "Office, version 1"

    assert groups.add(ADMIN, group, ["S1", "S2"]) == 1
    assert groups.remove(ADMIN, group, ["S1", "NOBODY"]) == 1
    following.follow()
    assert wanted("S1") == ""
    assert members(group) == {"LATER1", "S2"}


def test_thousands_are_one_piece_of_news() -> None:
    group = groups.create_static(ADMIN, "Many", [f"S{number:05}" for number in range(6_000)])
    assert group.members.count() == 6_000
    with connection.cursor() as cursor:
        cursor.execute("SELECT serial_number FROM profiles_news")
        assert cursor.fetchall() == [("",)]


def test_the_kind_of_a_group_stays() -> None:
    static = groups.create_static(ADMIN, "Cart")
    smart = groups.create_smart(ADMIN, "Red", rule("color", "is", "red"))
    with pytest.raises(BadGroup):
        groups.add(ADMIN, smart, ["S1"])
    with pytest.raises(BadGroup):
        groups.remove(ADMIN, smart, ["S1"])
    with pytest.raises(BadGroup):
        groups.change_rule(ADMIN, static, rule("color", "is", "red"))


# --- Names and ranks -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "CART"])
def test_a_group_has_a_name_of_its_own(name: str) -> None:
    groups.create_static(ADMIN, "Cart")
    with pytest.raises(BadGroup) as bad:
        groups.create_static(ADMIN, name)
    assert bad.value.field == "name"
    assert Group.objects.count() == 1


def test_a_new_name_brings_no_old_rule_back() -> None:
    group = groups.create_smart(ADMIN, "Red", rule("color", "is", "red"))
    page = Group.objects.get(pk=group.pk)
    groups.change_rule(ADMIN, group, rule("color", "is", "blue"))
    groups.rename(ADMIN, page, "Blue")
    group.refresh_from_db()
    assert (group.name, group.rule["conditions"][0]["value"]) == ("Blue", "blue")
    assert page.name == "Blue"


def test_a_group_that_was_deleted_meanwhile_cannot_be_moved() -> None:
    group, _ = groups.create_static(ADMIN, "A"), groups.create_static(ADMIN, "B")
    page = Group.objects.get(pk=group.pk)
    groups.delete(ADMIN, group)
    with pytest.raises(BadGroup) as bad:
        groups.move(ADMIN, page, 2)
    assert bad.value.field == "rank"


@pytest.mark.django_db(transaction=True)
def test_of_two_moves_at_once_none_is_undone() -> None:
    """The second waits for the first, and begins with the order that it left."""
    made = [groups.create_static(ADMIN, name) for name in "ABCD"]
    with transaction.atomic():
        groups.move(ADMIN, made[0], 3)
        other = Meanwhile(lambda: groups.move(ADMIN, made[1], 4))
    assert other.returned() is None
    assert "".join(Group.objects.order_by("rank").values_list("name", flat=True)) == "CADB"


def test_ranks_have_no_gaps_and_decide() -> None:
    server = connect()
    listed("S1", server)
    made = [groups.create_static(ADMIN, name, ["S1"]) for name in ("A", "B", "C", "D")]
    for group in made:
        giving.give_group(ADMIN, group, make_profile(group.name))
    following.follow()
    assert wanted("S1") == "A, version 1"

    def order() -> str:
        rows = list(Group.objects.order_by("rank").values_list("name", "rank"))
        assert [rank for _, rank in rows] == list(range(1, len(rows) + 1))
        return "".join(name for name, _ in rows)

    groups.move(ADMIN, made[2], 1)
    assert order() == "CABD"
    following.follow()
    assert wanted("S1") == "C, version 1"
    groups.move(ADMIN, made[0], 99)
    assert order() == "CBDA"
    groups.move(ADMIN, made[1], 2)
    assert order() == "CBDA"
    groups.delete(ADMIN, made[2])
    assert order() == "BDA"
    following.follow()
    assert wanted("S1") == "B, version 1"
    groups.create_static(ADMIN, "E")
    assert order() == "BDAE"
    recorded = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"group.create", "group.rank", "group.delete", "profile.give.group"} <= recorded
