"""Why a device has no profile, or has the one that it has: each sentence that can be said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from abm import assignment
from abm.models import AbmDevice, Definition, LedgerEntry, Server, Wish
from mdm.models import Device
from profiles import following, giving
from profiles.explain import Explanation, explain
from tests.abm.connected import connect
from tests.profiles.steps import ADMIN, make_profile

pytestmark = pytest.mark.django_db

# Answers of 10:02 rest until 11:05.
DAY = datetime(2026, 11, 27, tzinfo=UTC)
NOW = DAY + timedelta(hours=10, minutes=30)
TRIED, NEXT = DAY + timedelta(hours=10, minutes=2), DAY + timedelta(hours=11, minutes=5)
OURS, FOREIGN = "A" * 32, "F" * 32


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("profiles.explain.timezone.now", lambda: NOW)


@pytest.fixture
def server(db: None) -> Server:
    return connect()


@pytest.fixture
def row(server: Server) -> AbmDevice:
    device = Device.objects.create(serial_number="SERIAL1")
    return AbmDevice.objects.create(
        serial_number="SERIAL1",
        server=server,
        device=device,
        os="iOS",
        device_family="iPhone",
        profile_status="empty",
    )


@pytest.fixture
def definition(row: AbmDevice) -> Definition:
    """Of the default, which Apple has as OURS."""
    giving.set_default(ADMIN, "iOS", None, make_profile("Office"))
    following.follow()
    Definition.objects.update(state="Defined", profile_uuid=OURS)
    return Definition.objects.get()


def said(row: AbmDevice | None = None, **facts: Any) -> Explanation:
    """Where Apple says so much of the device."""
    if row is not None and facts:
        AbmDevice.objects.filter(pk=row.pk).update(**facts)
    return explain("SERIAL1", NOW)


BEGIN = "It should get Office, version 1, the default for iOS and iPadOS, and has none, because"


@pytest.mark.parametrize(
    ("answer", "because"),
    [
        ("THROTTLED", "Apple throttled the request at 10:02 UTC"),
        ("SUCCESS", "Apple took it at 10:02 UTC and says something else since"),
        ("FAILED", "Apple failed to assign it at 10:02 UTC and gave no reason"),
        (
            "NOT_ACCESSIBLE",
            "Apple said at 10:02 UTC that the device is not assigned to this server",
        ),
        (assignment.UNANSWERED, "Apple gave no usable answer at 10:02 UTC"),
        ("", "Apple's answer at 10:02 UTC did not name this device"),
        ("ODD_WORD", "Apple answered ODD_WORD at 10:02 UTC"),
    ],
)
def test_each_answer_that_is_rested_after(
    row: AbmDevice, definition: Definition, answer: str, because: str
) -> None:
    Wish.objects.update(answer=answer, tried_at=TRIED, retry_at=NEXT)
    found = said()
    assert found.sentence == f"{BEGIN} {because}; the next try is at 11:05 UTC."
    assert (found.state, found.next_at) == ("cooling", NEXT)


def test_what_was_not_told_yet(row: AbmDevice, definition: Definition) -> None:
    found = said()
    assert found.sentence == f"{BEGIN} Apple has not been told yet."
    assert (found.state, found.next_step) == ("pending", "It is told within 5 minutes.")


def test_a_profile_that_apple_refuses(row: AbmDevice, definition: Definition) -> None:
    Definition.objects.update(state="Refused", refusal="LOCALE_INVALID", retry_at=NEXT)
    found = said()
    assert found.sentence == f"{BEGIN} Apple refuses to define that profile: LOCALE_INVALID."
    assert (found.state, found.next_at) == ("undefined", NEXT)


def test_a_profile_that_apple_did_not_answer_about(row: AbmDevice, definition: Definition) -> None:
    Definition.objects.update(state="Waiting", retry_at=NEXT)
    found = said()
    assert "no usable answer when it was asked to define that profile" in found.sentence
    assert "the next try is at 11:05 UTC" in found.sentence
    assert (found.state, found.next_at) == ("cooling", NEXT)


def test_nothing_can_be_told_while_it_is_paused(
    row: AbmDevice, definition: Definition, server: Server
) -> None:
    assignment.pause(ADMIN, server)
    found = said()
    assert found.state == "blocked"
    assert found.sentence.startswith(f"{BEGIN} Apple cannot be told: tests paused the assignment")


@pytest.mark.parametrize(
    ("facts", "has"),
    [
        (
            {"profile_status": "removed", "profile_uuid": OURS},
            "none (Apple says that it was removed)",
        ),
        ({"profile_status": "assigned", "profile_uuid": FOREIGN}, "one that was not made here"),
        ({"profile_status": "empty", "profile_uuid": ""}, "none"),
    ],
)
def test_what_apple_says_that_it_has(
    row: AbmDevice, definition: Definition, facts: dict[str, str], has: str
) -> None:
    found = said(row, **facts)
    assert (found.state, found.has) == ("pending", has)


def test_one_that_is_assigned_and_one_that_was_fetched(
    row: AbmDevice, definition: Definition
) -> None:
    found = said(row, profile_status="assigned", profile_uuid=OURS, profile_assign_time=TRIED)
    assert found.sentence == (
        "It gets Office, version 1, the default for iOS and iPadOS. Apple has it assigned since"
        " November 27, 2026, 10:02 UTC."
    )
    assert "when it is new, or next erased" in found.next_step
    found = said(row, profile_status="pushed", profile_push_time=TRIED)
    assert found.sentence.endswith("The device fetched it on November 27, 2026, 10:02 UTC.")
    assert found.state == "settled"


def test_a_change_that_is_being_worked_out(row: AbmDevice, definition: Definition) -> None:
    giving.give_devices(ADMIN, ["SERIAL1"], make_profile("Kiosk"))
    assert said().state == "following"
    following.follow()
    found = said()
    assert (found.state, str(found.wanted)) == ("pending", "Kiosk, version 1")
    assert "which was given to this very device" in found.sentence


UNASSIGNED = (
    "It is Unassigned: no profile was given to it, none of its groups has one, and there is no"
    " default for iOS and iPadOS."
)


@pytest.fixture
def unassigned(row: AbmDevice, definition: Definition) -> AbmDevice:
    giving.set_default(ADMIN, "iOS", None, None)
    following.follow()
    return row


def test_one_for_which_there_is_none(unassigned: AbmDevice) -> None:
    found = said()
    assert (found.state, found.sentence) == ("unassigned", UNASSIGNED)
    assert [rule.why for rule in found.rules] == [
        "No profile was given to this very device.",
        "It is in no group.",
        "Office has no default of its own for iOS and iPadOS.",
        "There is no default for iOS and iPadOS.",
    ]


def test_one_whose_profile_is_being_taken_away_and_one_that_is_left_alone(
    unassigned: AbmDevice, server: Server
) -> None:
    has = {"profile_status": "assigned"}
    ours = f"{UNASSIGNED} Apple still has one of ours for it, "
    assert said(unassigned, **has, profile_uuid=FOREIGN).sentence == (
        f"{UNASSIGNED} Apple has a profile for it that was not made here; it is left alone."
    )
    assert said(unassigned, **has, profile_uuid=OURS).sentence == (
        f"{ours}which is being taken away."
    )
    Wish.objects.update(answer="FAILED", tried_at=TRIED, retry_at=NEXT)
    assert said().sentence.endswith("gave no reason; the next try is at 11:05 UTC.")
    assignment.pause(ADMIN, server)
    assert f"{ours}which stays as long as Apple cannot be told: tests paused" in said().sentence


def test_one_that_left_the_list_and_one_that_never_was_on_it(
    row: AbmDevice, server: Server
) -> None:
    AbmDevice.objects.update(removed_at=TRIED, current=False)
    assert said().sentence == (
        "It has no profile because it left the list of Office on November 27, 2026, 10:02 UTC."
    )
    Server.objects.update(token_expires_at=DAY)
    never = explain("NOBODY1", NOW)
    assert never.state == "unlisted"
    assert "lists it for no server here. The list may be old (Office: token expired)" in (
        never.sentence
    )


def test_what_apple_was_told_is_told_newest_first(
    row: AbmDevice, definition: Definition, server: Server
) -> None:
    for answer, told in (("SUCCESS", OURS), (assignment.UNANSWERED, OURS), ("THROTTLED", "")):
        LedgerEntry.objects.create(
            server=server,
            serial_number="SERIAL1",
            source=LedgerEntry.Source.ASSIGN,
            op_type=answer,
            decision=LedgerEntry.Decision.ASKED,
            changes={"profile_uuid": ["", told]},
        )
    assert [(each.said, each.meaning) for each in said().attempts] == [
        (
            "Take its profile away",
            "Apple throttled it: too much was changed about this device lately.",
        ),
        (
            "Assign Office, version 1",
            "Apple could not be reached, or its answer made no sense.",
        ),
        ("Assign Office, version 1", "Apple took it."),
    ]
