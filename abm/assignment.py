"""Telling Apple which ADE profile each device gets: what differs between our wishes and Apple's
facts (`differences.py`) is told in batches, and what Apple then says of these devices is read back,
so that the facts are always Apple's own.

Nothing is told twice in a row: every answer cools its serial number down for a while. A wish that
has not changed and that Apple carries out is told once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from celery import current_app
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.utils import timezone

from abm import client as apple
from abm import conversation, decisions, differences, runs, servers, state, store
from abm.client import AbmError, Client, Patience
from abm.conversation import Busy
from abm.differences import Counts, Difference
from abm.models import Assigning, Definition, LedgerEntry, Server, SyncRun, Wish
from abm.store import Overtaken
from mdm import moments, secrets
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record

ASSIGN = "abm.tasks.assign"
PURPOSE = "ade_profile"
_EXPIRES = 290
# The sync comes first: after so long it gets its turn.
_SYNC_EVERY = timedelta(minutes=4, seconds=30)
_A_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
# Our own word beside Apple's statuses: it could not be reached, or its answer made no sense. Such
# devices and profiles wait for two beats, so that others get their turn first.
UNANSWERED = "UNANSWERED"
_ASIDE = timedelta(minutes=10)
# How long a batch takes where none was measured yet: a request and the reading back.
_USUAL_SECONDS = 1.5

_State = Definition.State
_log = structlog.get_logger(__name__)


# --- Calling workers -----------------------------------------------------------------------------


def publish(server_id: int) -> None:
    """Call a worker to a server. A broker that is down delays it: the beat finds the server."""
    try:
        current_app.send_task(
            ASSIGN, [server_id], expires=_EXPIRES, retry=False, ignore_result=True
        )
    except Exception as error:
        _log.warning("The broker does not take tasks; the beat will assign", error=str(error))


def publish_waiting(only: int | None = None) -> None:
    """Call workers to the servers whose Apple could be told something now, or to one of them."""
    now = timezone.now()
    for server_id in servers.due(now):
        if only in {None, server_id} and differences.exist(server_id, now):
            publish(server_id)


# --- Pausing -------------------------------------------------------------------------------------


def pause(actor: Actor, server: Server) -> None:
    """Tell Apple nothing for this server until someone resumes. Raises NotAllowed."""
    allow(actor, "abm.assign.pause")
    _set_paused(actor, server, timezone.now(), actor.name)


def resume(actor: Actor, server: Server) -> None:
    """Go on where it was paused. Raises NotAllowed."""
    allow(actor, "abm.assign.pause")
    _set_paused(actor, server, None, "")
    publish(server.pk)


def _set_paused(actor: Actor, server: Server, at: datetime | None, by: str) -> None:
    with transaction.atomic():
        rows = Server.objects.filter(pk=server.pk, assigning_paused_at__isnull=at is not None)
        if rows.update(assigning_paused_at=at, assigning_paused_by=by):
            record(
                actor,
                "abm.assign.pause" if at else "abm.assign.resume",
                subject_kind="abm_server",
                subject_id=server.pk,
            )
    server.refresh_from_db(fields=["assigning_paused_at", "assigning_paused_by"])


# --- The plan ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is ahead for a server: how many devices Apple is still to be told of, in how many
    requests, for how long, and how many wait for their next try until `next_at`; and how many are
    settled, or should have no profile.
    """

    due: int
    cooling: int
    undefined: int
    batches: int
    seconds: float
    next_at: datetime | None
    settled: int
    unassigned: int
    blocked: str


def plan(server: Server) -> Plan:
    """What is ahead, as of now."""
    return plans([server])[server.pk]


def plans(servers: Sequence[Server]) -> dict[int, Plan]:
    """The same of each of these servers, in as many statements."""
    found = differences.counts_of([server.pk for server in servers], timezone.now())
    return _planned(servers, found)


def planned(servers: Sequence[Server], due: Mapping[int, int]) -> dict[int, Plan]:
    """What telling Apple of so many devices of each of these servers would cost."""
    return _planned(servers, {pk: Counts(due=devices) for pk, devices in due.items()})


def _planned(servers: Sequence[Server], found: Mapping[int, Counts]) -> dict[int, Plan]:
    now, seconds = timezone.now(), _seconds_per_batch(servers)
    made = {}
    for server in servers:
        counts = found[server.pk]
        batches = math.ceil(counts.due / batch_size(server))
        made[server.pk] = Plan(
            due=counts.due,
            cooling=counts.cooling,
            undefined=counts.undefined,
            batches=batches,
            seconds=batches * seconds.get(server.pk, _USUAL_SECONDS),
            next_at=counts.next_at,
            settled=counts.settled,
            unassigned=counts.unassigned,
            blocked=why_not(server, now),
        )
    return made


def why_not(server: Server, now: datetime) -> str:
    """Why Apple is told nothing for this server now, in a sentence; "" where it is."""
    if server.assigning_paused_at is not None:
        return (
            f"{server.assigning_paused_by} paused the assignment for {server} on"
            f" {moments.moment(server.assigning_paused_at)}."
        )
    found = state.of(server, now)
    if not found.syncs:
        return f"Apple cannot be asked for {server}: {found.why} {found.fix}".strip()
    if server.retry_at is not None and server.retry_at > now:
        again = moments.clock(server.retry_at)
        return f"Apple asked for a pause; {server} is asked again after {again}."
    return ""


def batch_size(server: Server) -> int:
    """How many devices one request names: at most what Apple takes."""
    return max(1, min(server.assigning_batch, apple.MOST_SERIALS))


def _seconds_per_batch(servers: Sequence[Server]) -> dict[int, float]:
    """What a request took of late, by the server's id; of those that made any."""
    made = Assigning.objects.filter(server=OuterRef("pk"), requests__gt=0, moved_at__isnull=False)
    last = Server.objects.filter(pk__in=[server.pk for server in servers]).values_list(
        Subquery(made.order_by("-pk").values("pk")[:1])
    )
    return {
        each.server_id: max(0.05, (each.moved_at - each.began_at).total_seconds() / each.requests)
        for each in Assigning.objects.filter(pk__in=last)
        if each.moved_at is not None
    }


# --- Telling Apple -------------------------------------------------------------------------------


def carry_out(server_id: int, patience: Patience | None = None) -> None:
    """Define what is to be defined and assign what differs, until nothing is due. Nothing where
    another conversation is under way: whoever has it calls when it is through. A sync that is due
    gets its turn in between.
    """
    try:
        with conversation.alone(server_id):
            server = Server.objects.get(pk=server_id)
            went_well = _converse(server, patience or Patience())
    except Busy:
        return
    if _sync_is_due(server):
        # One that cannot be synced, or that Apple wants a pause from, would come back here at once.
        if server_id in servers.due():
            runs.publish(server_id)
    elif went_well and _is_due(server):
        # It came up at the very end, and found the conversation taken.
        publish(server_id)


def _is_due(server: Server) -> bool:
    now = timezone.now()
    return not why_not(server, now) and differences.exist(server.pk, now)


def _converse(server: Server, patience: Patience) -> bool:
    """False where Apple did not listen."""
    if not _is_due(server):
        if not differences.exist(server.pk, timezone.now()):
            _finish(server)
        return True
    try:
        with conversation.with_apple(server, patience) as client:
            _Telling(server, client).through()
    except AbmError as error:
        state.note(server, state.problem_of(error), str(error), error.retry_after)
        return False
    except Overtaken:
        return False
    return True


@dataclass
class _Telling:
    """One conversation."""

    server: Server
    client: Client

    def through(self) -> None:
        """Raises AbmError."""
        while True:
            self._define()
            size = batch_size(self.server)
            batch = differences.next_batch(self.server.pk, timezone.now(), size)
            if not batch:
                _finish(self.server)
                return
            self._tell(batch)
            if self._must_stop():
                return

    def _must_stop(self) -> bool:
        self.server.refresh_from_db()
        gone = self.server.disconnected_at or self.server.assigning_paused_at
        return gone is not None or _sync_is_due(self.server)

    # --- Profiles ----------------------------------------------------------------------------

    def _define(self) -> None:
        wished = Exists(Wish.objects.filter(definition=OuterRef("pk")))
        rows = Definition.objects.filter(wished, server=self.server).exclude(state=_State.DEFINED)
        due = Q(retry_at=None) | Q(retry_at__lte=timezone.now())
        for each in rows.filter(due).order_by("pk"):
            self._define_one(each)

    def _define_one(self, definition: Definition) -> None:
        document = json.loads(secrets.unseal(PURPOSE, definition.sealed_document))
        definition.asked_at = timezone.now()
        try:
            definition.profile_uuid, _ = self.client.define_profile(document)
        except apple.Refused as refused:
            definition.state = _State.REFUSED
            definition.refusal = refused.said[:300]
            definition.retry_at = definition.asked_at + _A_DAY
        except apple.Unavailable:
            definition.retry_at = timezone.now() + _ASIDE
            _save(definition)
            raise
        else:
            definition.state, definition.refusal = _State.DEFINED, ""
            definition.defined_at, definition.retry_at = timezone.now(), None
        _save(definition)

    # --- Devices -----------------------------------------------------------------------------

    def _tell(self, batch: Sequence[Difference]) -> None:
        """Raises AbmError where Apple did not answer about these."""
        serials = [each.serial_number for each in batch]
        wanted = batch[0].definition_id
        definition = Definition.objects.get(pk=wanted) if wanted else None
        wait: float | None = None
        asked_at = timezone.now()
        try:
            if definition is None:
                answers = self.client.remove_profile(serials)
            else:
                answers, wait = self.client.assign_profile(definition.profile_uuid, serials)
        except apple.Refused as refused:
            if definition is not None and "PROFILE_NOT_FOUND" in refused.said.upper():
                self._define_again(definition)
                return
            answers = dict.fromkeys(serials, refused.said[:100] or "FAILED")
        except apple.Unavailable:
            _set_aside(self.server, batch, definition)
            raise
        _note(self.server, batch, definition, answers, wait, asked_at)
        self._read_back([serial for serial in serials if answers.get(serial) == "SUCCESS"])

    def _define_again(self, definition: Definition) -> None:
        """Apple has forgotten it. Once a day at most, or else this never ends."""
        now = timezone.now()
        lost = definition.defined_at is not None and now - definition.defined_at < _A_DAY
        definition.state = _State.REFUSED if lost else _State.WAITING
        definition.refusal = "PROFILE_NOT_FOUND"
        definition.retry_at = now + _A_DAY if lost else None
        definition.profile_uuid = ""
        _save(definition)
        if not lost:
            self._define_one(definition)

    def _read_back(self, serials: list[str]) -> None:
        """Raises AbmError; then the sync asks about them. Raises Overtaken."""
        if not serials:
            return
        asked = dict.fromkeys(serials)
        held = store.held(self.server, serials)
        try:
            answers, as_of = self.client.details(serials)
        except AbmError:
            self.server.devices.filter(serial_number__in=serials).update(doubtful=True)
            raise
        outcome = decisions.from_details(asked, answers, held, as_of)
        store.write_answers(self.server, outcome, held)


def _save(definition: Definition) -> None:
    """What the assignment says of it; Apple's copy is written by others (`copies.py`)."""
    definition.save(
        update_fields=[
            *("state", "refusal", "profile_uuid"),
            *("asked_at", "defined_at", "retry_at"),
        ]
    )


def _set_aside(server: Server, batch: Sequence[Difference], definition: Definition | None) -> None:
    """Apple did not answer about these: the next conversation begins with others."""
    now = timezone.now()
    with transaction.atomic():
        same = Wish.objects.select_for_update(of=("self",)).filter(
            listed__in=[each.listed_id for each in batch], definition=definition
        )
        ids = [wish.pk for wish in same.order_by("listed_id")]
        Wish.objects.filter(pk__in=ids).update(
            answer=UNANSWERED, tried_at=now, retry_at=now + _ASIDE
        )
        _write_ledger(server, batch, definition, dict.fromkeys(_serials(batch), UNANSWERED))


def _note(
    server: Server,
    batch: Sequence[Difference],
    definition: Definition | None,
    answers: Mapping[str, str],
    wait: float | None,
    asked_at: datetime,
) -> None:
    """Keep what Apple answered: in the wishes, the ledger and the counts. A wish that has changed
    since Apple was asked knows nothing of the answer.
    """
    now = timezone.now()
    with transaction.atomic():
        same = Wish.objects.select_for_update(of=("self",)).filter(
            listed__in=[each.listed_id for each in batch], definition=definition
        )
        wishes = {wish.listed_id: wish for wish in same.order_by("listed_id")}
        for each in batch:
            if (wish := wishes.get(each.listed_id)) is None:
                continue
            recent = each.tried_at is not None and now - each.tried_at < 2 * _A_DAY
            wish.tries = min(each.tries + 1, 1_000) if recent else 1
            wish.tried_at, wish.answer = now, answers.get(each.serial_number, "")[:1_000]
            wish.retry_at = now + cool_down(wish.answer, wish.tries, wait)
        Wish.objects.bulk_update(wishes.values(), ["tries", "tried_at", "answer", "retry_at"])
        _write_ledger(server, batch, definition, answers)
        refused = [serial for serial in _serials(batch) if answers.get(serial) == "NOT_ACCESSIBLE"]
        if refused:
            # Apple says that it is not ours: the sync finds out.
            server.devices.filter(serial_number__in=refused).update(doubtful=True)
        succeeded = sum(answers.get(serial) == "SUCCESS" for serial in _serials(batch))
        _count(server, succeeded, len(batch) - succeeded, asked_at)


def cool_down(answer: str, tries: int, wait: float | None) -> timedelta:
    """How long a serial number is left alone after the `tries`-th answer in a row. `wait` is what
    Apple said to throttled ones, in seconds. A success rests too: where it had no effect, or
    somebody else undoes it, nothing may go to and fro.
    """
    twice = 1 << min(max(tries - 1, 0), 10)
    if answer == "SUCCESS":
        return min(_HOUR * twice, _A_DAY)
    if answer == "THROTTLED":
        # Apple leaves throttled devices alone for about a day; asking within it renews that.
        said = timedelta(seconds=min(wait, 7 * 86_400.0)) if wait else _A_DAY
        return max(said, min(said * twice, 2 * _A_DAY))
    if answer == "NOT_ACCESSIBLE":
        return _A_DAY
    return min(3 * _HOUR * twice, _A_DAY)


def _write_ledger(
    server: Server,
    batch: Sequence[Difference],
    definition: Definition | None,
    answers: Mapping[str, str],
) -> None:
    told = definition.profile_uuid if definition else ""
    LedgerEntry.objects.bulk_create(
        LedgerEntry(
            server=server,
            serial_number=each.serial_number,
            source=LedgerEntry.Source.ASSIGN,
            op_type=answers.get(each.serial_number, "")[:1_000],
            decision=LedgerEntry.Decision.ASKED,
            changes={"profile_uuid": [each.had, told]},
        )
        for each in batch
    )


def _count(server: Server, succeeded: int, refused: int, asked_at: datetime) -> None:
    now = timezone.now()
    open_one = Assigning.objects.filter(server=server, finished_at=None)
    more = {
        "requests": F("requests") + 1,
        "succeeded": F("succeeded") + succeeded,
        "refused": F("refused") + refused,
        "moved_at": now,
    }
    if not open_one.update(**more):
        Assigning.objects.create(
            server=server,
            began_at=asked_at,
            requests=1,
            succeeded=succeeded,
            refused=refused,
            moved_at=now,
        )


def _finish(server: Server) -> None:
    """Nothing is due: a stretch that was under way is over, unless someone paused it."""
    if server.assigning_paused_at is None:
        Assigning.objects.filter(server=server, finished_at=None).update(finished_at=timezone.now())


def _sync_is_due(server: Server) -> bool:
    last = SyncRun.objects.filter(server=server).order_by("-pk").first()
    if last is None or last.state == SyncRun.State.WAITING:
        return True
    return timezone.now() - (last.finished_at or last.started_at or last.asked_at) >= _SYNC_EVERY


def _serials(batch: Iterable[Difference]) -> list[str]:
    return [each.serial_number for each in batch]
