"""Asking again for what failed: another command, to the receivers where the first one failed."""

from __future__ import annotations

import json

from django.db import transaction
from django.db.models import Exists, F, OuterRef

from commands import queue
from commands.models import Asked, Command, QueueEntry
from commands.queue import COMMAND, TO_THE_SERIAL_NUMBER, Enqueued, QueueError
from mdm.audit.actor import Actor
from mdm.scope import within
from mdm.secrets import Unsealable, unseal

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
    with transaction.atomic():
        # Who does the same at this moment finds what was asked for here.
        first = Command.objects.select_for_update().get(pk=command.retry_of_id or command.pk)
        return queue.enqueue(
            actor,
            request_type=request_type,
            parameters=parameters,
            enrollments=failed(actor, command),
            retry_of=first,
        )


def failed(actor: Actor, command: Command) -> list[int]:
    """The enrollments where a command failed, of those that `actor` sees: without those that a
    later try has reached or waits for, and without devices that began a new enrollment since.
    Raises NothingToRetry.
    """
    tried = QueueEntry.objects.exclude(state__in=FAILED).filter(
        command__retry_of=command.retry_of_id or command.pk,
        command__gt=command.pk,
        enrollment=OuterRef("enrollment"),
    )
    entries = QueueEntry.objects.filter(command=command, state__in=FAILED)
    entries = entries.filter(~Exists(tried)).exclude(
        enrollment__authenticated_at__gt=F("created_at")
    )
    entries = within(entries, actor.where("command.read"), TO_THE_SERIAL_NUMBER)
    found = list(entries.order_by("enrollment_id").values_list("enrollment_id", flat=True))
    if not found:
        raise NothingToRetry("It failed nowhere, or was tried again: there is nothing to try.")
    return found


def can_be_retried(actor: Actor, command: Command) -> int:
    """For how many enrollments it can be tried again."""
    if not Asked.objects.filter(command=command).exists():
        return 0
    try:
        return len(failed(actor, command))
    except NothingToRetry:
        return 0


def asked(command: Command) -> tuple[str, object]:
    """The RequestType and parameters that a command was asked for with, secrets included. Raises
    NothingToRetry.
    """
    kept = Asked.objects.filter(command=command).first()
    if kept is None:
        raise NothingToRetry("What this command was asked for with is not known any more.")
    try:
        known = json.loads(unseal(COMMAND, kept.sealed))
    except Unsealable as error:
        raise NothingToRetry(f"What this command was asked for with is sealed: {error}.") from None
    return known["request_type"], known["parameters"]
