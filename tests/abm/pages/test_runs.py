"""Sync runs: the list, and one with its log and what it decided."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from abm.models import RunLine, Server, SyncRun
from tests.abm.pages.conftest import Connect, Noted, Ran

PAGE = "/abm/runs/"
PROGRESS = {"HX-Request": "true", "HX-Target": "run-progress"}


def _shown(client: Client, query: str = "") -> set[int]:
    page = client.get(PAGE + query)
    assert page.status_code == 200
    return {int(pk) for pk in re.findall(r'href="/abm/runs/(\d+)/"', page.content.decode())}


def test_runs_without_news_are_left_out_until_someone_asks_for_all(
    signed_in: Client, connect: Connect, ran: Ran
) -> None:
    one, two = connect("One"), connect("Two")
    quiet = ran(one)
    added, failed = ran(one, added=1), ran(one, "Failed", problem="refused")
    asked, full = ran(one, asked_by="Ada"), ran(one, full=True)
    wrong, running = ran(one, errors=1), ran(two, "Running")
    news = {run.pk for run in (added, failed, asked, full, wrong, running)}

    for query, wanted in {
        "": news,
        "?show=all": news | {quiet.pk},
        "?show=changes": {added.pk},
        f"?server={two.pk}": {running.pk},
        "?server=x": set(),
        "?state=Failed": {failed.pk},
        "?state=nonsense": set(),
        f"?show=all&server={one.pk}&state=Finished": {
            run.pk for run in (quiet, added, asked, full, wrong)
        },
    }.items():
        assert _shown(signed_in, query) == wanted, query
    assert "Show: <strong>all runs</strong>" in signed_in.get(f"{PAGE}?show=all").content.decode()


def test_the_list_says_why_older_runs_are_missing(signed_in: Client) -> None:
    page = signed_in.get(PAGE).content.decode()

    assert "go after 7 days" in page
    assert f"Older than {settings.ENV.history_days} days is not kept." in page


@pytest.mark.parametrize(
    "key", ["pages", "devices", "added", "changed", "removed", "errors", "took"]
)
def test_runs_can_be_sorted(signed_in: Client, server: Server, ran: Ran, key: str) -> None:
    runs = {ran(server, added=number, pages=number).pk for number in range(3)}
    running = ran(server, "Running").pk

    for sort in (key, f"-{key}"):
        assert _shown(signed_in, f"?show=all&sort={sort}") == {*runs, running}


def test_without_news_the_list_leads_to_all_runs(
    signed_in: Client, server: Server, ran: Ran
) -> None:
    ran(server)

    page = signed_in.get(PAGE).content.decode()

    assert "No run with news" in page
    assert 'href="/abm/runs/?show=all"' in page


def test_a_run_shows_its_outcome_its_problem_and_its_log(
    signed_in: Client, server: Server, ran: Ran
) -> None:
    run = ran(server, "Failed", sentence="Apple refused: <b>NO</b>", problem="refused", errors=3)
    RunLine.objects.create(run=run, sentence="Page 1: 100 devices.")
    RunLine.objects.create(run=run, level="error", sentence="<script>alert(1)</script>")
    RunLine.objects.create(run=ran(server), sentence="Another run's line.")

    page = signed_in.get(f"{PAGE}{run.pk}/").content.decode()

    assert "Apple refused: &lt;b&gt;NO&lt;/b&gt;." in page
    assert "Page 1: 100 devices." in page
    assert "<script>alert" not in page
    assert "Another run" not in page
    assert "hx-get" not in page.split('id="run-progress"')[1].split("</section>")[0]
    only = signed_in.get(f"{PAGE}{run.pk}/?level=error").content.decode()
    assert "Page 1" not in only


def test_a_run_under_way_is_followed_and_has_its_log_fetched_when_it_moves(
    signed_in: Client, server: Server, ran: Ran
) -> None:
    run = ran(server, "Running", doing="Reading the whole list", full=True)
    page = signed_in.get(f"{PAGE}{run.pk}/").content.decode()
    asked = re.search(r'hx-get="(/abm/runs/\d+/\?mark=[^"]+)" hx-trigger="every 1s"', page)
    assert asked

    still = signed_in.get(asked[1], headers=PROGRESS)
    SyncRun.objects.filter(pk=run.pk).update(pages=2)
    moved = signed_in.get(asked[1], headers=PROGRESS)
    now = timezone.now()
    SyncRun.objects.filter(pk=run.pk).update(state="Finished", doing="", finished_at=now)
    ended = signed_in.get(asked[1], headers=PROGRESS)

    assert "<html" not in still.content.decode()
    assert "HX-Trigger" not in still
    assert json.loads(moved["HX-Trigger"]) == {"table-outdated": "run-log run-ledger"}
    assert "hx-get" in moved.content.decode()
    assert "hx-get" not in ended.content.decode()


def test_what_a_run_decided_is_told_device_by_device(
    signed_in: Client, server: Server, ran: Ran, noted: Noted
) -> None:
    run = ran(server, added=1, changed=1)
    noted(server, "A1", "added", run_id=run.pk, op_type="added")
    noted(server, "B2", "changed", run_id=run.pk, changes={"color": ["RED", "BLUE"]})
    noted(server, "C3", "added", run_id=run.pk + 1)
    path = f"{PAGE}{run.pk}/devices/"

    page = signed_in.get(path).content.decode()

    assert "Apple: added → taken over: new here" in page
    assert "color changed from RED to BLUE" in page
    assert "C3" not in page
    rows = {"?q=b": ["B2"], "?decision=added": ["A1"], "?decision=x": [], "?q=\0": ["B2", "A1"]}
    for query, wanted in rows.items():
        found = signed_in.get(path + query).content.decode()
        assert re.findall(r'class="mono" href="/search/[^>]*>(\w+)<', found) == wanted, query


def test_log_and_decisions_have_pages(
    signed_in: Client, server: Server, ran: Ran, noted: Noted
) -> None:
    run = ran(server)
    RunLine.objects.bulk_create(RunLine(run=run, sentence=f"Line {n}.") for n in range(60))
    for number in range(60):
        noted(server, f"S{number}", "added", run_id=run.pk)

    assert "Line 9." in signed_in.get(f"{PAGE}{run.pk}/?page=2").content.decode()
    assert "Line 9." not in signed_in.get(f"{PAGE}{run.pk}/").content.decode()
    assert ">S9<" in signed_in.get(f"{PAGE}{run.pk}/devices/?page=2").content.decode()


def test_a_run_without_a_log_says_why(signed_in: Client, server: Server, ran: Ran) -> None:
    run = ran(server)

    assert "writes no log" in signed_in.get(f"{PAGE}{run.pk}/").content.decode()
    assert "decided about no device" in signed_in.get(f"{PAGE}{run.pk}/devices/").content.decode()


def test_a_run_that_is_none_is_not_found(signed_in: Client) -> None:
    for path in ("/abm/runs/1/", "/abm/runs/1/devices/", "/abm/runs/x/"):
        assert signed_in.get(path).status_code == 404


def test_durations_grow_while_a_run_goes_on(signed_in: Client, server: Server, ran: Ran) -> None:
    run = ran(server, "Running")
    began = timezone.now() - timedelta(minutes=2, seconds=5)
    SyncRun.objects.filter(pk=run.pk).update(started_at=began)

    assert "2 min" in signed_in.get(f"{PAGE}{run.pk}/").content.decode()
    assert "2 min" in signed_in.get(PAGE).content.decode()
