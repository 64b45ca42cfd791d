"""The queue: asking for commands, cancelling and expiring them. `connect.py` hands them out,
`retry.py` asks again for what failed.

QueueError
├── NobodyCanRunIt     every receiver refused; the reasons are in `refused`
├── CannotCancel       the entry is with the device already, or over
"""

from __future__ import annotations

import base64
import json
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

from commands import catalog, facts, restraint, tally
from commands.catalog import CommandType, Effect, Extras, Facts
from commands.models import Asked, Command, Payload, QueueEntry
from mdm.accounts.rights import Where
from mdm.audit.actor import Actor, Kind
from mdm.audit.record import allow, record, somewhere
from mdm.checkin import UNLOCK_TOKEN
from mdm.models import Enrollment, Escrow
from mdm.protocol.connect import command_plist
from mdm.push.wake import wake
from mdm.scope import beyond, within
from mdm.secrets import seal, unseal

COMMAND = "command"

State = QueueEntry.State

# From an entry to the device that it is for.
TO_THE_SERIAL_NUMBER = "enrollment__device__serial_number"
BEYOND = "Your role does not let you send this to this device."

# Not with the device: these can be cancelled.
CANCELLABLE = (State.HELD, State.QUEUED, State.NOT_NOW)
_ENDED = (
    Enrollment.State.CHECKED_OUT,
    Enrollment.State.ERASED,
    Enrollment.State.RELEASED,
)
ANSWERED = (State.ACKNOWLEDGED, State.ERROR, State.COMMAND_FORMAT_ERROR)


class QueueError(Exception):
    """Any refusal of the queue; its message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A receiver that cannot run the command, and why, in a sentence."""

    enrollment_id: int
    reason: str


class NobodyCanRunIt(QueueError):
    def __init__(self, refused: list[Refused]) -> None:
        super().__init__(refused[0].reason if refused else "No receivers were given.")
        self.refused = refused


class CannotCancel(QueueError):
    """The entry was delivered, or is over."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What came of asking: how many entries were made, how many receivers had it waiting
    already (`coalesced`), and who cannot run it."""

    command: Command
    entries: int
    coalesced: int
    refused: list[Refused]

    @property
    def held(self) -> bool:
        """Whether it waits for something before devices get it (commands/restraint.py)."""
        return self.command.held


def enqueue(
    actor: Actor,
    *,
    request_type: str,
    parameters: object,
    enrollments: Iterable[int],
    expires_in: timedelta | None = None,
    wakes: bool = True,
    retry_of: Command | None = None,
) -> Enqueued:
    """Ask for a command to be run by each of these enrollments, and wake them.

    A caller that asks several things of the same receivers says `wakes=False` and wakes them once.
    Receivers that are known to be unable are refused one by one, with the reason; the others get
    it. Raises NotAllowed, catalog.UnknownRequestType, catalog.InvalidParameters, and
    NobodyCanRunIt where nobody is left.
    """
    somewhere(actor, "command.send")
    command_type, params = catalog.prepare(request_type, parameters)
    effect = command_type.effect_of(params)
    where = may_send(actor, command_type.request_type, effect)
    ids = sorted(set(enrollments))
    with transaction.atomic():
        if len(ids) > _BULK:
            _one_bulk_at_a_time()
        able, refused = _judge(command_type, params, ids, where)
        if not able:
            raise NobodyCanRunIt(refused)
        receivers = [pk for pks in able.values() for pk in pks]
        destructive = effect is Effect.DESTRUCTIVE
        kept_back = (
            restraint.judge(actor, command_type.request_type, len(receivers))
            if destructive
            else None
        )
        asked = _seal_asked(request_type, parameters)
        command = _create(actor, command_type, params, effect, asked, retry_of)
        expires_at = timezone.now() + expires_in if expires_in else None
        state = State.HELD if kept_back else State.QUEUED
        made = _insert(command, command_type, params, able, expires_at, state)
        tally.begin(command, state.value, made)
        if destructive:
            Command.objects.filter(pk=command.pk).update(targets=made)
            command.targets = made
        if kept_back:
            restraint.hold(command, kept_back)
        elif wakes:
            wake(receivers)
        record(
            actor,
            "command.send",
            subject_kind="command",
            subject_id=command.uuid,
            after={
                "request_type": command.request_type,
                "parameters": command.parameters,
                "receivers": len(receivers),
                "held": kept_back is not None,
                "first_receivers": receivers[:20],
                **({"retry_of": str(retry_of.uuid)} if retry_of else {}),
            },
        )
    return Enqueued(command, made, len(receivers) - made, refused)


def asking(sent: Enqueued, enrollment: Enrollment) -> Command:
    """The command by which this enrollment, one of the receivers, is asked: the one that was sent,
    or where the same waited already, that one.
    """
    same = QueueEntry.objects.filter(
        enrollment=enrollment,
        finished_at=None,
        command__request_type=sent.command.request_type,
        command__parameters=sent.command.parameters,
    )
    found = same.select_related("command").first() if sent.coalesced else None
    return found.command if found else sent.command


def may_send(actor: Actor, request_type: str, effect: Effect) -> Where:
    """To which devices `actor` may send this. Raises NotAllowed where to none."""
    if effect is Effect.DESTRUCTIVE:
        return somewhere(actor, "command.destroy", request_type)
    return somewhere(actor, "command.send")


def why_not(
    command_type: CommandType, state: str, about: Facts, params: Mapping[str, object] | None = None
) -> str | None:
    """Why an enrollment in this state, of which this is known, cannot run a command; None when it
    can. Without `params` it answers for a menu."""
    if state != Enrollment.State.ENROLLED:
        return "This device is not enrolled now."
    return command_type.refusal(about, params)


def cancel(actor: Actor, entry_id: int) -> None:
    """Take a command out of the queue. Raises NotAllowed and CannotCancel."""
    somewhere(actor, "command.cancel")
    with transaction.atomic():
        known = QueueEntry.objects.select_related("command").get(pk=entry_id)
        if known.command.destructive:
            restraint.hold_still(known.command_id)
        rows = QueueEntry.objects.select_for_update(of=("self",))
        entry = rows.select_related("enrollment__device", "command").get(pk=entry_id)
        allow(actor, "command.cancel", device=entry.enrollment.device)
        if entry.state not in CANCELLABLE:
            raise CannotCancel(_why_not_cancel(entry))
        _finish(QueueEntry.objects.filter(pk=entry.pk), State.CANCELLED, f"by {actor.name}")
        _end_empty_hold(entry.command)
        record(
            actor,
            "command.cancel",
            subject_kind="command",
            subject_id=entry.command_uuid,
            after={"enrollment": entry.enrollment_id},
        )


def cancel_rest(actor: Actor, command: Command) -> int:
    """Cancel a command wherever it has not been delivered and `actor` may; returns for how many.
    Raises NotAllowed.
    """
    where = somewhere(actor, "command.cancel")
    with transaction.atomic():
        if command.destructive:
            command = restraint.hold_still(command.pk)
        waiting = QueueEntry.objects.filter(command=command, state__in=CANCELLABLE)
        waiting = within(waiting, where, TO_THE_SERIAL_NUMBER)
        count = _finish(waiting, State.CANCELLED, f"by {actor.name}")
        _end_empty_hold(command)
        tally.again(command.pk)
        record(
            actor,
            "command.cancel",
            subject_kind="command",
            subject_id=command.uuid,
            after={"entries": count},
        )
    return count


# What was queued for a device that begins a new enrollment, as a part of the statement that begins
# it (mdm/statements.py).
VOID = """
    UPDATE commands_queueentry q
    SET state = 'Cancelled', finished_at = now(),
        ended_because = 'the device began a new enrollment'
    WHERE q.finished_at IS NULL
          AND q.enrollment_id = ANY ((SELECT ids FROM all_of_it)::bigint[])
"""


def clear(enrollment_id: int, *, because: str) -> int:
    """End everything unfinished of an enrollment and of the users' channels under it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE commands_queueentry q
            SET state = 'Cancelled', finished_at = now(), ended_because = %(because)s
            WHERE q.finished_at IS NULL AND q.enrollment_id = ANY (ARRAY(
                SELECT %(enrollment)s::bigint
                UNION ALL SELECT id FROM mdm_enrollment WHERE parent_id = %(enrollment)s))
            """,
            {"enrollment": enrollment_id, "because": because},
        )
        return int(cursor.rowcount)


def expire(now: datetime | None = None) -> int:
    """End what nobody answered in time, though a late reply counts all the same, and what was
    asked for just as its enrollment ended."""
    unfinished = QueueEntry.objects.filter(finished_at__isnull=True)
    # Its time begins when it is let go (commands/restraint.py).
    overdue = unfinished.filter(expires_at__lte=now or timezone.now()).exclude(state=State.HELD)
    left = unfinished.filter(enrollment__state__in=_ENDED)
    return _finish(overdue, State.EXPIRED, "not answered in time") + _finish(
        left, State.CANCELLED, "the enrollment ended"
    )


# From here on one bulk enqueue follows another: they lock the same rows in different orders.
_BULK = 1000
_BULK_LOCK = 0x47554152


def _one_bulk_at_a_time() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_BULK_LOCK])


def _judge(
    command_type: CommandType, params: dict[str, object], ids: list[int], where: Where
) -> tuple[dict[Facts, list[int]], list[Refused]]:
    """The able receivers by their facts, and the refused ones."""
    known = facts.of(ids, briefly=command_type.coalesce)
    outside = beyond(ids, where)
    verdicts: dict[tuple[str, Facts], str | None] = {}
    able: dict[Facts, list[int]] = defaultdict(list)
    refused: list[Refused] = []
    for pk in ids:
        if pk not in known:
            refused.append(Refused(pk, f"There is no enrollment {pk}."))
            continue
        if pk in outside:
            refused.append(Refused(pk, BEYOND))
            continue
        if known[pk] not in verdicts:
            verdicts[known[pk]] = why_not(command_type, *known[pk], params)
        reason = verdicts[known[pk]]
        if reason is None:
            able[known[pk][1]].append(pk)
        else:
            refused.append(Refused(pk, reason))
    return able, refused


def _create(
    actor: Actor,
    command_type: CommandType,
    params: dict[str, object],
    effect: Effect,
    asked: bytes,
    retry_of: Command | None,
) -> Command:
    command = Command.objects.create(
        request_type=command_type.request_type,
        parameters=command_type.masked_parameters(params),
        retry_of=retry_of,
        destructive=effect is Effect.DESTRUCTIVE,
        asked_by=actor.name,
        asked_by_id=actor.user_id,
        asked_by_token=actor.id if actor.kind == Kind.TOKEN else "",
    )
    Asked.objects.create(command=command, sealed=asked)
    return command


def _seal_asked(request_type: str, parameters: object) -> bytes:
    known = {"request_type": request_type, "parameters": parameters}
    return seal(COMMAND, json.dumps(known, default=_in_base64).encode())


def _in_base64(data: object) -> str:
    """Data, as every edge may also give it."""
    if not isinstance(data, bytes):
        raise TypeError(f"{type(data).__name__} is nothing that a parameter can be.")
    return base64.b64encode(data).decode()


def _insert(
    command: Command,
    command_type: CommandType,
    params: dict[str, object],
    able: dict[Facts, list[int]],
    expires_at: datetime | None,
    state: QueueEntry.State,
) -> int:
    """Make the entries, one statement for all; returns how many."""
    if command_type.needs_unlock_token:
        own = _own_payloads(command.uuid, command_type, params, able)
        return _insert_entries(
            command, command_type, params, list(own), None, own, expires_at, state
        )
    payloads: dict[bytes, int] = {}
    ids: list[int] = []
    payload_ids: list[int] = []
    for about, receivers in able.items():
        body = command_plist(str(command.uuid).upper(), command_type.build(params, about))
        if body not in payloads:
            payload = Payload.objects.create(command=command, sealed=seal(COMMAND, body))
            payloads[body] = payload.pk
        ids += receivers
        payload_ids += [payloads[body]] * len(receivers)
    return _insert_entries(command, command_type, params, ids, payload_ids, None, expires_at, state)


def _own_payloads(
    command_uuid: uuid.UUID,
    command_type: CommandType,
    params: dict[str, object],
    able: dict[Facts, list[int]],
) -> dict[int, bytes]:
    tokens = dict(
        Escrow.objects.filter(
            enrollment__in=[pk for pks in able.values() for pk in pks],
            kind=Escrow.Kind.UNLOCK_TOKEN,
        ).values_list("enrollment_id", "sealed")
    )
    own: dict[int, bytes] = {}
    for about, receivers in able.items():
        for pk in receivers:
            extras = Extras(unlock_token=unseal(UNLOCK_TOKEN, tokens[pk]))
            command = command_type.build(params, about, extras)
            own[pk] = seal(COMMAND, command_plist(str(command_uuid).upper(), command))
    return own


def _insert_entries(
    command: Command,
    command_type: CommandType,
    params: dict[str, object],
    ids: list[int],
    payload_ids: list[int] | None,
    own: dict[int, bytes] | None,
    expires_at: datetime | None,
    state: QueueEntry.State,
) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO commands_queueentry
                (enrollment_id, command_id, command_uuid, state, priority, coalesce_key,
                 payload_id, sealed_payload, expires_at)
            SELECT r.enrollment_id, %(command)s, %(uuid)s, %(state)s, %(priority)s, %(coalesce)s,
                   r.payload_id, r.sealed_payload, %(expires_at)s
            FROM unnest(%(ids)s::bigint[], %(payloads)s::bigint[], %(own)s::bytea[])
                 AS r (enrollment_id, payload_id, sealed_payload)
            ON CONFLICT DO NOTHING
            """,
            {
                "command": command.pk,
                "uuid": command.uuid,
                "state": state.value,
                "priority": int(command_type.priority),
                "coalesce": command_type.coalesce_key(params),
                "ids": ids,
                "payloads": payload_ids or [],
                "own": list(own.values()) if own else [],
                "expires_at": expires_at,
            },
        )
        return int(cursor.rowcount)


def _end_empty_hold(command: Command) -> None:
    """Nothing waits for an approval any more where nothing of the command is left to hold."""
    if command.held and not QueueEntry.objects.filter(command=command, state=State.HELD).exists():
        restraint.end_held(command, "")


def _finish(entries: object, state: QueueEntry.State, because: str) -> int:
    return int(
        entries.update(  # type: ignore[attr-defined]
            state=state, finished_at=timezone.now(), ended_because=because[:200]
        )
    )


def _why_not_cancel(entry: QueueEntry) -> str:
    if entry.state == State.SENT:
        return "The device has this command already; its answer will be recorded."
    return f"This command is over: {entry.get_state_display()}."
