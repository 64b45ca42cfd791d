"""What the ledger and runs say, for every source and every decision."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from abm.models import LedgerEntry, SyncRun
from abm.pages import words
from mdm.templatetags.guard import duration

Decision = LedgerEntry.Decision
THEN = datetime(2026, 11, 3, 10, 1, 40, tzinfo=UTC)


def _told(source: str, op_type: str, decision: str, changes: Any = None) -> str:
    entry = LedgerEntry(source=source, op_type=op_type, decision=decision, changes=changes)
    return f"{words.said(entry)} → {words.decided(entry)}"


@pytest.mark.parametrize(
    ("source", "op_type", "decision", "told"),
    [
        ("list", "", "added", "Apple: it is on the whole list → taken over: new here"),
        (
            *("list", "", "returned"),
            "Apple: it is on the whole list → taken over: it is back, with its history",
        ),
        (
            *("list", "", "repeated"),
            "Apple: it is on the whole list → nothing to do: it was on the list twice",
        ),
        ("feed", "added", "added", "Apple: added → taken over: new here"),
        ("feed", "deleted", "removed", "Apple: deleted → it left this server's list"),
        (
            *("feed", "modified", "repeated"),
            "Apple: modified → nothing to do: it says what was known already",
        ),
        (
            *("feed", "modified", "stale"),
            "Apple: modified → ignored: it came late, a newer operation was known",
        ),
        (
            *("feed", "added", "superseded"),
            "Apple: added → ignored: a newer operation came along with it",
        ),
        (
            *("feed", "deleted", "asked"),
            "Apple: deleted → in doubt: it contradicts what is known, so Apple is asked about this"
            " device",
        ),
        ("feed", "", "asked", "Apple: an operation unknown here (without a name) → in doubt"),
        ("feed", "moved", "asked", "Apple: an operation unknown here (moved) → in doubt"),
        (
            *("details", "", "kept"),
            "Apple, asked about it: it is ours → it stays; nothing has changed",
        ),
        ("details", "", "added", "Apple, asked about it: it is ours → taken over: new here"),
        (
            *("details", "", "removed"),
            "Apple, asked about it: it is not ours → it left this server's list",
        ),
        (
            *("details", "", "repeated"),
            "Apple, asked about it: it is not ours → nothing to do: it had left before",
        ),
        (
            *("details", "added", "undecided"),
            "Apple, asked about it: no clear answer → what was known stays, and Apple is asked",
        ),
        (
            *("ours", "", "removed"),
            "Here: its server was disconnected → it left this server's list",
        ),
    ],
)
def test_each_line_of_the_ledger_says_who_said_what_and_what_was_made_of_it(
    source: str, op_type: str, decision: str, told: str
) -> None:
    assert _told(source, op_type, decision).startswith(told)


@pytest.mark.parametrize("source", LedgerEntry.Source.values)
@pytest.mark.parametrize("decision", Decision.values)
@pytest.mark.parametrize("op_type", ["", "added", "modified", "deleted", "\0odd"])
def test_no_line_is_without_words_and_a_look(source: str, decision: str, op_type: str) -> None:
    entry = LedgerEntry(source=source, op_type=op_type, decision=decision)

    assert words.said(entry)
    assert words.decided(entry)
    assert decision in words.DECISION_LOOKS


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"color": ["SILVER", "BLACK"]}, "color changed from SILVER to BLACK"),
        (
            {"asset_tag": ["", "17"], "os": ["iOS", ""]},
            "asset tag set to 17; OS iOS taken away",
        ),
        (
            {"profile_push_time": [None, "2026-11-03T10:01:40+00:00"]},
            "time of the profile's push set to November 3, 2026, 10:01:40 UTC",
        ),
        ({"profile_push_time": ["not a time", None]}, "time of the profile's push not a time"),
        ({"more": [{"a": 1, "b": 2}, {"a": 1, "c": 3}]}, "other facts changed: b, c"),
        ({"more": [None, None]}, "other facts unchanged"),
        ({"new_fact": ["x", "y"]}, "new fact changed from x to y"),
        ({"color": "odd"}, "color set to odd"),
        ({"color": [None, None]}, "color unchanged"),
        ({}, "taken over"),
        (None, "taken over"),
    ],
)
def test_a_change_is_told_with_before_and_after(changes: Any, said: str) -> None:
    assert _told("feed", "modified", "changed", changes).startswith(f"Apple: modified → {said}")


def test_a_late_operation_names_the_one_that_it_came_after() -> None:
    entry = LedgerEntry(source="feed", op_type="added", decision="stale")

    assert words.decided(entry, THEN) == (
        "ignored: it came late, a newer operation of November 3, 2026, 10:01:40 UTC was known"
    )


@pytest.mark.parametrize(
    ("state", "more", "said"),
    [
        ("Waiting", {}, "Waiting for a worker."),
        ("Running", {}, "Starting."),
        ("Running", {"doing": "Following changes"}, "Following changes."),
        ("Finished", {}, "Nothing new."),
        ("Finished", {"added": 1, "removed": 1_200}, "1 added, 1,200 removed."),
        ("Finished", {"full": True, "devices": 1}, "The whole list was read: 1 device; nothing"),
        (
            *("Finished", {"full": True, "devices": 9_000, "changed": 2}),
            "The whole list was read: 9,000 devices; 2 changed.",
        ),
        ("Failed", {"sentence": "Apple refused"}, "Apple refused."),
        ("Interrupted", {"sentence": "It was overtaken."}, "It was overtaken."),
        ("Failed", {}, "It ended before it was through."),
    ],
)
def test_a_run_says_in_a_sentence_what_it_does_or_did(state: str, more: Any, said: str) -> None:
    over = state not in {"Waiting", "Running"}
    empty = {"doing": "", "sentence": "", "added": 0, "changed": 0, "removed": 0}
    run = SyncRun(state=state, finished_at=THEN if over else None, **{**empty, **more})

    assert words.outcome(run).startswith(said)
    assert state in words.RUN_LOOKS


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (12.4, "12 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3_780, "1 h 3 min"),
    ],
)
def test_durations_are_short(seconds: float, said: str) -> None:
    assert duration(seconds) == said
    assert duration(timedelta(seconds=seconds).total_seconds()) == said
