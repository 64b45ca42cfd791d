"""Sync Now, and watching it."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone

from abm import conversation
from abm.models import AbmDevice, Server, SyncRun
from mdm.accounts.models import User
from mdm.audit.models import AuditEvent
from tests.abm.pages.conftest import Connect, Listed, Ran

PAGE = "/abm/devices/"
CARD = {"HX-Request": "true", "HX-Target": "abm-sync"}


def _card(page: str) -> str:
    """The address that the card of a page asks next."""
    found = re.search(r'hx-get="(/abm/sync\?[^"]+)"', page)
    assert found
    return unquote(found[1].replace("&amp;", "&"))


def _every(page: str) -> str:
    found = re.search(r'id="abm-sync".*?hx-trigger="every (\d+s)"', page, re.DOTALL)
    assert found
    return found[1]


def test_sync_now_asks_every_connected_server_for_a_run(
    signed_in: Client, connect: Connect
) -> None:
    one, two = connect("One"), connect("Two")
    connect("Awaiting", sealed_token=None)

    answer = signed_in.post("/abm/sync-now", {"next": "/abm/devices/?q=x"})

    assert answer["Location"] == "/abm/devices/?q=x"
    runs = SyncRun.objects.order_by("server")
    assert [(run.server_id, run.state, run.full) for run in runs] == [
        (one.pk, "Waiting", False),
        (two.pk, "Waiting", False),
    ]
    assert {run.asked_by for run in runs} == {"Ada"}
    assert AuditEvent.objects.filter(action="abm.sync").count() == 2


def test_one_server_can_be_synced_and_the_whole_list_read(
    signed_in: Client, connect: Connect
) -> None:
    connect("One")
    two = connect("Two")

    signed_in.post("/abm/sync-now", {"server": str(two.pk), "full": "yes"})

    run = SyncRun.objects.get()
    assert (run.server_id, run.full) == (two.pk, True)


@pytest.mark.parametrize("server", ["x", "0", "9" * 40, "-1"])
def test_a_server_that_is_none_is_not_synced(
    signed_in: Client, server: Any, connect: Connect
) -> None:
    connect()

    page = signed_in.post("/abm/sync-now", {"server": server}, follow=True).content.decode()

    assert "There is no connected server to sync." in page
    assert not SyncRun.objects.exists()


def test_pressed_twice_it_joins_the_run_that_is_under_way(
    signed_in: Client, server: Server
) -> None:
    for _ in range(2):
        signed_in.post("/abm/sync-now")

    assert SyncRun.objects.count() == 1


def test_htmx_gets_the_card_with_the_run_and_what_cannot_be_done(
    signed_in: Client, connect: Connect
) -> None:
    connect("Good")
    connect("Old", token_expires_at=timezone.now() - timedelta(days=1))

    page = signed_in.post("/abm/sync-now", headers=CARD).content.decode()

    assert "<html" not in page
    assert "Waiting for a worker." in page
    assert _every(page) == "1s"
    assert 'id="messages"' in page
    assert 'hx-swap-oob="true"' in page
    assert "Old cannot be synced" in page


def test_sync_now_is_by_post_alone(signed_in: Client) -> None:
    assert signed_in.get("/abm/sync-now").status_code == 405


def test_someone_who_is_switched_off_syncs_nothing(
    signed_in: Client, admin: User, server: Server
) -> None:
    User.objects.filter(pk=admin.pk).update(is_active=False)

    assert signed_in.post("/abm/sync-now").status_code == 302
    assert not SyncRun.objects.exists()


def test_a_card_at_rest_is_asked_seldom_and_answers_nothing_new(
    signed_in: Client, server: Server, listed: Listed, ran: Ran
) -> None:
    listed("A1", server)
    run = ran(server, added=1, devices=1)

    page = signed_in.get(PAGE).content.decode()

    assert _every(page) == "15s"
    assert "1 added." in page
    assert f'href="/abm/runs/{run.pk}/"' in page
    assert signed_in.get(_card(page), headers=CARD).status_code == 204


def test_a_running_sync_is_shown_to_everyone_who_looks(
    signed_in: Client, server: Server, ran: Ran
) -> None:
    run = ran(
        server,
        "Running",
        doing="Following changes",
        pages=3,
        devices=1_200,
        added=7,
        errors=2,
    )
    other = Client()
    other.force_login(User.objects.create_superuser("bob", "bob@example.com", "x"))

    for client in (signed_in, other, signed_in):
        page = client.get(PAGE).content.decode()
        assert "Following changes." in page
        assert ">1,200</dd>" in page
        assert _every(page) == "1s"
        card = client.get(_card(page), headers=CARD)
        assert card.status_code == 200
        assert "HX-Trigger" not in card
        assert f'href="/abm/runs/{run.pk}/"' in card.content.decode()


def test_when_a_run_ends_the_table_is_told_once(
    signed_in: Client, server: Server, ran: Ran
) -> None:
    run = ran(server, "Running")
    watching = _card(signed_in.get(PAGE).content.decode())
    SyncRun.objects.filter(pk=run.pk).update(
        state="Finished", finished_at=timezone.now(), removed=2
    )

    ended = signed_in.get(watching, headers=CARD)

    assert json.loads(ended["HX-Trigger"]) == {"table-outdated": "abm-devices"}
    page = ended.content.decode()
    assert "2 removed." in page
    assert signed_in.get(_card(page), headers=CARD).status_code == 204


def test_a_run_that_began_and_ended_unseen_is_told_if_it_changed_something(
    signed_in: Client, server: Server, ran: Ran
) -> None:
    ran(server)
    watching = _card(signed_in.get(PAGE).content.decode())
    ran(server)
    quiet = signed_in.get(watching, headers=CARD)
    ran(server, changed=1)
    news = signed_in.get(_card(quiet.content.decode()), headers=CARD)

    assert quiet.status_code == 200
    assert "HX-Trigger" not in quiet
    assert "HX-Trigger" in news


def test_how_far_a_whole_list_has_been_read_is_known_from_earlier_lists(
    signed_in: Client, connect: Connect, listed: Listed, ran: Ran
) -> None:
    server = connect(phase="list", list_number=2)
    for number in range(4):
        listed(f"A{number}", server, list_number=2 if number < 1 else 1)
    ran(server, "Running", full=True, devices=1)

    page = signed_in.get(PAGE).content.decode()

    assert 'width="25.00"' in page
    assert "left, about" in page
    AbmDevice.objects.update(list_number=F("list_number") + 5)
    assert "progress-bar-indeterminate" in signed_in.get(PAGE).content.decode()


def test_a_run_that_nobody_works_at_says_so(
    signed_in: Client, connect: Connect, ran: Ran, transactional_db: None
) -> None:
    long_ago = timezone.now() - timedelta(minutes=2)
    dead, alive, waiting = connect("Dead"), connect("Alive"), connect("Waiting")
    for server in (dead, alive):
        ran(server, "Running", moved_at=long_ago, doing="Following changes")
    run = ran(waiting, "Waiting")
    SyncRun.objects.filter(pk=run.pk).update(asked_at=long_ago)

    with conversation.alone(alive.pk):
        page = signed_in.get(PAGE).content.decode()

    assert page.count("Its worker has ended") == 1
    assert page.count("Following changes.") == 1
    assert "No worker has taken it yet" in page


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "next "),
        ({"token_expires_at": timezone.now() - timedelta(days=1)}, "no sync until this is mended"),
    ],
)
def test_each_server_says_when_it_is_synced_next(
    signed_in: Client, connect: Connect, ran: Ran, more: dict[str, Any], said: str
) -> None:
    ran(connect(**more))

    assert said in signed_in.get(PAGE).content.decode()


def test_a_pause_that_apple_asked_for_is_waited_for(
    signed_in: Client, connect: Connect, ran: Ran
) -> None:
    pause = timezone.now() + timedelta(minutes=40)
    ran(connect(problem="throttled", retry_at=pause))

    assert pause.isoformat(timespec="milliseconds") in signed_in.get(PAGE).content.decode()


def test_the_top_bar_counts_what_runs(signed_in: Client, server: Server, ran: Ran) -> None:
    assert signed_in.get("/abm/running").content.strip() == b""
    ran(server, "Waiting")

    assert "sync with Apple Business Manager under way" in (
        signed_in.get("/abm/running").content.decode()
    )
    work = {"HX-Request": "true", "HX-Target": "drawer-body"}
    assert f"Sync of {server}" in signed_in.get("/work/", headers=work).content.decode()


@pytest.mark.parametrize("query", ["?watched=x.\0.9&seen=y", "?watched=" + "9" * 40, "?mark=\0"])
def test_nonsense_in_the_address_harms_nothing(
    signed_in: Client, server: Server, query: str
) -> None:
    assert signed_in.get(f"/abm/sync{query}", headers=CARD).status_code == 200
