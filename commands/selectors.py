"""Reads of the queue that more than one edge needs. How far a command has come is in `progress.py`,
what is known of receivers in `facts.py`.
"""

from __future__ import annotations

from django.db.models import OuterRef, QuerySet, Subquery

from commands import catalog
from commands.models import Command, QueueEntry, Reply
from commands.queue import COMMAND, TO_THE_SERIAL_NUMBER
from mdm.accounts.rights import Where
from mdm.audit.actor import Actor
from mdm.audit.record import allow
from mdm.models import GroupMember
from mdm.scope import within
from mdm.secrets import unseal


def seen(actor: Actor) -> QuerySet[QueueEntry]:
    """The entries that `actor` may see, bare."""
    return within(QueueEntry.objects.all(), actor.where("command.read"), TO_THE_SERIAL_NUMBER)


def jobs(actor: Actor) -> QuerySet[Command]:
    """The commands of which `actor` may see an entry at least."""
    where = actor.where("command.read")
    if where.everywhere:
        return Command.objects.all()
    entries = seen(actor)
    if not _is_large(where):
        return Command.objects.filter(pk__in=entries.values("command"))
    # Of a large group most commands have an entry, found at once where each command is asked for
    # its own; joined, all entries of all commands would be read.
    first = entries.filter(command=OuterRef("pk")).values("pk")[:1]
    return Command.objects.alias(seen=Subquery(first)).filter(seen__isnull=False)


def _is_large(where: Where) -> bool:
    members = GroupMember.objects.filter(group__in=where.groups).values("pk")
    return members[: _LARGE + 1].count() > _LARGE


_LARGE = 2000


def entries(rows: QuerySet[QueueEntry] | None = None) -> QuerySet[QueueEntry]:
    """These entries, or all, with what a list shows of them: command, enrollment and device, no
    bytes.
    """
    found = QueueEntry.objects.all() if rows is None else rows
    return found.select_related("command", "enrollment__device").defer(
        "sealed_payload", "enrollment__sealed_push_token", "enrollment__push_magic"
    )


def raw_request(actor: Actor, entry: QueueEntry) -> str | None:
    """The command as the device gets it, XML with its secrets masked; None where no bytes are
    kept. Raises NotAllowed and Unsealable.
    """
    allow(actor, "command.read", device=entry.enrollment.device)
    sealed = entry.sealed_payload or (entry.payload.sealed if entry.payload else None)
    return None if sealed is None else _masked(entry, unseal(COMMAND, sealed))


def raw_reply(actor: Actor, entry: QueueEntry) -> str | None:
    """The device's answer as it came, XML with its secrets masked; None before it has answered.
    Raises NotAllowed and Unsealable.
    """
    allow(actor, "command.read", device=entry.enrollment.device)
    reply = reply_to(entry)
    return None if reply is None else _masked(entry, unseal(_REPLY, reply.sealed_body))


def reply_to(entry: QueueEntry) -> Reply | None:
    """The device's final answer to this entry."""
    return Reply.objects.filter(
        enrollment=entry.enrollment_id, command_uuid=entry.command_uuid
    ).first()


def _masked(entry: QueueEntry, message: bytes) -> str:
    return catalog.find(entry.command.request_type).masked(message).decode()


# The purpose under which connect seals replies.
_REPLY = "reply"
