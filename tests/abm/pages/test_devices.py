"""The list of ABM devices: finding, narrowing, sorting, exporting, choosing."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from abm.models import AbmDevice, Server
from mdm import selection
from mdm.accounts.models import User
from mdm.models import Device
from tests.abm.pages.conftest import Connect, Listed
from tests.mdm.dashboard.conftest import Enroll

PAGE = "/abm/devices/"
REGION = {"HX-Request": "true", "HX-Target": "region-abm-devices"}


def _shown(client: Client, query: str | dict[str, str] = "") -> list[str]:
    """The serial numbers on the page, in its order."""
    page = client.get(PAGE + query) if isinstance(query, str) else client.get(PAGE, query)
    assert page.status_code == 200
    return re.findall(r'<(?:a|span) class="mono[^>]*>([^<]+)</', page.content.decode())


def _text(answer: object) -> str:
    return b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("02abc", {"C02ABC"}),
        ("c0", {"C02ABC"}),
        ("7x", {"F17XYZ"}),
        ("ipad air", {"F17XYZ"}),
        ("inv-7", {"F17XYZ"}),
        ("MÜLLER", {"C02ABC"}),
        ("100%", {"C02ABC"}),
        ("%%%", set()),
        ("___", set()),
        ("\\", set()),
        ("\0", {"C02ABC", "F17XYZ", "GONEDEV"} - {"GONEDEV"}),
        ("nothing like it", set()),
    ],
)
def test_any_part_of_what_a_device_is_known_by_finds_it(
    signed_in: Client, server: Server, listed: Listed, text: str, found: set[str]
) -> None:
    named = listed("C02ABC", server)
    Device.objects.filter(pk=named.device_id).update(device_name="Frau Müller 100%")
    listed("F17XYZ", server, model="iPad Air", asset_tag="INV-77")

    assert set(_shown(signed_in, {"q": text})) == found


def test_a_device_that_has_no_page_here_any_more_is_found_too(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    listed("C02ABC", server, device=None)

    assert _shown(signed_in, "?q=2AB") == ["C02ABC"]


def test_a_name_that_many_devices_have_finds_them_all(
    signed_in: Client, server: Server, listed: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("abm.pages.devices._FEW", 2)
    for number in range(4):
        listed(f"S{number}", server)
    Device.objects.update(device_name="iPad of the school")
    listed("TAGGED", server, asset_tag="school")
    listed("OTHER", server)

    assert set(_shown(signed_in, "?q=school")) == {"S0", "S1", "S2", "S3", "TAGGED"}


def test_filters_narrow_the_list_as_their_words_say(
    signed_in: Client, connect: Connect, listed: Listed, enroll: Enroll
) -> None:
    one, two = connect("One"), connect("Two")
    long_ago = timezone.now() - timedelta(days=90)
    enroll("ENROLLED")
    enroll("CHECKEDOUT", state="CheckedOut")
    listed("ENROLLED", one, device_family="Mac", os="OSX", profile_status="pushed")
    listed("CHECKEDOUT", one, added_at=long_ago)
    listed("NEVER", two)
    listed("LOST", two, device=None)
    listed("GONE", two, removed_at=timezone.now(), current=False)
    everything = {"ENROLLED", "CHECKEDOUT", "NEVER", "LOST"}

    for query, wanted in {
        "": everything,
        f"server={one.pk}": {"ENROLLED", "CHECKEDOUT"},
        "server=nonsense": set(),
        "family=Mac": {"ENROLLED"},
        "os=OSX": {"ENROLLED"},
        "profile=pushed": {"ENROLLED"},
        "enrolled=yes": {"ENROLLED"},
        "enrolled=no": {"CHECKEDOUT", "NEVER", "LOST"},
        "added=week": everything - {"CHECKEDOUT"},
        "added=nonsense": set(),
        "listed=removed": {"GONE"},
        "listed=all": everything | {"GONE"},
        f"server={two.pk}&enrolled=no&q=NEV": {"NEVER"},
    }.items():
        assert set(_shown(signed_in, f"?{query}")) == wanted, query


def test_a_device_that_moved_is_shown_once_with_the_server_it_belongs_to(
    signed_in: Client, connect: Connect, listed: Listed
) -> None:
    listed("C02ABC", connect("Old"), current=False)
    listed("C02ABC", connect("New"))

    assert _shown(signed_in) == ["C02ABC"]
    assert _shown(signed_in, "?listed=all") == ["C02ABC"]
    row = signed_in.get(PAGE).content.decode().split("<tbody>")[1]
    assert "New" in row
    assert "Old" not in row


@pytest.mark.parametrize(
    "key",
    [
        *("serial", "model", "description", "family", "os", "color", "asset", "profile", "uuid"),
        *("assigned_profile", "pushed_profile", "server", "by", "assigned", "added", "removed"),
        "seen",
    ],
)
def test_every_sort_shows_every_device_once(
    signed_in: Client, server: Server, listed: Listed, key: str
) -> None:
    for number in range(60):
        listed(f"S{number:02}", server)

    for sort in (key, f"-{key}"):
        pages = [_shown(signed_in, f"?sort={sort}&page={page}") for page in (1, 2)]
        assert [len(page) for page in pages] == [50, 10]
        assert len({*pages[0], *pages[1]}) == 60


def test_queries_with_nul_or_nonsense_harm_nothing(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    listed("C02ABC", server)
    keys = ("q", "server", "family", "os", "profile", "enrolled", "added", "listed", "sort", "page")
    for key in keys:
        for value in ("\0C02", "9" * 30, "-1", "'"):
            assert signed_in.get(PAGE, {key: value}).status_code == 200, (key, value)


def test_htmx_gets_the_table_alone(signed_in: Client, server: Server, listed: Listed) -> None:
    listed("C02ABC", server)

    fragment = signed_in.get(PAGE, headers=REGION).content.decode()

    assert "<html" not in fragment
    assert "abm-sync" not in fragment
    assert "C02ABC" in fragment


def test_what_apple_or_a_device_says_is_text_and_nothing_else(
    signed_in: Client, connect: Connect, listed: Listed
) -> None:
    hostile = "<script>alert(1)</script>{{ 7|add:7 }}\"'>"
    server = connect(hostile, problem="refused", problem_said=hostile)
    facts = ("model", "description", "color", "asset_tag", "device_family", "os", "profile_status")
    row = listed("EVIL", server, **dict.fromkeys(facts, hostile), more={hostile: hostile})
    AbmDevice.objects.filter(pk=row.pk).update(profile_uuid=hostile, device_assigned_by=hostile)
    Device.objects.filter(pk=row.device_id).update(device_name=hostile)
    signed_in.post("/columns/abm-devices", {"known": "model", "show": ["model"]})

    for path in (PAGE, f"{PAGE}?q=<script>", f"/devices/{row.device_id}/abm/"):
        page = signed_in.get(path).content.decode()
        assert "<script>alert" not in page, path
        assert "&lt;script&gt;alert(1)" in page, path
        assert "{{ 7" in page, path


# --- Files ---------------------------------------------------------------------------------------


def test_the_export_has_every_column_of_what_the_filters_leave_and_no_formula(
    signed_in: Client, server: Server, listed: Listed, enroll: Enroll
) -> None:
    enroll("A1")
    for number, tag in enumerate(["=1+1", "+1", "-1", "@SUM(A1)", "\tx", " =1", "plain"], 1):
        listed(f"A{number}", server, asset_tag=tag, model="=cmd()", os="OSX")
    listed("OTHER", server, device_family="Mac")

    answer = signed_in.get("/abm/devices/export.csv?family=iPhone&sort=serial")
    rows = list(csv.DictReader(io.StringIO(_text(answer))))

    assert [row["Serial number"] for row in rows] == [f"A{number}" for number in range(1, 8)]
    tags = ["'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "' =1", "plain"]
    assert [row["Asset tag"] for row in rows] == tags
    assert {row["Model"] for row in rows} == {"'=cmd()"}
    assert [row["Enrollment"] for row in rows] == ["Enrolled", *["Not enrolled"] * 6]
    assert {row["Server"] for row in rows} == {"Schools"}
    assert {row["OS"] for row in rows} == {"macOS"}
    assert rows[0]["Last contact"]
    assert {*rows[0]} >= {"Profile", "Profile pushed", "Assigned by", "Assigned", "Color", "Family"}
    assert answer["Content-Disposition"] == 'attachment; filename="abm-devices.csv"'


def test_serial_numbers_alone_are_ready_for_abm(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    for serial in ("B2", "A1", "=BAD", "not one", "lower"):
        listed(serial, server)
    listed("GONE", server, removed_at=timezone.now(), current=False)

    answer = signed_in.get("/abm/devices/serial-numbers.csv?sort=serial")

    assert _text(answer) == "A1\r\nB2\r\n"
    assert answer["Content-Disposition"] == 'attachment; filename="serial-numbers.csv"'


def test_a_selection_is_exported_ticked_or_whole(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    rows = [listed(serial, server) for serial in ("A1", "A2", "B1")]
    ticked = {"ids": f"{rows[0].pk},{rows[2].pk}", "all": ""}

    assert _text(signed_in.post("/abm/devices/selected-serials.csv", ticked)) == "A1\r\nB1\r\n"
    whole = {"ids": "", "all": "?q=A"}
    assert "A2" in _text(signed_in.post("/abm/devices/selected.csv", whole))
    assert "B1" not in _text(signed_in.post("/abm/devices/selected.csv", whole))


# --- Choosing ------------------------------------------------------------------------------------


def test_a_command_goes_to_those_of_the_selection_that_are_enrolled(
    signed_in: Client, admin: User, server: Server, listed: Listed, enroll: Enroll
) -> None:
    enrolled = enroll("A1")
    enroll("A2", state="CheckedOut")
    for serial in ("A1", "A2", "A3"):
        listed(serial, server)

    answer = signed_in.post("/abm/devices/send", {"ids": "", "all": "?"})

    token = re.fullmatch(r"/commands/send/\?to=([\w-]+)", answer["Location"])
    assert token
    assert selection.thaw(admin.pk, token[1]) == [enrolled.enrollment_id]
    assert signed_in.get(answer["Location"]).status_code == 200


def test_a_selection_without_an_enrolled_device_says_so(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    row = listed("A1", server)

    answer = signed_in.post("/abm/devices/send", {"ids": str(row.pk)}, follow=True)

    assert "None of the chosen devices is enrolled" in answer.content.decode()


def test_a_selection_of_anything_but_numbers_is_refused(signed_in: Client, server: Server) -> None:
    assert signed_in.post("/abm/devices/send", {"ids": "1,x"}).status_code == 400
    assert signed_in.post("/abm/devices/selected.csv", {"ids": "9" * 19}).status_code == 400


def test_a_frozen_selection_is_a_chip_until_it_is_taken_off_or_too_old(
    signed_in: Client, admin: User, server: Server, listed: Listed
) -> None:
    rows = [listed(serial, server) for serial in ("A1", "A2", "B1")]
    token = selection.freeze(admin.pk, [rows[0].pk, rows[2].pk])
    query = f"?selection={token}"

    page = signed_in.get(PAGE + query).content.decode()
    assert "Imported: <strong>2 devices</strong>" in page
    assert set(_shown(signed_in, query)) == {"A1", "B1"}
    assert _shown(signed_in, f"{query}&q=B1") == ["B1"]
    assert f"selection={token}" in page.split("data-query=")[1]
    assert _text(signed_in.get(f"/abm/devices/serial-numbers.csv{query}&sort=serial")) == (
        "A1\r\nB1\r\n"
    )

    old = signed_in.get(f"{PAGE}?selection=unknown&q=A", follow=True)
    assert old.redirect_chain == [("/abm/devices/?q=A", 302)]
    assert "too old" in old.content.decode()
    assert _text(signed_in.get("/abm/devices/serial-numbers.csv?selection=unknown")) == ""


def test_a_selection_belongs_to_the_one_who_made_it(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    other = User.objects.create_superuser("bob", "bob@example.com", "x")
    token = selection.freeze(other.pk, [listed("A1", server).pk])

    assert signed_in.get(f"{PAGE}?selection={token}").status_code == 302


# --- With nothing to show ------------------------------------------------------------------------


def test_an_empty_list_says_what_to_do_next(signed_in: Client, connect: Connect) -> None:
    page = signed_in.get(PAGE).content.decode()
    assert "Connect Apple Business Manager" in page
    assert 'href="/abm/servers/"' in page
    assert "Sync Now" not in page

    server = connect(list_finished_at=None)
    page = signed_in.get(PAGE).content.decode()
    assert "The list has not been read yet" in page
    assert "Sync Now" in page

    Server.objects.filter(pk=server.pk).update(list_finished_at=timezone.now())
    page = signed_in.get(PAGE).content.decode()
    assert "By default:" in page
    assert "By CSV:" in page
    assert "Nothing fits" in signed_in.get(f"{PAGE}?q=x").content.decode()


def test_a_server_that_does_not_sync_is_named_with_what_stops_and_what_to_do(
    signed_in: Client, connect: Connect
) -> None:
    connect("Good")
    connect("Bad", problem="terms_not_signed")
    connect("Old", token_expires_at=timezone.now() - timedelta(days=1))

    page = signed_in.get(PAGE).content.decode()

    assert "Bad: terms not signed" in page
    assert "Old: token expired" in page
    assert "What stops:" in page
    assert "What to do:" in page
    assert "Good: " not in page
