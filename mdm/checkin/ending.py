"""The end of management: CheckOut, and what else ends an enrollment."""

from __future__ import annotations

from datetime import datetime

from mdm import signals, statements
from mdm.checkin.answer import Answer
from mdm.checkin.speaker import Speaker
from mdm.models import Enrollment
from mdm.protocol import checkin as messages

State = Enrollment.State


def check_out(speaker: Speaker, message: messages.CheckOut, record: bytes) -> Answer:
    """Management ended on the device. What was escrowed is kept for the retention time."""
    end(speaker.enrollment["id"], State.CHECKED_OUT, at=speaker.at, record=record)
    return Answer()


def end(enrollment_id: int, state: Enrollment.State, *, at: datetime, record: bytes | None) -> None:
    """End the management of an enrollment and of the user channels under it.

    `state` says how: CheckedOut, Erased or Released. Call inside a transaction.
    """
    ended = statements.every(
        statements.END,
        {"enrollment": enrollment_id, "state": state, "at": at, "body": record},
    )
    for row in ended:
        signals.enrollment_ended.send(Enrollment, enrollment_id=row["id"], at=at)
