"""The list of devices: searching, narrowing, sorting, paging, choosing, exporting."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from abm.models import AbmDevice
from mdm import csv_export, tables
from mdm.accounts import tokens
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.models import Device, Enrollment, Group, GroupMember, NamedView, Quarantine
from tests.abm.pages.conftest import Connect, Listed, connect, listed
from tests.mdm.dashboard.conftest import Enroll
from tests.people import signed_in as people_signed_in
from tests.people import someone

__all__ = ["connect", "listed"]

REGION = {"HX-Request": "true", "HX-Target": "region-devices"}


def _shown(client: Client, query: str = "") -> list[str]:
    """The serial numbers on the page, in its order."""
    page = client.get(f"/devices/{query}")
    assert page.status_code == 200
    return re.findall(r'<span class="mono">(\w+)</span>', page.content.decode())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("c02abc", ["C02ABC"]),
        ("MÜLLER", ["F17XYZ"]),
        ("00008030-f17", ["F17XYZ"]),
        ("book pro", ["C02ABC"]),
        ("100%", ["F17XYZ"]),
        ("%", ["F17XYZ"]),
        ("_", []),
        ("\\", []),
        ("nothing like it", []),
    ],
)
def test_any_part_of_serial_name_udid_or_model_finds_a_device(
    signed_in: Client, enroll: Enroll, text: str, found: list[str]
) -> None:
    enroll("C02ABC", device_name="Ben", model_name="MacBook Pro")
    enroll("F17XYZ", device_name="Frau Müller 100%")

    page = signed_in.get("/devices/", {"q": text})

    assert re.findall(r'<span class="mono">(\w+)</span>', page.content.decode()) == found


def test_a_search_with_nul_in_it_harms_nothing(signed_in: Client, enroll: Enroll) -> None:
    enroll("C02ABC")

    for key in ("q", "state", "platform", "os", "supervised", "seen", "sort", "page"):
        assert signed_in.get("/devices/", {key: "\0C02"}).status_code == 200, key


def test_the_states_narrow_the_list_as_their_words_say(signed_in: Client, enroll: Enroll) -> None:
    long_ago = timezone.now() - timedelta(days=8)
    enroll("MANAGED")
    enroll("QUIET", last_seen_at=long_ago)
    enroll("DEAF", push_problem="410 Unregistered")
    enroll("AWAITING", state="Authenticated")
    enroll("GONE", state="CheckedOut")
    retired = enroll("RETIRED", state="Released")
    Device.objects.filter(pk=retired.pk).update(retired_at=timezone.now())
    Device.objects.create(serial_number="NEVER")
    poser = enroll("POSER")
    now = timezone.now()
    Quarantine.objects.create(
        enrollment_key=poser.enrollment.key,
        identity_sha256=b"1",
        certificate=b"",
        reason="live_enrollment",
        body=b"",
        first_at=now,
        last_at=now,
    )

    states = {
        "managed": {"MANAGED", "QUIET", "DEAF", "POSER"},
        "quiet": {"QUIET"},
        "suspect": {"DEAF", "POSER"},
        "awaiting": {"AWAITING"},
        "ended": {"GONE"},
        "none": {"NEVER"},
        "retired": {"RETIRED"},
        "nonsense": set(),
    }
    for state, serials in states.items():
        assert set(_shown(signed_in, f"?state={state}")) == serials, state
    assert "RETIRED" not in _shown(signed_in)


def test_filters_and_search_work_together_and_are_shown_as_chips(
    signed_in: Client, enroll: Enroll
) -> None:
    enroll("A1", platform="macOS", os_version="15.1", supervised=True)
    enroll("A2", platform="macOS", os_version="15.0", supervised=True)
    enroll("A3", platform="macOS", os_version="15.1", supervised=None)
    enroll("B1", platform="macOS", os_version="15.1", supervised=True)

    query = "?platform=macOS&os=15.1&supervised=yes&q=A"
    page = signed_in.get(f"/devices/{query}").content.decode()

    assert _shown(signed_in, query) == ["A1"]
    assert _shown(signed_in, "?supervised=unknown") == ["A3"]
    # Each chip leads to the same list without it.
    assert 'href="/devices/?platform=macOS&amp;supervised=yes&amp;q=A"' in page


def test_sorting_by_contact_puts_those_never_seen_last_both_ways(
    signed_in: Client, enroll: Enroll
) -> None:
    now = timezone.now()
    enroll("OLD", last_seen_at=now - timedelta(days=2))
    enroll("NEW", last_seen_at=now)
    Device.objects.create(serial_number="NEVER")

    assert _shown(signed_in, "?sort=-seen") == ["NEW", "OLD", "NEVER"]
    assert _shown(signed_in, "?sort=seen") == ["OLD", "NEW", "NEVER"]


def test_pages_show_every_row_once_even_when_all_sort_alike(
    signed_in: Client, enroll: Enroll
) -> None:
    for number in range(120):
        enroll(f"S{number:03}", device_name="same")

    pages = [_shown(signed_in, f"?sort=name&page={page}") for page in (1, 2, 3)]

    assert [len(page) for page in pages] == [50, 50, 20]
    assert len({serial for page in pages for serial in page}) == 120
    # A page beyond the end is the last one.
    assert _shown(signed_in, "?sort=name&page=99") == pages[2]
    assert _shown(signed_in, "?page=x") == _shown(signed_in)


def test_htmx_gets_the_table_alone_and_history_the_whole_page(
    signed_in: Client, enroll: Enroll
) -> None:
    enroll("C02ABC")

    fragment = signed_in.get("/devices/", headers=REGION).content.decode()
    restored = signed_in.get(
        "/devices/", headers={**REGION, "HX-History-Restore-Request": "true"}
    ).content.decode()

    assert "<html" not in fragment
    assert "C02ABC" in fragment
    assert "<html" in restored


def test_what_a_device_calls_itself_is_text_and_nothing_else(
    signed_in: Client, enroll: Enroll
) -> None:
    hostile = "<script>alert(1)</script>{{ 7|add:7 }}\"'>"
    device = enroll("EVIL", device_name=hostile, model_name=hostile, os_version=hostile)

    for path in ("/devices/", f"/devices/{device.pk}/", f"/devices/{device.pk}/delete/"):
        page = signed_in.get(path).content.decode()
        assert "<script>alert" not in page, path
        assert "&lt;script&gt;alert(1)" in page, path
        assert "{{ 7" in page, path


def test_the_export_has_what_the_filters_leave_and_no_formula(
    signed_in: Client, enroll: Enroll
) -> None:
    for number, name in enumerate(["=1+1", "+1", "-1", "@SUM(A1)", "\tx", " =1", "plain"]):
        enroll(f"F{number}", device_name=name, platform="macOS")
    enroll("OTHER", platform="iOS")

    answer = signed_in.get("/devices/export.csv?platform=macOS&sort=serial")
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(text)))

    assert [row["Serial number"] for row in rows] == [f"F{number}" for number in range(7)]
    assert [row["Device"] for row in rows] == [
        "'=1+1",
        "'+1",
        "'-1",
        "'@SUM(A1)",
        "'\tx",
        "' =1",
        "plain",
    ]
    assert answer["Content-Disposition"] == 'attachment; filename="devices.csv"'


def test_a_person_keeps_the_columns_they_chose(signed_in: Client, enroll: Enroll) -> None:
    enroll("C02ABC", os_version="17.5")

    signed_in.post("/columns/devices", {"known": "os seen udid model", "show": ["udid"]})
    page = signed_in.get("/devices/").content.decode()

    assert "17.5</td>" not in page
    assert 'data-label="UDID"' in page


def test_an_empty_list_says_what_to_do_next(signed_in: Client) -> None:
    page = signed_in.get("/devices/").content.decode()

    assert "Make an enrollment link" in page
    assert "Clear search and filters" in signed_in.get("/devices/?q=x").content.decode()


def _use(device: Device, short: str, long: str) -> None:
    """A user of this device, as their channel says who they are."""
    channel = device.enrollment
    Enrollment.objects.create(
        key=f"{channel.key}:{short}",
        device=device,
        parent=channel,
        kind="device",
        channel="user",
        device_identifier=channel.device_identifier,
        user_identifier=short,
        user_short_name=short,
        user_long_name=long,
        state="Enrolled",
    )


def test_each_filter_leaves_what_it_says(
    signed_in: Client, enroll: Enroll, connect: Connect, listed: Listed
) -> None:
    office, school = connect("Office"), connect("School")
    for serial, server, status in (
        ("AAA", office, "pushed"),
        ("BBB", school, "assigned"),
        ("CCC", school, "pushed"),
    ):
        listed(serial, server, device=enroll(serial), profile_status=status)
    AbmDevice.objects.filter(serial_number="CCC").update(removed_at=timezone.now())
    _use(enroll("DDD"), "grace", "Grace Hopper")
    group = Group.objects.create(name="Lab", kind="static", rank=1, created_by="x")
    GroupMember.objects.create(group=group, serial_number="AAA")
    GroupMember.objects.create(group=group, serial_number="NOWHERE")

    for query, found in {
        f"abm={office.pk}": {"AAA"},
        f"abm={school.pk}": {"BBB"},
        "abm=none": {"CCC", "DDD"},
        "abm=x": set(),
        "profile=pushed": {"AAA"},
        f"group={group.pk}": {"AAA"},
        f"group={group.pk}&profile=assigned": set(),
        "group=x": set(),
        "user=HOP": {"DDD"},
        "user=gra": {"DDD"},
        "user=nobody": set(),
        "user=%00": {"AAA", "BBB", "CCC", "DDD"},
        "q=hopper": {"DDD"},
    }.items():
        assert set(_shown(signed_in, f"?{query}")) == found, query
    export = b"".join(signed_in.get("/devices/export.csv?user=grace").streaming_content)
    assert b"Grace Hopper" in export
    assert b"AAA" not in export


def test_a_filter_of_the_server_finds_nothing_for_someone_of_one_group(enroll: Enroll) -> None:
    enroll("AAA")
    enroll("BBB")
    own, other = (
        Group.objects.create(name=name, kind="static", rank=rank, created_by="x")
        for rank, name in enumerate(("Own", "Other"))
    )
    for group in (own, other):
        GroupMember.objects.create(group=group, serial_number="AAA")
    ada = someone(Role.ADMIN)
    for name, query in (("Theirs", f"group={other.pk}"), ("Macs", "platform=macOS")):
        NamedView.objects.create(owner=ada, table="devices", name=name, query=query, shared=True)
    client = people_signed_in(someone(Role.VIEWER, group=own))

    assert _shown(client) == ["AAA"]
    # Nor does it tell that their device is in that group as well.
    assert _shown(client, f"?group={other.pk}") == []
    page = client.get("/devices/").content.decode()
    assert "Macs" in page
    assert "Theirs" not in page
    assert "Other" not in page


def test_the_search_shows_where_it_found_what(
    signed_in: Client, enroll: Enroll, connect: Connect, listed: Listed
) -> None:
    enroll("GRACE01")
    enroll("XXX", device_name="Grace's Mac")
    user = enroll("YYY")
    _use(user, "ghopper", "Grace Hopper")
    tagged = listed("ZZZ", connect("Office"), asset_tag="Grace-7").device_id
    listed("ZZ2", connect("School"), asset_tag="ONLY-1")

    page = signed_in.get("/search/?q=grace").content.decode()
    found = re.findall(r'card-title" id="found-\d">([^<]+)|fw-medium">([^<]+)</span>', page)

    assert ["".join(each) for each in found] == [
        "Serial number or UDID",
        "GRACE01",
        "Name or model",
        "Grace&#x27;s Mac",
        "User",
        "YYY",
        "Asset tag in Apple Business Manager",
        "Grace-7",
    ]
    assert f'href="/devices/{tagged}/"' in page
    assert signed_in.get("/search/?q=ghopp")["Location"] == f"/devices/{user.pk}/"
    only = AbmDevice.objects.get(asset_tag="ONLY-1").device_id
    assert signed_in.get("/search/?q=only-1")["Location"] == f"/devices/{only}/"
    assert "Nothing found" in signed_in.get("/search/?q=nothing").content.decode()


def test_the_search_of_the_top_bar_goes_straight_to_the_only_match(
    signed_in: Client, enroll: Enroll
) -> None:
    device = enroll("C02ABC")
    enroll("C02XYZ")

    assert signed_in.get("/search/?q=c02a")["Location"] == f"/devices/{device.pk}/"
    # What no index helps with is the list's.
    assert signed_in.get("/search/?q=C0")["Location"] == "/devices/?q=C0"
    assert signed_in.get("/search/?q=")["Location"] == "/devices/"


def test_a_long_file_is_in_the_list_of_what_goes_on_until_it_was_sent(
    signed_in: Client, admin: User, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_export, "PIECE", 2)
    for number in range(5):
        enroll(f"S{number}")
    file = iter(signed_in.get("/devices/export.csv").streaming_content)
    pieces = [next(file), next(file)]

    [going_on] = signed_in.get("/work/").context["work"]
    assert (going_on.what, going_on.url) == ("Export of devices", "/devices/")
    assert going_on.words == "2 of 5 rows"
    assert list(people_signed_in(someone(Role.ADMIN)).get("/work/").context["work"]) == []
    # Nor is it told to a token, which may see less than its owner.
    token, _ = tokens.create(
        Actor.person(admin), admin, name="few", role=Role.VIEWER, expires_in=timedelta(days=1)
    )
    assert list(csv_export.going_on(Actor.token(token))) == []
    pieces += file
    assert b"".join(pieces).count(b"\r\n") == 6
    assert list(signed_in.get("/work/").context["work"]) == []


def test_a_long_file_is_sent_with_redis_away(
    signed_in: Client, enroll: Enroll, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(csv_export, "PIECE", 2)
    for number in range(5):
        enroll(f"S{number}")
    away = {**settings.CACHES["default"], "LOCATION": "unix:///nowhere/redis.sock"}
    settings.CACHES = {"default": away}

    pieces = signed_in.get("/devices/export.csv").streaming_content

    assert b"".join(pieces).count(b"\r\n") == 6
    assert signed_in.get("/work/").status_code == 200


def test_a_long_list_is_counted_to_its_end_after_it_was_shown(
    signed_in: Client, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "COUNT_FIRST", 100)
    for number in range(120):
        enroll(f"S{number}")
    with CaptureQueriesContext(connection) as asked:
        page = signed_in.get("/devices/?q=S").content.decode()
    assert "more than 100" in page
    [address] = re.findall(r'id="count-devices" hx-get="([^"]+)"', page)
    assert any("LIMIT 101" in query["sql"] for query in asked.captured_queries)

    counted = signed_in.get(
        address, headers={"HX-Request": "true", "HX-Target": "count-devices"}
    ).content.decode()

    assert counted == '<span class="nums" id="count-devices" data-exact="120">120</span>'
    # Who is far down is shown the rest.
    assert "101–120" in signed_in.get("/devices/?q=S&page=3").content.decode()
    assert 'rel="next"' in signed_in.get("/devices/?q=S&page=2").content.decode()
