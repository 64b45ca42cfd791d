"""What the ledger and the runs of the sync say, in plain words, and how their states look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.dateparse import parse_datetime

from abm.assignment import UNANSWERED
from abm.models import AbmDevice, DisownDevice, LedgerEntry, SyncRun
from abm.wire.records import TIMES, OpType
from mdm import moments
from mdm.standing import Tone

Decision = LedgerEntry.Decision
Source = LedgerEntry.Source
State = SyncRun.State
Disowned = DisownDevice.State


@dataclass(frozen=True, slots=True)
class Look:
    """How a state is drawn."""

    word: str
    tone: Tone
    icon: str


RUN_LOOKS: dict[str, Look] = {
    State.WAITING: Look("Waiting", "busy", "hourglass"),
    State.RUNNING: Look("Running", "busy", "progress"),
    State.FINISHED: Look("Finished", "good", "check"),
    State.FAILED: Look("Failed", "bad", "alert-circle"),
    State.INTERRUPTED: Look("Interrupted", "warning", "player-stop"),
}

DECISION_LOOKS: dict[str, Look] = {
    Decision.ADDED: Look("Added", "good", "plus"),
    Decision.RETURNED: Look("Returned", "good", "rotate-clockwise"),
    Decision.CHANGED: Look("Changed", "busy", "refresh"),
    Decision.REMOVED: Look("Removed", "warning", "logout"),
    Decision.KEPT: Look("Kept", "good", "check"),
    Decision.STALE: Look("Ignored, older", "off", "clock"),
    Decision.REPEATED: Look("Ignored, known", "off", "repeat"),
    Decision.SUPERSEDED: Look("Ignored, superseded", "off", "history"),
    Decision.ASKED: Look("In doubt", "busy", "shield-question"),
    Decision.UNDECIDED: Look("Undecided", "warning", "alert-triangle"),
}

DISOWN_LOOKS: dict[str, Look] = {
    Disowned.DISOWNED: Look("Disowned", "good", "check"),
    Disowned.NOT_OURS: Look("Not ours", "off", "circle-dashed"),
    Disowned.REFUSED: Look("Refused", "bad", "alert-circle"),
    Disowned.UNCLEAR: Look("Unclear", "warning", "shield-question"),
    Disowned.NOT_ASKED: Look("Not asked", "off", "player-stop"),
    Disowned.ASKED: Look("Being asked", "busy", "progress"),
    Disowned.WAITING: Look("Waiting", "busy", "hourglass"),
}

ASSIGNMENT_LOOKS: dict[str, Look] = {
    "settled": Look("As it should be", "good", "circle-check"),
    "due": Look("To be told", "busy", "hourglass"),
    "cooling": Look("Waits for its next try", "warning", "clock"),
    "undefined": Look("Refused by Apple", "bad", "alert-circle"),
    "unassigned": Look("Unassigned", "off", "circle-dashed"),
}
# The same as the filter of ABM Devices has them.
ASSIGNMENT_WORDS = {
    "settled": "settled",
    "due": "waiting",
    "cooling": "cooling",
    "undefined": "waiting",
    "unassigned": "unassigned",
}

PROFILE_LOOKS: dict[str, Look] = {
    "empty": Look("None", "off", "circle-dashed"),
    "assigned": Look("Assigned", "busy", "hourglass"),
    "pushed": Look("Pushed", "good", "circle-check"),
    "removed": Look("Removed", "warning", "circle-x"),
}


def wanted(device: AbmDevice) -> str:
    """The profile that a device should have, or that it should have none."""
    wish = getattr(device, "wish", None)
    if wish is None:
        return ""
    return str(wish.definition) if wish.definition else "Unassigned"


# --- The ledger ----------------------------------------------------------------------------------


def said(entry: LedgerEntry) -> str:
    """What Apple said, or did not have to."""
    if entry.source == Source.OURS:
        return "Here: its server was disconnected"
    if entry.source == Source.DISOWN:
        return f"Apple, asked to disown it: {entry.op_type or 'no answer'}"
    if entry.source == Source.ASSIGN:
        pair = (entry.changes or {}).get("profile_uuid")
        told = (
            "assign a profile to it" if isinstance(pair, list) and pair[-1] else "take its profile"
        )
        answer = "no usable answer" if entry.op_type == UNANSWERED else entry.op_type
        return f"Apple, asked to {told}: {answer or 'no answer'}"
    if entry.source == Source.LIST:
        return "Apple: it is on the whole list"
    if entry.source == Source.DETAILS:
        return _ANSWERS.get(entry.decision, "Apple, asked about it: it is ours")
    if entry.op_type in _OPERATIONS:
        return f"Apple: {entry.op_type}"
    return f"Apple: an operation unknown here ({entry.op_type or 'without a name'})"


_OPERATIONS = frozenset(OpType)
_ANSWERS: dict[str, str] = {
    Decision.REMOVED: "Apple, asked about it: it is not ours",
    Decision.REPEATED: "Apple, asked about it: it is not ours",
    Decision.UNDECIDED: "Apple, asked about it: no clear answer",
}


def decided(entry: LedgerEntry, newer: datetime | None = None) -> str:
    """What was made of it. `newer` is the operation that made a late one worthless, if known."""
    if entry.decision == Decision.CHANGED:
        return changes(entry.changes or {}) or "taken over"
    if entry.decision == Decision.STALE and newer is not None:
        return f"ignored: it came late, a newer operation of {moment(newer)} was known"
    if entry.source == Source.DISOWN:
        return "Apple is asked whether it is still ours"
    if entry.source == Source.ASSIGN:
        return _ASSIGNED.get(entry.op_type, "it is left alone for some hours, and tried again")
    if entry.decision == Decision.REPEATED:
        return _REPEATED.get(entry.source, "nothing to do: it says what was known already")
    return _DECIDED[Decision(entry.decision)]


_ASSIGNED = {
    "SUCCESS": "what Apple says of it is read back",
    "THROTTLED": "it is left alone as long as Apple says, and tried again",
    "NOT_ACCESSIBLE": "Apple is asked whether it is still ours",
    UNANSWERED: "it is tried again after ten minutes",
}
_DECIDED: dict[LedgerEntry.Decision, str] = {
    Decision.ADDED: "taken over: new here",
    Decision.RETURNED: "taken over: it is back, with its history",
    Decision.REMOVED: "it left this server's list",
    Decision.KEPT: "it stays; nothing has changed",
    Decision.STALE: "ignored: it came late, a newer operation was known",
    Decision.SUPERSEDED: "ignored: a newer operation came along with it",
    Decision.ASKED: "in doubt: it contradicts what is known, so Apple is asked about this device",
    Decision.UNDECIDED: "what was known stays, and Apple is asked again",
}
_REPEATED: dict[str, str] = {
    Source.LIST: "nothing to do: it was on the list twice",
    Source.DETAILS: "nothing to do: it had left before",
}


def changes(found: Mapping[str, Any]) -> str:
    """`color changed from SILVER to BLACK; asset tag set to 17`."""
    return "; ".join(_change(name, pair) for name, pair in found.items())


def _change(name: str, pair: Any) -> str:
    label = FACT_WORDS.get(name, name.replace("_", " "))
    before, after = pair if isinstance(pair, list) and len(pair) == 2 else (None, pair)
    if name == "more":
        return _other_facts(before, after)
    before, after = _value(name, before), _value(name, after)
    if not before:
        return f"{label} set to {after}" if after else f"{label} unchanged"
    return f"{label} changed from {before} to {after}" if after else f"{label} {before} taken away"


def _other_facts(before: Any, after: Any) -> str:
    before, after = (each if isinstance(each, dict) else {} for each in (before, after))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return f"other facts changed: {', '.join(keys[:10])}" if keys else "other facts unchanged"


def _value(name: str, value: Any) -> str:
    if name in TIMES and isinstance(value, str):
        try:
            read = parse_datetime(value)
        except ValueError:
            read = None
        return moment(read) if read else value
    return "" if value is None else str(value)


FACT_WORDS = {
    "model": "model",
    "description": "description",
    "color": "color",
    "asset_tag": "asset tag",
    "device_family": "family",
    "os": "OS",
    "profile_status": "profile status",
    "profile_uuid": "profile",
    "device_assigned_by": "assigner",
    "profile_assign_time": "time of the profile's assignment",
    "profile_push_time": "time of the profile's push",
    "device_assigned_date": "date of assignment",
    "mdm_migration_deadline": "deadline of the migration",
}


def os(name: str) -> str:
    """Apple still says OSX here."""
    return "macOS" if name == "OSX" else name


def moment(at: datetime) -> str:
    """`November 3, 2026, 10:01:40 UTC`."""
    return moments.moment(at, seconds=True)


# --- Runs ----------------------------------------------------------------------------------------


def outcome(run: SyncRun) -> str:
    """What became of a run that is over, or what it waits for, in a sentence."""
    if run.state in {State.FAILED, State.INTERRUPTED}:
        return _sentence(run.sentence) or "It ended before it was through."
    if run.state == State.WAITING:
        return "Waiting for a worker."
    if not run.over:
        return _sentence(run.doing) or "Starting."
    return _news(run)


def _news(run: SyncRun) -> str:
    counts = ((run.added, "added"), (run.changed, "changed"), (run.removed, "removed"))
    told = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    if run.full:
        devices = f"{run.devices:,} device{'' if run.devices == 1 else 's'}"
        return f"The whole list was read: {devices}; {told or 'nothing has changed'}."
    return f"{told}." if told else "Nothing new."


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
