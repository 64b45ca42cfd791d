"""How a command's states look and what they mean, the same on every page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from commands.models import QueueEntry
from mdm.standing import Tone

State = QueueEntry.State


@dataclass(frozen=True, slots=True)
class Look:
    tone: Tone
    icon: str


LOOKS = {
    State.ACKNOWLEDGED: Look("good", "circle-check"),
    State.HELD: Look("warning", "player-pause"),
    State.QUEUED: Look("busy", "hourglass"),
    State.SENT: Look("busy", "send"),
    State.NOT_NOW: Look("warning", "moon"),
    State.ERROR: Look("bad", "circle-x"),
    State.COMMAND_FORMAT_ERROR: Look("bad", "circle-x"),
    State.CANCELLED: Look("off", "ban"),
    State.EXPIRED: Look("off", "clock"),
}


UNFINISHED = (State.HELD.value, State.QUEUED.value, State.SENT.value, State.NOT_NOW.value)


def why(entry: QueueEntry, error: str) -> str:
    """One sentence on why an entry is where it is; `error` is what the device said."""
    if entry.state == State.HELD:
        return "It is kept back until nothing holds its job any more."
    if entry.state == State.QUEUED:
        return "Waiting for the device to connect; it has been asked to."
    if entry.state == State.SENT:
        times = f" ({entry.deliveries} times)" if entry.deliveries > 1 else ""
        return f"The device has it{times} and has not answered yet."
    if entry.state == State.NOT_NOW:
        return "The device put it off, most likely because it is locked; it comes back for it."
    if entry.state in {State.ERROR, State.COMMAND_FORMAT_ERROR}:
        return error or "The device refused it and gave no reason."
    return entry.ended_because


def moved_at(entry: QueueEntry) -> datetime:
    """When the entry came into its state."""
    if entry.finished_at:
        return entry.finished_at
    if entry.state == State.NOT_NOW and entry.not_now_at:
        return entry.not_now_at
    if entry.state == State.SENT and entry.sent_at:
        return entry.sent_at
    return entry.created_at
