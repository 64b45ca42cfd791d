"""Telling Apple which profile each device gets: with no more requests than changes need, and what
becomes of each answer. Whatever happens in whatever order is `test_assignment_stories.py`.
"""

from __future__ import annotations

import dataclasses
import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from abm import assignment, client, conversation, differences, runs, servers
from abm.models import AbmDevice, Assigning, Definition, LedgerEntry, Server, SyncRun, Wish
from abm.pages import words
from lab.dep.faults import FaultKind
from mdm.audit.actor import Actor
from mdm.audit.record import NotAllowed
from tests.abm import steps
from tests.abm.apple import ADMIN, Apple
from tests.abm.assigning import ASSIGNED, READ_BACK, define, hours_pass, start, synced, told, wish

pytestmark = pytest.mark.django_db(transaction=True)

# --- Requests ------------------------------------------------------------------------------------


def test_a_wish_is_told_once_and_a_request_names_one_profile_and_no_more_than_a_batch(
    lab_apple: Apple,
) -> None:
    server, serials = start(lab_apple, 25)
    Server.objects.update(assigning_batch=10)
    first, second = define(server, 1), define(server, 2)
    for number, serial in enumerate(serials):
        wish(server, serial, first if number < 14 else second)

    told(server)
    told(server)

    # 14 in two requests, 11 in two; each is read back.
    assert lab_apple.answered["200 /profile"] == 2
    assert (lab_apple.answered[ASSIGNED], lab_apple.answered[READ_BACK]) == (4, 4)
    [stretch] = Assigning.objects.all()
    assert (stretch.requests, stretch.succeeded, stretch.refused) == (4, 25, 0)
    assert stretch.finished_at is not None
    rows = LedgerEntry.objects.filter(source="assign")
    assert (rows.count(), set(rows.values_list("op_type", flat=True))) == (25, {"SUCCESS"})
    assert differences.counts(server.pk, timezone.now()).total == 0


def test_a_batch_is_never_larger_than_apple_takes(lab_apple: Apple) -> None:
    server, _ = start(lab_apple)
    server.assigning_batch = 5_000
    assert assignment.batch_size(server) == 1_000
    server.assigning_batch = 0
    assert assignment.batch_size(server) == 1


def test_removed_beats_a_matching_profile(lab_apple: Apple) -> None:
    server, [serial] = start(lab_apple, 1)
    wish(server, serial, define(server, 1))
    told(server)
    lab_apple.clock.move(1)
    lab_apple.portal.change(serial, profile_status="removed")
    synced(server)
    hours_pass(2)
    told(server)
    assert lab_apple.portal.devices[serial].profile_status == "assigned"
    assert lab_apple.answered[ASSIGNED] == 2


def test_ours_is_taken_away_where_none_is_wanted_and_a_foreign_one_stays(lab_apple: Apple) -> None:
    server, [ours, foreign] = start(lab_apple, 2)
    wish(server, ours, define(server, 1))
    told(server)
    lab_apple.clock.move(1)
    lab_apple.portal.change(foreign, profile_status="assigned", profile_uuid="F" * 32)
    synced(server)
    wish(server, ours, None)
    wish(server, foreign, None)
    told(server)
    assert lab_apple.portal.devices[ours].profile_status == "empty"
    assert lab_apple.portal.devices[foreign].profile_uuid == "F" * 32


def test_one_that_is_throttled_holds_up_nobody_and_waits_as_long_as_apple_says(
    lab_apple: Apple,
) -> None:
    server, serials = start(lab_apple, 3)
    definition = define(server, 1)
    for serial in serials:
        wish(server, serial, definition)
    lab_apple.order(
        FaultKind.THROTTLED, endpoint="/profile/devices", serials=frozenset(serials[:1])
    )
    told(server)
    waiting = Wish.objects.get(listed__serial_number=serials[0])
    assert waiting.answer == "THROTTLED"
    assert waiting.retry_at is not None
    assert waiting.tried_at is not None
    assert waiting.retry_at - waiting.tried_at == timedelta(seconds=3600)
    counts = differences.counts(server.pk, timezone.now())
    assert (counts.due, counts.cooling, counts.next_at) == (0, 1, waiting.retry_at)
    told(server)
    assert lab_apple.answered[ASSIGNED] == 1
    hours_pass(1.1)
    told(server)
    assert differences.counts(server.pk, timezone.now()).total == 0


@pytest.mark.parametrize(
    ("answer", "tries", "wait", "hours"),
    [
        ("SUCCESS", 1, None, 1),
        ("SUCCESS", 3, None, 4),
        ("SUCCESS", 20, None, 24),
        ("FAILED", 1, None, 3),
        ("FAILED", 2, None, 6),
        ("FAILED", 9, None, 24),
        ("SOMETHING", 1, None, 3),
        ("", 1, None, 3),
        ("NOT_ACCESSIBLE", 1, None, 24),
        ("THROTTLED", 1, None, 24),
        ("THROTTLED", 2, None, 48),
        ("THROTTLED", 9, None, 48),
        ("THROTTLED", 1, 3600.0, 1),
        ("THROTTLED", 3, 3600.0, 4),
        ("THROTTLED", 1, 3 * 86_400.0, 72),
        ("THROTTLED", 5, 3 * 86_400.0, 72),
    ],
)
def test_each_answer_rests_for_its_time(
    answer: str, tries: int, wait: float | None, hours: float
) -> None:
    assert assignment.cool_down(answer, tries, wait) == timedelta(hours=hours)


def test_one_that_is_not_ours_is_asked_about_and_left_alone(lab_apple: Apple) -> None:
    server, [serial] = start(lab_apple, 1)
    wish(server, serial, define(server, 1))
    lab_apple.portal.unassign([serial])
    told(server)
    row = AbmDevice.objects.get(serial_number=serial)
    assert (row.wish.answer, row.doubtful) == ("NOT_ACCESSIBLE", True)
    told(server)
    assert lab_apple.answered[ASSIGNED] == 1


def test_somebody_who_keeps_undoing_it_is_not_fought(lab_apple: Apple) -> None:
    server, [serial] = start(lab_apple, 1)
    wish(server, serial, define(server, 1))
    for _ in range(48):
        told(server)
        lab_apple.clock.move(1)
        lab_apple.portal.change(serial, profile_status="assigned", profile_uuid="F" * 32)
        synced(server)
        hours_pass(0.5)
    # An hour, two, four, eight: within a day that is five times.
    assert lab_apple.answered[ASSIGNED] <= 5


# --- Profiles ------------------------------------------------------------------------------------


def test_a_profile_that_apple_has_lost_is_defined_again_once_a_day(lab_apple: Apple) -> None:
    server, [one, two] = start(lab_apple, 2)
    definition = define(server, 1)
    wish(server, one, definition)
    told(server)
    lab_apple.portal.profiles.clear()
    hours_pass(30)
    wish(server, two, definition)
    told(server)
    definition.refresh_from_db()
    assert lab_apple.portal.devices[two].profile_uuid == definition.profile_uuid

    lab_apple.portal.profiles.clear()
    Wish.objects.update(retry_at=None)
    AbmDevice.objects.update(profile_uuid="")
    told(server)
    definition.refresh_from_db()
    assert (definition.state, definition.refusal) == ("Refused", "PROFILE_NOT_FOUND")
    assert definition.retry_at is not None
    asked = sum(lab_apple.answered.values())
    told(server)
    assert sum(lab_apple.answered.values()) == asked


def test_a_profile_that_apple_refuses_keeps_its_devices_waiting_and_nobody_else(
    lab_apple: Apple,
) -> None:
    server, [one, two] = start(lab_apple, 2)
    bad = define(server, 1, is_mdm_removable=False)
    wish(server, one, bad)
    wish(server, two, define(server, 2))
    told(server)
    bad.refresh_from_db()
    assert (bad.state, bad.refusal) == ("Refused", "FLAGS_INVALID")
    assert lab_apple.portal.devices[two].profile_status == "assigned"
    counts = differences.counts(server.pk, timezone.now())
    assert (counts.due, counts.undefined) == (0, 1)
    told(server)
    assert lab_apple.answered["400 /profile"] == 1
    hours_pass(25)
    told(server)
    assert lab_apple.answered["400 /profile"] == 2
    server.refresh_from_db()
    assert server.problem == ""


def test_a_wish_that_changes_while_apple_is_asked_knows_nothing_of_the_answer(
    lab_apple: Apple,
) -> None:
    server, [one, two] = start(lab_apple, 2)
    first, second = define(server, 1), define(server, 2)
    wish(server, one, first)
    wish(server, two, first)
    usual = client.Client.assign_profile

    def assign(self: client.Client, uuid: str, serials: Any) -> Any:
        answer = usual(self, uuid, serials)
        if one in serials and Wish.objects.filter(definition=second).count() == 0:
            wish(server, one, second)
        return answer

    with patch.object(client.Client, "assign_profile", assign):
        told(server)

    uuid = Definition.objects.get(pk=second.pk).profile_uuid
    assert lab_apple.portal.devices[one].profile_uuid == uuid
    first.refresh_from_db()
    assert lab_apple.portal.devices[two].profile_uuid == first.profile_uuid
    assert lab_apple.answered[ASSIGNED] == 2


@pytest.mark.parametrize("kind", [FaultKind.INTERNAL_ERROR, FaultKind.NONSENSE])
def test_a_profile_that_apple_stumbles_over_holds_up_no_other(
    lab_apple: Apple, kind: FaultKind
) -> None:
    server, [one, two] = start(lab_apple, 2)
    bad, good = define(server, 1), define(server, 2)
    wish(server, one, bad)
    wish(server, two, good)
    usual = client.Client.define_profile

    def stumble(self: client.Client, document: Any) -> Any:
        lab_apple.stand_in.faults.clear()
        if document["profile_name"] == "P1":
            lab_apple.order(kind, endpoint="/profile", count=None)
        return usual(self, document)

    with patch.object(client.Client, "define_profile", stumble):
        told(server)
        bad.refresh_from_db()
        assert (bad.state, bad.retry_at is not None) == ("Waiting", True)
        # The pause after an answer that made no sense; the definition rests longer.
        Server.objects.update(retry_at=None)
        told(server)
    assert lab_apple.portal.devices[two].profile_status == "assigned"
    assert lab_apple.portal.devices[one].profile_status == "empty"
    assert not differences.exist(server.pk, timezone.now())
    lab_apple.stand_in.faults.clear()
    hours_pass(1)
    told(server)
    assert lab_apple.portal.devices[one].profile_status == "assigned"


def test_devices_that_apple_stumbles_over_hold_up_no_others(lab_apple: Apple) -> None:
    server, [one, two] = start(lab_apple, 2)
    server.assigning_batch = 1
    server.save()
    definition = define(server, 1)
    wish(server, one, definition)
    wish(server, two, definition)
    first, second = sorted((one, two), key=lambda s: AbmDevice.objects.get(serial_number=s).pk)
    lab_apple.order(FaultKind.INTERNAL_ERROR, endpoint="/profile/devices", count=None)
    told(server)
    assert Wish.objects.get(listed__serial_number=first).answer == assignment.UNANSWERED
    entry = LedgerEntry.objects.get(serial_number=first, source="assign")
    assert words.said(entry) == "Apple, asked to assign a profile to it: no usable answer"
    lab_apple.stand_in.faults.clear()
    Server.objects.update(retry_at=None)
    told(server)
    assert lab_apple.portal.devices[first].profile_status == "empty"
    assert lab_apple.portal.devices[second].profile_status == "assigned"
    hours_pass(1)
    told(server)
    assert lab_apple.portal.devices[first].profile_status == "assigned"


def test_ours_is_ours_after_the_server_was_connected_anew(lab_apple: Apple) -> None:
    server, [serial] = start(lab_apple, 1)
    wish(server, serial, define(server, 1))
    told(server)
    token = server.sealed_token
    servers.disconnect(ADMIN, server)
    again = Server.objects.create(
        name="Again",
        sealed_token=token,
        token_expires_at=server.token_expires_at,
        token_accepted_at=server.token_accepted_at,
    )
    synced(again)
    wish(again, serial, None)
    told(again)
    assert lab_apple.portal.devices[serial].profile_status == "empty"


@pytest.mark.parametrize("anew", [False, True])
def test_one_that_was_assigned_to_us_anew_is_told_at_once(lab_apple: Apple, anew: bool) -> None:
    """It came back before the sync saw that it was gone, and Apple had refused it by then."""
    server, [serial] = start(lab_apple, 1)
    wish(server, serial, define(server, 1))
    lab_apple.order(FaultKind.FAILED, endpoint="/profile/devices", serials=frozenset({serial}))
    told(server)
    assert Wish.objects.get().answer == "FAILED"
    lab_apple.clock.move(60)
    if anew:
        lab_apple.portal.unassign([serial])
        lab_apple.portal.assign([serial], "Office")
    else:
        lab_apple.portal.change(serial, asset_tag="T1")
    synced(server)
    told(server)
    status = lab_apple.portal.devices[serial].profile_status
    assert status == ("assigned" if anew else "empty")


def test_nothing_is_taken_away_where_a_rule_speaks_but_its_profile_is_not_prepared(
    lab_apple: Apple,
) -> None:
    server, [serial] = start(lab_apple, 1)
    wish(server, serial, define(server, 1))
    told(server)
    wish(server, serial, None)
    Wish.objects.update(rule="default")
    told(server)
    assert lab_apple.portal.devices[serial].profile_status == "assigned"
    Wish.objects.update(rule="")
    told(server)
    assert lab_apple.portal.devices[serial].profile_status == "empty"


# --- When nothing is told ------------------------------------------------------------------------


def test_a_pause_holds_until_someone_resumes(lab_apple: Apple) -> None:
    server, [serial] = start(lab_apple, 1)
    wish(server, serial, define(server, 1))
    assignment.pause(ADMIN, server)
    told(server)
    assert "200 /profile" not in lab_apple.answered
    assert "tests paused the assignment" in assignment.plan(server).blocked
    assignment.resume(ADMIN, server)
    told(server)
    assert lab_apple.portal.devices[serial].profile_status == "assigned"


def test_trouble_with_apple_is_noted_and_nothing_is_lost(lab_apple: Apple) -> None:
    server, [serial] = start(lab_apple, 1)
    wish(server, serial, define(server, 1))
    lab_apple.order(FaultKind.TERMS, count=None)
    told(server)
    server.refresh_from_db()
    assert server.problem == "terms_not_signed"
    asked = sum(lab_apple.answered.values())
    told(server)
    assert sum(lab_apple.answered.values()) == asked
    lab_apple.stand_in.faults.clear()
    hours_pass(2)
    told(server)
    assert lab_apple.portal.devices[serial].profile_status == "assigned"


def test_an_expired_token_tells_nothing(lab_apple: Apple) -> None:
    server, [serial] = start(lab_apple, 1)
    wish(server, serial, define(server, 1))
    Server.objects.update(token_expires_at=timezone.now() - timedelta(days=1))
    asked = dict(lab_apple.answered)
    told(server)
    assert lab_apple.answered == asked
    server.refresh_from_db()
    assert "expired" in assignment.plan(server).blocked


@contextmanager
def somebody_talks(server: Server) -> Any:
    """The server's lock is held by another connection."""
    taken, done = threading.Event(), threading.Event()

    def talk() -> None:
        try:
            with conversation.alone(server.pk):
                taken.set()
                done.wait(30)
        finally:
            connection.close()

    thread = threading.Thread(target=talk)
    thread.start()
    assert taken.wait(30)
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_nothing_is_told_while_somebody_else_talks_with_apple(lab_apple: Apple) -> None:
    server, [serial] = start(lab_apple, 1)
    wish(server, serial, define(server, 1))
    with somebody_talks(server):
        told(server)
        assert "200 /profile" not in lab_apple.answered
    told(server)
    assert lab_apple.portal.devices[serial].profile_status == "assigned"


def test_a_sync_that_is_due_gets_its_turn_after_a_batch(lab_apple: Apple) -> None:
    server, serials = start(lab_apple, 6)
    Server.objects.update(assigning_batch=2)
    definition = define(server, 1)
    for serial in serials:
        wish(server, serial, definition)
    SyncRun.objects.update(
        started_at=timezone.now() - timedelta(minutes=7),
        finished_at=timezone.now() - timedelta(minutes=6),
        asked_at=F("asked_at") - timedelta(1),
    )
    told(server)
    assert lab_apple.answered[ASSIGNED] == 1
    [stretch] = Assigning.objects.all()
    assert stretch.finished_at is None
    synced(server)
    told(server)
    stretch.refresh_from_db()
    assert (stretch.succeeded, stretch.finished_at is not None) == (6, True)


def test_a_long_run_that_ended_just_now_leaves_time_for_more_than_a_batch(
    lab_apple: Apple,
) -> None:
    server, serials = start(lab_apple, 4)
    Server.objects.update(assigning_batch=2)
    definition = define(server, 1)
    for serial in serials:
        wish(server, serial, definition)
    SyncRun.objects.update(started_at=timezone.now() - timedelta(minutes=30))
    told(server)
    assert lab_apple.answered[ASSIGNED] == 2


@pytest.mark.parametrize(
    ("more", "called"),
    [
        ({}, True),
        ({"token_expires_at": timedelta(days=-1)}, False),
        ({"retry_at": timedelta(hours=1)}, False),
        ({"disconnected_at": timedelta(0)}, False),
    ],
)
def test_a_sync_that_is_due_is_called_only_where_apple_may_be_asked(
    lab_apple: Apple, monkeypatch: pytest.MonkeyPatch, more: dict[str, timedelta], called: bool
) -> None:
    """A sync that does nothing would call the assignment, which would call the sync, for ever."""
    server, [serial] = start(lab_apple, 1)
    wish(server, serial, define(server, 1))
    long_ago = timezone.now() - timedelta(hours=1)
    SyncRun.objects.update(started_at=long_ago, finished_at=long_ago, asked_at=long_ago)
    Server.objects.update(**{key: timezone.now() + delta for key, delta in more.items()})
    found: list[int] = []
    monkeypatch.setattr(runs, "publish", found.append)
    told(server)
    assert found == ([server.pk] if called else [])


def test_a_plan_says_how_many_requests_and_how_long(lab_apple: Apple) -> None:
    server, serials = start(lab_apple, 5)
    server.assigning_batch = 2
    server.save()
    definition = define(server, 1)
    for serial in serials:
        wish(server, serial, definition)
    plan = assignment.plan(server)
    assert (plan.due, plan.batches, plan.seconds, plan.blocked) == (5, 3, 4.5, "")
    began = timezone.now() - timedelta(hours=1)
    Assigning.objects.create(
        server=server,
        began_at=began,
        moved_at=began + timedelta(seconds=40),
        finished_at=began + timedelta(seconds=40),
        requests=10,
    )
    assert assignment.plan(server).seconds == 12.0


def test_a_server_that_is_disconnected_meanwhile_gets_no_device_back(lab_apple: Apple) -> None:
    server, [serial] = start(lab_apple, 1)
    wish(server, serial, define(server, 1))

    def disconnect() -> None:
        servers.disconnect(ADMIN, Server.objects.get(pk=server.pk))

    # Apple took it, and what it then says of the device is about to be asked.
    with patch.object(*steps.place_of("details"), steps.at("details", 1, disconnect)):
        told(server)

    row = AbmDevice.objects.get(serial_number=serial)
    assert (row.removed_at is not None, row.current) == (True, False)


def test_who_is_switched_off_pauses_nothing(lab_apple: Apple) -> None:
    server, _ = start(lab_apple)
    nobody = dataclasses.replace(Actor.system("x"), active=False)
    with pytest.raises(NotAllowed):
        assignment.pause(nobody, server)
    server.refresh_from_db()
    assert server.assigning_paused_at is None
