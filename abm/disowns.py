"""Disowning: having Apple take devices out of the organization, which nobody can undo.

A person confirms it once, and a worker asks Apple, some devices at a time. No device is asked about
twice: where Apple was asked and no answer came, nobody knows, and the sync finds out. So it does
for every other answer: what left the list is Apple's to say (`sync.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from celery import current_app
from django.db import transaction
from django.db.models import Count, QuerySet
from django.utils import timezone

from abm import client as apple
from abm import conversation, runs, servers, state
from abm.client import AbmError, Client, Patience
from abm.conversation import Busy
from abm.models import AbmDevice, Disown, DisownDevice, LedgerEntry, Server
from mdm import moments
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record

DISOWN = "abm.tasks.disown"
_EXPIRES = 290
# Apple is asked about so many at a time: what is unclear after a break is no more than these.
BATCH = 100
# A wish that could not be carried out for so long is not carried out any more: whoever had it does
# not expect it now.
GOOD_FOR = timedelta(hours=1)
_NOT_TAKEN = timedelta(seconds=20)
# The audit row names so many; the rest is in the rows of the Disown.
_NAMED = 1_000

_log = structlog.get_logger(__name__)
_State = DisownDevice.State
UNSETTLED = (_State.WAITING, _State.ASKED)
Problem = Server.Problem


class CannotDisown(Exception):
    """Why nothing of it can be done now, and what to do."""


def ask(actor: Actor, listed: Iterable[int]) -> Disown:
    """Have Apple disown the devices of these ids of AbmDevice, which all are to be on the list of
    one of our servers now. Raises NotAllowed, CannotDisown; then nothing is disowned.
    """
    allow(actor, "abm.disown")
    found = _found(listed)
    _check(found)
    with transaction.atomic():
        disown = Disown.objects.create(asked_by=actor.name)
        DisownDevice.objects.bulk_create(
            (
                DisownDevice(disown=disown, server_id=server_id, serial_number=serial)
                for serial, server_id in found.items()
            ),
            batch_size=2_000,
            ignore_conflicts=True,
        )
        if disown.devices.count() != len(found):
            raise CannotDisown(
                "Some of these devices are being disowned already. Wait until that is over."
            )
        record(
            actor,
            "abm.disown",
            subject_kind="abm_disown",
            subject_id=disown.pk,
            after={"devices": len(found), "serial_numbers": list(found)[:_NAMED]},
        )
        transaction.on_commit(lambda: _publish(set(found.values())))
    return disown


def stop(actor: Actor, disown: Disown) -> int:
    """Leave those about which Apple was not asked yet alone; returns how many. Raises
    NotAllowed.
    """
    allow(actor, "abm.disown")
    with transaction.atomic():
        # Those about which Apple is being asked now are left alone too, should it refuse to listen.
        Disown.objects.filter(pk=disown.pk, stopped_at=None).update(
            stopped_at=timezone.now(), stopped_by=actor.name
        )
        count = _settle(
            disown.devices.filter(state=_State.WAITING),
            _State.NOT_ASKED,
            f"{actor.name} stopped it before.",
        )
        if count:
            record(
                actor,
                "abm.disown.stop",
                subject_kind="abm_disown",
                subject_id=disown.pk,
                after={"not_asked": count},
            )
    return count


def counts(disown: Disown) -> dict[str, int]:
    """How many devices are in which state."""
    rows = disown.devices.order_by().values_list("state").annotate(count=Count("*"))
    return dict(rows)


def waits_for(server: Server, now: datetime) -> str:
    """What those wait for that Apple was not asked about for a while, in a sentence; "" where a
    worker is about to take them.
    """
    if server.retry_at is not None and _paused(server, now):
        again = moments.clock(server.retry_at)
        return f"Apple asked for a pause; {server} is asked again after {again}."
    if conversation.taken(server.pk):
        asked = server.disowned.filter(state=_State.ASKED).exists()
        return "" if asked else f"A sync of {server} is under way; they come when it is through."
    oldest = _waiting(server).order_by("pk").values_list("disown__asked_at", flat=True).first()
    if oldest is not None and now - oldest > _NOT_TAKEN:
        return f"No worker has taken those of {server} yet; the next round, within 5 minutes, will."
    return ""


def publish(server_id: int) -> None:
    """Call a worker to a server. A broker that is down delays it: the beat finds the server."""
    try:
        current_app.send_task(
            DISOWN, [server_id], expires=_EXPIRES, retry=False, ignore_result=True
        )
    except Exception as error:
        _log.warning("The broker does not take tasks; the beat will disown", error=str(error))


def publish_waiting(server_id: int | None = None) -> None:
    """Call workers to the servers for which something is unsettled, or to this one if it is."""
    rows = DisownDevice.objects.filter(state__in=UNSETTLED)
    if server_id is not None:
        rows = rows.filter(server=server_id)
    _publish(rows.order_by().values_list("server_id", flat=True).distinct())


def _publish(server_ids: Iterable[int]) -> None:
    for server_id in server_ids:
        publish(server_id)


def carry_out(server_id: int, patience: Patience | None = None) -> None:
    """Ask Apple about all that waits for this server, and then call for a sync. Nothing where a
    sync is under way: its worker calls when it is through.
    """
    try:
        with conversation.alone(server_id):
            server = Server.objects.get(pk=server_id)
            _settle_broken_off(server)
            _settle_too_old(server)
            _settle_stopped(server)
            _ask_all(server, patience or Patience())
    except Busy:
        return
    if server.devices.filter(doubtful=True).exists() and server_id in servers.due():
        runs.want(server, runs.AFTER_DISOWNING)


# --- Asking for it -------------------------------------------------------------------------------


def _found(listed: Iterable[int]) -> dict[str, int]:
    """The servers of the serial numbers."""
    wanted = sorted(set(listed))
    rows = AbmDevice.objects.filter(current=True, removed_at=None).order_by("serial_number")
    named = rows.extra(where=["abm_abmdevice.id = ANY(%s)"], params=[wanted])
    found = dict(named.values_list("serial_number", "server_id"))
    gone = len(wanted) - len(found)
    if not found:
        raise CannotDisown("None of these devices is in Apple Business Manager now.")
    if gone:
        raise CannotDisown(
            f"{gone:,} of these devices {'has' if gone == 1 else 'have'} left the list, or moved"
            " to another server. Choose again."
        )
    return found


def _check(found: Mapping[str, int]) -> None:
    for server in Server.objects.filter(pk__in=set(found.values())).order_by("pk"):
        why = why_not(server)
        if why:
            raise CannotDisown(why)


def why_not(server: Server) -> str:
    """Why Apple cannot be asked as this server, and what to do; "" where it can."""
    found = state.of(server)
    if found.syncs:
        return ""
    return f"Apple cannot be asked for {server}: {found.why} {found.fix}".strip()


# --- Asking Apple --------------------------------------------------------------------------------


def _ask_all(server: Server, patience: Patience) -> None:
    if not _waiting(server).exists() or _paused(server, timezone.now()):
        return
    why = why_not(server)
    if why:
        _settle(_waiting(server), _State.NOT_ASKED, why)
        return
    try:
        with conversation.with_apple(server, patience) as client:
            # Opens a session: what goes wrong until here leaves everything as it was.
            client.account()
            while batch := _take(server):
                _ask(client, server, batch)
    except AbmError as error:
        _note(server, error)


def _ask(client: Client, server: Server, batch: Sequence[DisownDevice]) -> None:
    """Raises AbmError where Apple did not answer about these."""
    serials = _serials(batch)
    try:
        answers = client.disown(serials)
    except apple.Unavailable as error:
        said = f"Apple was asked, and no answer came: {error} The sync finds out."
        _write(server, batch, dict.fromkeys(serials, (_State.UNCLEAR, "", said)))
        raise
    except AbmError:
        _put_back(batch)
        _settle_stopped(server)
        raise
    _write(server, batch, {serial: _read(answers.get(serial)) for serial in serials})


def _take(server: Server) -> list[DisownDevice]:
    """The next to ask about, noted as such before Apple is asked. None once the server was
    disconnected: what then waits is settled by the next who looks.
    """
    with transaction.atomic():
        here = Server.objects.select_for_update().filter(pk=server.pk, disconnected_at=None)
        if not here.values_list("pk"):
            return []
        batch = list(_waiting(server).select_for_update(skip_locked=True).order_by("pk")[:BATCH])
        _same(batch).update(state=_State.ASKED, asked_at=timezone.now())
    return batch


def _put_back(batch: Sequence[DisownDevice]) -> None:
    """Apple refused the request as a whole."""
    _same(batch).update(state=_State.WAITING, asked_at=None)


def _note(server: Server, error: AbmError) -> None:
    """Apple does not listen now. What may pass by itself is tried again by the beat; the rest ends
    here, so that nothing is disowned when someone mends the server days later.
    """
    problem = state.problem_of(error)
    state.note(server, problem, str(error), error.retry_after)
    if problem not in {Problem.THROTTLED, Problem.UNREACHABLE}:
        said = f"Apple refused to be asked: {error or problem.label}"
        _settle(_waiting(server), _State.NOT_ASKED, said)


_Answer = tuple[DisownDevice.State, str, str]


def _read(status: str | None) -> _Answer:
    """The state, Apple's status and the sentence for one device."""
    if status == "SUCCESS":
        return _State.DISOWNED, status, ""
    if status == "NOT_ACCESSIBLE":
        return _State.NOT_OURS, status, "Apple says that it is not assigned to this server."
    if status is None:
        return _State.UNCLEAR, "", "Apple's answer does not name it. The sync finds out."
    return _State.REFUSED, status, f"Apple answered {status[:100]}. It stays as it was."


def _write(server: Server, batch: Sequence[DisownDevice], read: Mapping[str, _Answer]) -> None:
    """What Apple answered: into the rows and the ledger, and for the next sync to look at."""
    now = timezone.now()
    for each in batch:
        each.state, _, each.sentence = read[each.serial_number]
        each.sentence, each.settled_at = each.sentence[:500], now
    with transaction.atomic():
        DisownDevice.objects.bulk_update(batch, ["state", "sentence", "settled_at"])
        _doubt(server, batch, {serial: status for serial, (_, status, _) in read.items()})


def _doubt(server: Server, asked: Sequence[DisownDevice], said: Mapping[str, str]) -> None:
    LedgerEntry.objects.bulk_create(
        LedgerEntry(
            server=server,
            serial_number=each.serial_number,
            source=LedgerEntry.Source.DISOWN,
            op_type=said.get(each.serial_number, "")[:1_000],
            decision=LedgerEntry.Decision.ASKED,
        )
        for each in asked
    )
    server.devices.filter(serial_number__in=_serials(asked)).update(doubtful=True)


# --- What else becomes of it ---------------------------------------------------------------------


def _waiting(server: Server) -> QuerySet[DisownDevice]:
    return DisownDevice.objects.filter(server=server, state=_State.WAITING)


def _paused(server: Server, now: datetime) -> bool:
    """Whether Apple asked for some peace; the beat comes again."""
    return server.retry_at is not None and server.retry_at > now


def _settle_broken_off(server: Server) -> None:
    """Those about which a worker asked that has ended since: call it inside `alone`."""
    with transaction.atomic():
        asked = list(DisownDevice.objects.filter(server=server, state=_State.ASKED))
        said = "The worker ended while it asked Apple. The sync finds out."
        _settle(_same(asked), _State.UNCLEAR, said)
        _doubt(server, asked, {})


def _settle_too_old(server: Server) -> None:
    old = _waiting(server).filter(disown__asked_at__lt=timezone.now() - GOOD_FOR)
    said = "Apple could not be asked within an hour. Ask again if you still want it."
    _settle(old, _State.NOT_ASKED, said)


def _settle_stopped(server: Server) -> None:
    rows = _waiting(server).filter(disown__stopped_at__isnull=False)
    for disown in Disown.objects.filter(pk__in=rows.order_by().values("disown").distinct()):
        said = f"{disown.stopped_by} stopped it before."
        _settle(rows.filter(disown=disown), _State.NOT_ASKED, said)


def _same(rows: Iterable[DisownDevice]) -> QuerySet[DisownDevice]:
    return DisownDevice.objects.filter(pk__in=[row.pk for row in rows])


def _settle(rows: QuerySet[DisownDevice], ended: DisownDevice.State, sentence: str) -> int:
    return rows.update(state=ended, sentence=sentence[:500], settled_at=timezone.now())


def _serials(batch: Iterable[DisownDevice]) -> list[str]:
    return [each.serial_number for each in batch]
