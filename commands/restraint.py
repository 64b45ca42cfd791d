"""What keeps destructive commands back, so that one stolen account cannot wipe a fleet.

- Each person has a budget of devices per hour, by role. What goes beyond it waits until a second
  person, who was trusted before, has approved it.
- What is for more than one device starts after a delay, in which it can be cancelled.
- A switch pauses all of them at once.

What waits is in the queue already, as entries in the state Held: the list of devices is frozen when
the command is asked for. Connect hands out none of them; `release_due` lets them go. The numbers
come from the environment, so that nobody can change them from the dashboard.

RestraintError
├── AlreadyDecided   someone decided it before, or it was cancelled or came to its end
└── NotPaused        there is nothing to resume
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, Sum
from django.utils import timezone

from commands import tally
from commands.models import Approval, Command, Pause, QueueEntry
from mdm import moments
from mdm.accounts import rights, tokens
from mdm.accounts.models import ApiToken, User
from mdm.accounts.rights import EVERYWHERE, NOWHERE, Role, Where
from mdm.audit.actor import Actor, Kind
from mdm.audit.record import NotAllowed, allow, record
from mdm.push.wake import wake
from mdm.scope import within
from mdm.webhooks.outbox import emit

HOUR = timedelta(hours=1)
# How long a command waits for its approval.
APPROVAL_LIFETIME = timedelta(days=1)
# Who approves has had that right, and their access, for so long: an account that was made or taken
# over for the purpose has not.
TRUST_AFTER = timedelta(days=1)
_PAUSE_LOCK = 0x50415553
_BUDGET_LOCK = 0x42554447

_State = QueueEntry.State


class RestraintError(Exception):
    """Its message is a sentence for people."""


class AlreadyDecided(RestraintError):
    """It waits for nobody any more."""


class NotPaused(RestraintError):
    """Destructive commands are not paused."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a command is held back at first: `approval` says what for, "" where none is needed."""

    approval: str
    starts_at: datetime | None


def judge(actor: Actor, request_type: str, targets: int) -> Hold | None:
    """Whether a destructive command to so many devices is held back. Call it in the transaction
    that makes the command: the same person's next one waits for it, and so does the switch.
    """
    _without_the_switch()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_BUDGET_LOCK, _asker(actor)]
        )
    approval = _beyond_budget(actor, request_type, targets)
    starts_at = _after_the_delay(targets)
    if approval or starts_at or active_pause():
        return Hold(approval, starts_at)
    return None


def foresee(actor: Actor, request_type: str, targets: int) -> str:
    """What will keep a destructive command to so many devices back, in a sentence; "" where nothing
    will, as far as one can say before it is asked for.
    """
    paused = active_pause()
    if paused is not None:
        return f"It will wait: {paused.began_by} paused all destructive commands."
    approval = _beyond_budget(actor, request_type, targets)
    if approval:
        return f"It will wait for a second person's approval: {approval}"
    if _after_the_delay(targets):
        return f"It starts {_in_words()} after you send it, and can be cancelled until then."
    return ""


def budget(actor: Actor, request_type: str) -> int:
    """How many devices an hour `actor` may send this destructive command to alone."""
    numbers = dict(settings.ENV.destructive_budget)
    if actor.kind == Kind.SYSTEM:
        return int(numbers[Role.ADMIN])
    right = rights.BY_NAME["command.destroy"]
    roles = {held.role for held in actor.held if held.has(right, request_type)}
    if actor.bound is not None:
        roles = {actor.bound.role} if roles else set()
    return max((int(numbers.get(role, 0)) for role in roles), default=0)


def spent(actor: Actor) -> int:
    """How many devices this person's destructive commands of the last hour are for. What was
    approved by someone else does not count."""
    mine = (
        Q(asked_by_id=actor.user_id) if actor.user_id else Q(asked_by_id=None, asked_by=actor.name)
    )
    asked = Command.objects.filter(
        mine, destructive=True, created_at__gt=timezone.now() - HOUR, approval=None
    )
    return int(asked.aggregate(targets=Sum("targets"))["targets"] or 0)


def hold_still(command_id: int) -> Command:
    """The command, which nobody else holds back, lets go or decides on until this transaction ends.
    Who changes entries of a destructive command takes it first: so no two wait for each other.
    """
    _without_the_switch()
    return Command.objects.select_for_update().get(pk=command_id)


def hold(command: Command, because: Hold) -> None:
    """Note on a command that was just made why it is held back."""
    command.held = True
    command.starts_at = because.starts_at
    command.save(update_fields=["held", "starts_at"])
    if because.approval:
        Approval.objects.create(
            command=command,
            because=because.approval,
            expires_at=timezone.now() + APPROVAL_LIFETIME,
        )
        emit("approval.wanted", str(command.uuid), _told(command))


# --- The second person --------------------------------------------------------------------------


@transaction.atomic
def approve(actor: Actor, approval_id: int) -> Approval:
    """Let the command go, after its delay. Raises NotAllowed for who asked for it or is not
    trusted yet, and AlreadyDecided.
    """
    approval = _decide(actor, approval_id, Approval.State.APPROVED, "")
    command = approval.command
    command.starts_at = _after_the_delay(command.targets)
    command.save(update_fields=["starts_at"])
    return approval


@transaction.atomic
def refuse(actor: Actor, approval_id: int, note: str = "") -> Approval:
    """End the command for all that it is for. Raises NotAllowed, AlreadyDecided."""
    approval = _decide(actor, approval_id, Approval.State.REFUSED, note)
    end_held(approval.command, f"refused by {actor.name}")
    return approval


def may_decide(actor: Actor, approval: Approval) -> str | None:
    """Why `actor` cannot decide this; None where they can."""
    try:
        _check_second(actor, approval.command)
    except NotAllowed as refused:
        return str(refused)
    return None


def _decide(actor: Actor, approval_id: int, state: Approval.State, note: str) -> Approval:
    command = hold_still(Approval.objects.values_list("command", flat=True).get(pk=approval_id))
    _check_second(actor, command)
    approval = Approval.objects.select_related("command").get(pk=approval_id)
    if approval.state != Approval.State.WAITING:
        raise AlreadyDecided(f"This is over: {approval.get_state_display().lower()}.")
    if approval.expires_at <= timezone.now():
        raise AlreadyDecided("Nobody approved it in a day; it is not sent.")
    approval.state, approval.note = state, note.strip()[:200]
    approval.decided_at, approval.decided_by = timezone.now(), actor.name
    approval.save(update_fields=["state", "note", "decided_at", "decided_by"])
    told = {**_told(approval.command), "decision": state.value, "note": approval.note}
    record(
        actor,
        "approval.decide",
        subject_kind="command",
        subject_id=approval.command.uuid,
        before={"state": Approval.State.WAITING},
        after=told,
    )
    emit("approval.decided", str(approval.command.uuid), {**told, "by": actor.name})
    return approval


def _check_second(actor: Actor, command: Command) -> None:
    allow(actor, "approval.decide")
    right = rights.BY_NAME["approval.decide"]
    if actor.kind != Kind.PERSON or actor.user_id is None:
        raise NotAllowed(right.name, "A person decides this, signed in to the dashboard.")
    if actor.user_id == command.asked_by_id:
        raise NotAllowed(right.name, "You asked for it yourself; someone else decides.")
    now = timezone.now()
    user = User.objects.get(pk=actor.user_id)
    given = [each.given_at for each in user.grants.current() if each.held.has(right)]
    since = max(user.trusted_since, min(given, default=now))
    if since > now - TRUST_AFTER:
        raise NotAllowed(
            right.name,
            f"You can decide this from {moments.moment(since + TRUST_AFTER)} on: whoever got the"
            " right to approve, or access to this account, just now waits a day.",
        )


# --- The switch ---------------------------------------------------------------------------------


def active_pause() -> Pause | None:
    """The pause that holds now."""
    return Pause.objects.filter(ended_at=None).first()


@transaction.atomic
def pause(actor: Actor, reason: str = "") -> Pause:
    """Hold every destructive command that no device has yet, and all to come. Raises NotAllowed."""
    allow(actor, "destructive.pause")
    _throw_the_switch()
    known = active_pause()
    if known is not None:
        return known
    made = Pause.objects.create(began_by=actor.name, reason=reason.strip()[:200])
    held = _hold_all()
    told = {"reason": made.reason, "commands": held}
    record(actor, "destructive.pause", subject_kind="pause", subject_id=made.pk, after=told)
    emit("destructive.paused", str(made.pk), {"by": actor.name, **told})
    return made


@transaction.atomic
def resume(actor: Actor) -> Pause:
    """Let destructive commands go again, those that wait included. Raises NotAllowed, NotPaused."""
    allow(actor, "destructive.resume")
    found = Pause.objects.select_for_update().filter(ended_at=None).first()
    if found is None:
        raise NotPaused("Destructive commands are not paused.")
    found.ended_at, found.ended_by = timezone.now(), actor.name
    found.save(update_fields=["ended_at", "ended_by"])
    record(
        actor,
        "destructive.resume",
        subject_kind="pause",
        subject_id=found.pk,
        before={"began_by": found.began_by, "reason": found.reason},
    )
    emit("destructive.resumed", str(found.pk), {"by": actor.name})
    return found


def _hold_all() -> int:
    """Hold what is queued and destructive; returns how many commands that were."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH undelivered AS (
                UPDATE commands_queueentry q SET state = 'Held'
                FROM commands_command c
                WHERE c.id = q.command_id AND c.destructive
                      AND q.finished_at IS NULL AND q.state IN ('Queued', 'NotNow')
                RETURNING q.command_id
            )
            UPDATE commands_command SET held = true
            WHERE id IN (SELECT command_id FROM undelivered)
            """
        )
        count = int(cursor.rowcount)
    if count:
        tally.soon(Command.objects.filter(held=True))
    return count


# --- Letting go ---------------------------------------------------------------------------------


def release_due() -> int:
    """Let go what nothing holds back any more, and end what nobody approved in time, or whose asker
    has lost their access; returns how many entries were let go. Any number may run it at once.
    """
    if active_pause():
        with transaction.atomic():
            # What a device had, and has put off since, would be offered to it again.
            _throw_the_switch()
            _hold_all()
    count = 0
    for pk in _ripe(timezone.now()):
        with transaction.atomic():
            count += _release(pk)
    return count


def _ripe(now: datetime) -> list[int]:
    """The held commands to look at: those that may go, and those whose approval is overdue."""
    overdue = Q(approval__state=Approval.State.WAITING, approval__expires_at__lte=now)
    ready = Q(approval=None) | Q(approval__state=Approval.State.APPROVED)
    due = ready & (Q(starts_at=None) | Q(starts_at__lte=now))
    held = Command.objects.filter(held=True).filter(overdue if active_pause() else overdue | due)
    return list(held.order_by("pk").values_list("pk", flat=True))


def _release(pk: int) -> int:
    _without_the_switch()
    rows = Command.objects.select_for_update(skip_locked=True)
    command = rows.filter(pk=pk, held=True).first()
    if command is None:
        return 0
    approval = Approval.objects.filter(command=command).first()
    now = timezone.now()
    where, why_not = _reach(command)
    if not where:
        end_held(command, f"{why_not} before it began")
        return 0
    if approval is not None and approval.state == Approval.State.WAITING:
        if approval.expires_at <= now:
            Approval.objects.filter(pk=approval.pk).update(state=Approval.State.EXPIRED)
            end_held(command, "nobody approved it in time")
        return 0
    if active_pause() or (command.starts_at is not None and command.starts_at > now):
        return 0
    return _let_go(command, where)


def _let_go(command: Command, where: Where) -> int:
    if not where.everywhere:
        _end_beyond(command, where)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE commands_queueentry
            SET state = 'Queued', expires_at = expires_at + (now() - created_at)
            WHERE command_id = %s AND state = 'Held' AND finished_at IS NULL
            RETURNING enrollment_id
            """,
            [command.pk],
        )
        freed = sorted(enrollment for (enrollment,) in cursor.fetchall())
    Command.objects.filter(pk=command.pk).update(held=False)
    tally.again(command.pk)
    wake(freed)
    return len(freed)


def end_held(command: Command, because: str) -> int:
    """Cancel what is held of a command, and with it the wait for its approval."""
    count = QueueEntry.objects.filter(command=command, state=_State.HELD).update(
        state=_State.CANCELLED, finished_at=timezone.now(), ended_because=because[:200]
    )
    Command.objects.filter(pk=command.pk).update(held=False)
    Approval.objects.filter(command=command, state=Approval.State.WAITING).update(
        state=Approval.State.WITHDRAWN
    )
    tally.again(command.pk)
    return count


def why_held(command: Command, approval: Approval | None, paused: Pause | None) -> str:
    """One sentence on what a held command waits for."""
    if approval is not None and approval.state == Approval.State.WAITING:
        return f"It waits for a second person's approval: {approval.because}"
    if paused is not None:
        return f"{paused.began_by} paused all destructive commands."
    if command.starts_at is not None and command.starts_at > timezone.now():
        starts = moments.clock(command.starts_at, seconds=True)
        return f"It starts at {starts} and can be cancelled until then."
    return "It is about to start."


def _reach(command: Command) -> tuple[Where, str]:
    """To which devices whoever asked for it may still send it, and why to none where to none."""
    lost = f"{command.asked_by} lost access"
    if command.asked_by_id is None:
        return EVERYWHERE, ""
    asker = User.objects.filter(pk=command.asked_by_id, is_active=True).first()
    if asker is None:
        return NOWHERE, lost
    actor = Actor.person(asker)
    if command.asked_by_token:
        token = ApiToken.objects.filter(token_key=command.asked_by_token, user=asker).first()
        if token is None:
            return NOWHERE, "the API token that asked for it was revoked"
        if tokens.has_expired(token):
            return NOWHERE, "the API token that asked for it expired"
        actor = Actor.token(token)
    return actor.where("command.destroy", command.request_type), lost


def _end_beyond(command: Command, where: Where) -> None:
    """Cancel what is for devices that the asker does not reach any more."""
    held = QueueEntry.objects.filter(command=command, state=_State.HELD)
    covered = within(held, where, "enrollment__device__serial_number").values("pk")
    held.exclude(pk__in=covered).update(
        state=_State.CANCELLED,
        finished_at=timezone.now(),
        ended_because=f"{command.asked_by} lost access to it before it began"[:200],
    )


def _beyond_budget(actor: Actor, request_type: str, targets: int) -> str:
    """Why a second person is needed; "" where none is."""
    limit, before = budget(actor, request_type), spent(actor)
    if before + targets <= limit:
        return ""
    devices = f"{targets:,} device{'' if targets == 1 else 's'}"
    return (
        f"it is for {devices}, and {actor.name} may send destructive commands to {limit:,} an hour"
        f" alone ({before:,} used)."
    )


def _in_words() -> str:
    """The delay, for people."""
    seconds = int(settings.ENV.destructive_delay.total_seconds())
    count, unit = (seconds, "second") if seconds % 60 else (seconds // 60, "minute")
    return f"{count:,} {unit}{'' if count == 1 else 's'}"


def undelivered() -> int:
    """For how many devices a destructive command waits that no device has yet."""
    return QueueEntry.objects.filter(
        finished_at=None, state__in=[_State.QUEUED, _State.NOT_NOW], command__destructive=True
    ).count()


def held_by_the_switch() -> int:
    """For how many devices a destructive command waits that nothing but the switch holds back."""
    ready = Q(command__approval=None) | Q(command__approval__state=Approval.State.APPROVED)
    return QueueEntry.objects.filter(ready, command__held=True, state=_State.HELD).count()


def _throw_the_switch() -> None:
    """Wait for everyone who asks for, decides on, cancels or lets go a destructive command now."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_PAUSE_LOCK])


def _without_the_switch() -> None:
    """Let the switch wait until this transaction ends, and wait for it if it is just thrown."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_PAUSE_LOCK])


def _after_the_delay(targets: int) -> datetime | None:
    """When a command to so many devices starts at the earliest; None where at once."""
    delay: timedelta = settings.ENV.destructive_delay
    return timezone.now() + delay if targets > 1 and delay else None


def _asker(actor: Actor) -> str:
    return str(actor.user_id) if actor.user_id else actor.name


def _told(command: Command) -> dict[str, object]:
    return {
        "request_type": command.request_type,
        "targets": command.targets,
        "asked_by": command.asked_by,
    }
