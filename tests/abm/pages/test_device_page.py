"""The tab ABM of a device's page, and what ABM adds to its timeline."""

from __future__ import annotations

import re
from datetime import timedelta

from django.test import Client
from django.utils import timezone

from abm.models import LedgerEntry, Server
from abm.pages import words
from mdm.models import Device
from tests.abm.pages.conftest import Connect, Listed, Noted, Ran


def _page(client: Client, device_id: int | None, panel: str = "abm", query: str = "") -> str:
    answer = client.get(f"/devices/{device_id}/{panel}/{query}")
    assert answer.status_code == 200
    text = re.sub(r"<(?!/?(?:a|time)\b)[^>]+>", "", answer.content.decode())
    return re.sub(r"\s+", " ", text)


def test_the_tab_has_the_facts_as_apple_gives_them(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    more = {"future_key": {"nested": [1, 2]}, "text": "plain"}
    row = listed(
        "C02ABC",
        server,
        color="BLACK",
        asset_tag="INV-7",
        device_assigned_by="it@example.com",
        profile_status="pushed",
        profile_uuid="0123-ABCD",
        profile_push_time=timezone.now(),
        mdm_migration_deadline=timezone.now() + timedelta(days=9),
        more=more,
    )

    page = _page(signed_in, row.device_id)

    for fact in ("Schools", "BLACK", "INV-7", "it@example.com", "Pushed", "0123-ABCD"):
        assert fact in page, fact
    assert "future_key{&quot;nested&quot;: [1, 2]}" in page
    assert "Migration deadline" in page


def test_the_ledger_is_told_newest_first_in_plain_words(
    signed_in: Client, server: Server, listed: Listed, noted: Noted, ran: Ran
) -> None:
    row = listed("C02ABC", server)
    run = ran(server)
    then = timezone.now().replace(microsecond=0) - timedelta(days=3)
    noted(server, "C02ABC", "added", op_type="added", op_date=then, run_id=run.pk)
    noted(server, "C02ABC", "changed", op_date=then, changes={"color": ["SILVER", "BLACK"]})
    newest = then + timedelta(hours=1)
    noted(server, "C02ABC", "removed", op_type="deleted", op_date=newest)
    noted(server, "C02ABC", "stale", op_date=then)
    noted(server, "OTHER", "added")

    page = _page(signed_in, row.device_id)

    told = [
        f"ignored: it came late, a newer operation of {words.moment(newest)} was known",
        "Apple: deleted",
        "color changed from SILVER to BLACK",
        "taken over: new here",
    ]
    places = [page.index(each) for each in told]
    assert places == sorted(places)
    assert f'<a href="/abm/runs/{run.pk}/">' in page
    assert page.count("→") == 4


def test_a_long_ledger_is_walked_back(
    signed_in: Client, server: Server, listed: Listed, noted: Noted
) -> None:
    row = listed("C02ABC", server)
    for number in range(60):
        noted(server, "C02ABC", "changed", changes={"color": ["", f"N{number}"]})

    page = _page(signed_in, row.device_id)
    older = re.search(r'href="/devices/\d+/abm/(\?older=\d+)"', page)
    assert older
    assert "N9" not in page.replace("N59", "")
    walked = _page(signed_in, row.device_id, query=older[1])
    assert "color set to N9" in walked
    assert "Newest" in walked
    assert _page(signed_in, row.device_id, query="?older=x") == page


def test_a_device_of_two_servers_shows_both(
    signed_in: Client, connect: Connect, listed: Listed, noted: Noted
) -> None:
    old, new = connect("Old school"), connect("New school")
    listed("C02ABC", old, removed_at=timezone.now(), current=False)
    row = listed("C02ABC", new)
    noted(old, "C02ABC", "removed", op_type="deleted")

    page = _page(signed_in, row.device_id)

    assert page.index("New school") < page.index("Old school")
    assert "Removed" in page
    assert "· Old school" in page


def test_a_device_that_no_server_lists_says_so(signed_in: Client, server: Server) -> None:
    strange = Device.objects.create(serial_number="F17XYZ")
    hidden = Device.objects.create(serial_number=None, udid="1")

    assert "None of the connected servers lists" in _page(signed_in, strange.pk)
    assert "keeps its serial number to itself" in _page(signed_in, hidden.pk)


def test_hostile_ledgers_are_text(
    signed_in: Client, connect: Connect, listed: Listed, noted: Noted
) -> None:
    hostile = "<script>alert(1)</script>"
    server = connect(hostile)
    row = listed("C02ABC", server)
    noted(server, "C02ABC", "asked", op_type=hostile)
    noted(server, "C02ABC", "changed", changes={hostile: [hostile, hostile]})
    noted(server, "C02ABC", "added")

    for panel in ("abm", "timeline"):
        page = signed_in.get(f"/devices/{row.device_id}/{panel}/").content.decode()
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page


def test_the_timeline_tells_when_it_came_and_went(
    signed_in: Client, server: Server, listed: Listed, noted: Noted
) -> None:
    row = listed("C02ABC", server)
    for decision in ("added", "changed", "removed", "returned"):
        noted(server, "C02ABC", decision)

    page = _page(signed_in, row.device_id, "timeline")

    assert "Assigned in Apple Business Manager" in page
    assert "No longer assigned in Apple Business Manager" in page
    assert "Assigned in Apple Business Manager again" in page
    assert page.count(f'href="/devices/{row.device_id}/abm/"') == 4
    LedgerEntry.objects.update(at=timezone.now() + timedelta(days=3))
    assert "No longer assigned" not in _page(signed_in, row.device_id, "timeline")
