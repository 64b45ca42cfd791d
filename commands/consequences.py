"""What replies mean: inventory, device facts, follow-up commands, the end of an enrollment, events.

The stored reply is the outbox: `drain` takes undrained replies in batches, works out what each
changes (the catalog says) and marks them. It may run twice, in several workers, and stop at any
moment: a batch takes effect as a whole or not at all, and a newer report is never overwritten by
an older one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import DatabaseError, OperationalError, connection, transaction

from commands import catalog, events
from commands.catalog import (
    AskAgain,
    Change,
    CommandType,
    Configured,
    DeviceFacts,
    Erased,
    ReplaceSection,
    UpdateSection,
)
from commands.connect import REPLY
from commands.queue import COMMAND, NobodyCanRunIt, enqueue
from mdm import checkin, inventory, signals, statements
from mdm.audit.actor import Actor
from mdm.models import Device, Enrollment
from mdm.protocol.errors import ProtocolError
from mdm.protocol.plist import safe_plist_loads
from mdm.secrets import unseal
from mdm.statements import Row

log = structlog.get_logger(__name__)

_TAKE = """
SELECT r.id, r.enrollment_id, r.status, r.received_at, r.sealed_body, c.request_type,
       COALESCE(q.sealed_payload, p.sealed) AS sealed_command, e.device_id,
       r.received_at < GREATEST(e.authenticated_at, d.authenticated_at) AS outdated
FROM commands_reply r
JOIN mdm_enrollment e ON e.id = r.enrollment_id
LEFT JOIN mdm_enrollment d ON d.id = e.parent_id
LEFT JOIN commands_queueentry q
       ON q.enrollment_id = r.enrollment_id AND q.command_uuid = r.command_uuid
LEFT JOIN commands_command c ON c.id = q.command_id
LEFT JOIN commands_payload p ON p.id = q.payload_id
WHERE r.drained_at IS NULL
ORDER BY r.id LIMIT %(limit)s
FOR UPDATE OF r SKIP LOCKED
"""


@dataclass(frozen=True, slots=True)
class Consequence:
    """One change that one reply makes."""

    enrollment_id: int
    device_id: int
    at: datetime
    change: Change


def drain(limit: int = 500) -> int:
    """Apply up to `limit` replies; returns how many were taken."""
    try:
        with transaction.atomic():
            rows = statements.every(_TAKE, {"limit": limit})
            _apply([item for row in rows for item in _consequences(row)])
            events.tell_finished([row["id"] for row in rows])
            _mark(row["id"] for row in rows)
        return len(rows)
    except OperationalError:
        raise  # the database's trouble and no reply's: all of it is done again
    except DatabaseError as error:
        if limit == 1:
            raise
        log.error("drain_batch_failed", error=str(error))
        return _drain_one_by_one(limit)


def _drain_one_by_one(limit: int) -> int:
    """A reply that cannot be applied must not hold up the others: it is logged and passed by."""
    done = 0
    for _ in range(limit):
        with transaction.atomic():
            rows = statements.every(_TAKE, {"limit": 1})
            if not rows:
                break
            try:
                with transaction.atomic():
                    _apply(_consequences(rows[0]))
                    events.tell_finished([rows[0]["id"]])
            except OperationalError:
                raise
            except DatabaseError as error:
                log.error("reply_not_applied", reply=rows[0]["id"], error=str(error))
            _mark([rows[0]["id"]])
        done += 1
    return done


def _consequences(row: Row) -> list[Consequence]:
    # What a device said before it began a new enrollment says nothing of the one it has now.
    if row["status"] != "Acknowledged" or not row["request_type"] or row["outdated"]:
        return []
    command_type = catalog.find(row["request_type"])
    if not _changes_anything(command_type):
        return []
    try:
        content = safe_plist_loads(unseal(REPLY, row["sealed_body"]))
        command = _command(row, command_type)
    except ProtocolError as error:
        log.error("reply_not_readable", reply=row["id"], error=str(error))
        return []
    return [
        Consequence(row["enrollment_id"], row["device_id"], row["received_at"], change)
        for change in command_type.changes(content, command)
    ]


def _changes_anything(command_type: CommandType) -> bool:
    return type(command_type)._changes is not CommandType._changes


def _command(row: Row, command_type: CommandType) -> dict[str, object]:
    """The `Command` dictionary that was sent; only asked for where parameters may narrow it."""
    if not command_type.parameters or row["sealed_command"] is None:
        return {}
    command = safe_plist_loads(unseal(COMMAND, row["sealed_command"])).get("Command")
    return command if isinstance(command, dict) else {}


def _apply(consequences: list[Consequence]) -> None:
    sections = [item for item in consequences if isinstance(item.change, ReplaceSection)]
    inventory.replace_sections(
        (
            item.enrollment_id,
            item.change.section,
            item.change.data,
            item.change.truncated,
            item.at,
        )
        for item in sections
        if isinstance(item.change, ReplaceSection)
    )
    again: dict[str, list[int]] = {}
    heard: set[int] = set()
    for item in consequences:
        match item.change:
            case DeviceFacts(values=values):
                inventory.set_device_facts(item.device_id, values)
                heard.add(item.device_id)
            case UpdateSection(section=section, data=data, forget=forget):
                inventory.update_section(item.enrollment_id, section, data, forget, at=item.at)
            case AskAgain(request_type=request_type):
                again.setdefault(request_type, []).append(item.enrollment_id)
            case Configured():
                Enrollment.objects.filter(pk=item.enrollment_id).update(
                    awaiting_configuration=False
                )
            case Erased():
                checkin.end(item.enrollment_id, Enrollment.State.ERASED, at=item.at, record=None)
    for request_type, enrollments in again.items():
        ask(request_type, enrollments)
    if heard:
        signals.devices_heard.send(Device, device_ids=sorted(heard))


def ask(request_type: str, enrollments: Iterable[int], *, wakes: bool = True) -> None:
    """Queue an inventory query by the server's own doing; who cannot run it is left out."""
    try:
        enqueue(
            Actor.system("inventory"),
            request_type=request_type,
            parameters={},
            enrollments=enrollments,
            wakes=wakes,
        )
    except NobodyCanRunIt as error:
        log.info("inventory_not_asked", request_type=request_type, reason=str(error))


def _mark(replies: Iterable[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE commands_reply SET drained_at = now() WHERE id = ANY(%s)", [list(replies)]
        )
