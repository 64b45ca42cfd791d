"""Asking again for what failed: another command, to the receivers where the first one failed."""

from __future__ import annotations

import json

from commands import queue
from commands.models import Command, QueueEntry
from commands.queue import COMMAND, TO_THE_SERIAL_NUMBER, Enqueued, QueueError
from mdm.audit.actor import Actor
from mdm.scope import within
from mdm.secrets import unseal

_State = QueueEntry.State
FAILED = (_State.ERROR, _State.COMMAND_FORMAT_ERROR, _State.EXPIRED)


class NothingToRetry(QueueError):
    """No receiver failed, or it is not known any more what was asked for."""


def retry(actor: Actor, command: Command) -> Enqueued:
    """Ask for the same again of those where it failed and that `actor` sees. It is judged as if it
    was asked for anew: by rights, by what the receivers can do now, by what holds destructive
    commands back. Raises NothingToRetry and what `queue.enqueue` raises.
    """
    request_type, parameters = asked(command)
    return queue.enqueue(
        actor,
        request_type=request_type,
        parameters=parameters,
        enrollments=failed(actor, command),
        retry_of=command,
    )


def failed(actor: Actor, command: Command) -> list[int]:
    """The enrollments where a command failed, of those that `actor` sees. Raises NothingToRetry."""
    entries = QueueEntry.objects.filter(command=command, state__in=FAILED)
    entries = within(entries, actor.where("command.read"), TO_THE_SERIAL_NUMBER)
    found = list(entries.order_by("enrollment_id").values_list("enrollment_id", flat=True))
    if not found:
        raise NothingToRetry("It failed nowhere: there is nothing to try again.")
    return found


def asked(command: Command) -> tuple[str, object]:
    """The RequestType and parameters that a command was asked for with, secrets included. Raises
    NothingToRetry and Unsealable.
    """
    if command.sealed_asked is None:
        raise NothingToRetry("What this command was asked for with is not known any more.")
    known = json.loads(unseal(COMMAND, command.sealed_asked))
    return known["request_type"], known["parameters"]
