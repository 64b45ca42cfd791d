"""The events that commands tell of (mdm/webhooks/kinds.py)."""

from __future__ import annotations

from collections.abc import Sequence

from commands.models import Command, Reply
from mdm.webhooks import kinds
from mdm.webhooks.kinds import SERIAL, Field, Kind
from mdm.webhooks.outbox import emit_many, wanted

FINISHED = "command.finished"

_COMMAND = "The CommandUUID."
_UUID = "7c1f3b52-6a53-4a7b-9c9e-3a4d9d7f1c11"
_ASKED = (
    Field("request_type", "string", "What the command is.", "EraseDevice"),
    Field("targets", "integer", "For how many devices it is.", 30),
    Field("asked_by", "string", "Who asked for it.", "Grace"),
)


def register() -> None:
    """Called once, when the app loads."""
    kinds.register(
        "Commands",
        Kind(
            name=FINISHED,
            words="A device answered a command for good: one event for each device, inventory"
            " questions included.",
            subject=_COMMAND,
            about=_UUID,
            fields=(
                Field("request_type", "string", "What the command was.", "DeviceLock"),
                Field(
                    "status", "string", "Acknowledged, Error or CommandFormatError.", "Acknowledged"
                ),
                Field("asked_by", "string", "Who asked for it; inventory for the server.", "Ada"),
                Field("device", "integer", "The device's id in the API.", 17),
                SERIAL,
                Field("enrollment", "integer", "The enrollment's id in the API.", 42),
            ),
        ),
    )
    kinds.register(
        "Approvals",
        Kind(
            name="approval.wanted",
            words="A destructive command waits for a second person.",
            subject=_COMMAND,
            about=_UUID,
            fields=_ASKED,
        ),
        Kind(
            name="approval.decided",
            words="Someone approved or refused a destructive command.",
            subject=_COMMAND,
            about=_UUID,
            fields=(
                *_ASKED,
                Field("decision", "string", "approved or refused.", "approved"),
                Field("note", "string", "What they said to it; may be empty.", ""),
                Field("by", "string", "Who decided.", "Ada"),
            ),
        ),
    )
    kinds.register(
        "Destructive commands",
        Kind(
            name="destructive.paused",
            words="Someone paused all destructive commands.",
            subject="The pause's id in the API.",
            about="3",
            fields=(
                Field("by", "string", "Who.", "Ada"),
                Field("reason", "string", "Why; may be empty.", "A laptop was stolen"),
                Field("commands", "integer", "How many commands it held back.", 2),
            ),
        ),
        Kind(
            name="destructive.resumed",
            words="Someone let destructive commands go again.",
            subject="The pause's id in the API.",
            about="3",
            fields=(Field("by", "string", "Who.", "Ada"),),
        ),
    )


def tell_finished(replies: Sequence[int]) -> None:
    """Tell of replies (by id), where any webhook wants to know: there may be 100,000."""
    if not replies or not wanted(FINISHED):
        return
    found = Reply.objects.filter(pk__in=replies).select_related("enrollment__device")
    rows = list(found.defer("sealed_body").order_by("pk"))
    commands = Command.objects.in_bulk({row.command_uuid for row in rows}, field_name="uuid")
    emit_many(
        FINISHED,
        [
            (row.received_at, str(row.command_uuid), _finished(row, commands[row.command_uuid]))
            for row in rows
            if row.command_uuid in commands
        ],
    )


def _finished(reply: Reply, command: Command) -> dict[str, object]:
    device = reply.enrollment.device
    return {
        "request_type": command.request_type,
        "status": reply.status,
        "asked_by": command.asked_by,
        "device": device.pk,
        "serial_number": device.serial_number,
        "enrollment": reply.enrollment_id,
    }
