"""Runs of the sync: asking for one, beginning it, keeping its log, ending it. What a run does is
`sync.py`.
"""

from __future__ import annotations

import structlog
from celery import current_app
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from abm import conversation, state
from abm.models import RunLine, Server, SyncRun
from mdm import moments
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record

SYNC = "abm.tasks.sync"
EVERY = "every 5 minutes"
AFTER_DISOWNING = "the disowning of devices"
_EXPIRES = 290

_log = structlog.get_logger(__name__)
_State = SyncRun.State
_UNFINISHED = (_State.WAITING, _State.RUNNING)


class CannotSync(Exception):
    """Why no run can be started now, and what to do."""


def ask(actor: Actor, server: Server, *, full: bool = False) -> tuple[SyncRun, bool]:
    """Sync now: a new run, or the one that is under way; and whether it was joined.

    A full sync reads the whole list again; asked for while a run is under way, it becomes part of
    that run. Raises NotAllowed, CannotSync.
    """
    allow(actor, "abm.sync")
    _check(server)
    with transaction.atomic():
        if full:
            Server.objects.filter(pk=server.pk).update(list_asked_at=timezone.now())
        run, joined = _wait_for(server, actor.name, full)
        record(
            actor,
            "abm.sync",
            subject_kind="abm_server",
            subject_id=server.pk,
            after={"run": run.pk, "full": full, "joined": joined},
        )
        transaction.on_commit(lambda: publish(server.pk))
    return run, joined


def publish(server_id: int) -> None:
    """Call a worker to a server. A broker that is down delays it: the beat finds the server."""
    try:
        current_app.send_task(SYNC, [server_id], expires=_EXPIRES, retry=False, ignore_result=True)
    except Exception as error:
        _log.warning("The broker does not take tasks; the beat will sync", error=str(error))


def want(server: Server, asked_by: str) -> None:
    """Have a run wait for this server, or join the one that is under way, and call a worker. One
    that finds Apple taken goes home; who has it calls the next for the run that waits.
    """
    _wait_for(server, asked_by, full=False)
    publish(server.pk)


def publish_waiting(server_id: int) -> None:
    """Call a worker to the run that waits for this server, if there is one."""
    if SyncRun.objects.filter(server=server_id, state=_State.WAITING).exists():
        publish(server_id)


def begin(server: Server) -> SyncRun:
    """The run that waits for this server, or a new one; it alone may write from now on. Call it
    inside `conversation.alone`: what still counts as running has died.
    """
    now = timezone.now()
    with transaction.atomic():
        _bury(server)
        run, _ = _wait_for(server, EVERY, full=False)
        run.state, run.started_at = _State.RUNNING, now
        run.save(update_fields=["state", "started_at"])
        Server.objects.filter(pk=server.pk).update(run_id=run.pk)
    server.refresh_from_db()
    return run


def finish(run: SyncRun) -> None:
    """The run reached the end of what Apple has to say."""
    Server.objects.filter(pk=run.server_id, run_id=run.pk).update(synced_at=timezone.now())
    _end(run, _State.FINISHED)


def fail(run: SyncRun, problem: str, sentence: str) -> None:
    """The run ended before it was through; the next one goes on where it stopped."""
    say(run, sentence, RunLine.Level.ERROR)
    _end(run, _State.FAILED, problem=problem, sentence=sentence)


def interrupt(run: SyncRun, sentence: str) -> None:
    """The run ended through no fault of Apple's; the next one goes on where it stopped."""
    run.refresh_from_db()
    if not run.over:
        say(run, sentence, RunLine.Level.ERROR)
        _end(run, _State.INTERRUPTED, sentence=sentence)


def say(run: SyncRun, sentence: str, level: str = RunLine.Level.INFO) -> None:
    """A line in the run's log."""
    RunLine.objects.create(run=run, level=level, sentence=sentence[:500])


def note_wait(run: SyncRun, seconds: float, why: str) -> None:
    """Apple has to be asked again, in so many seconds."""
    SyncRun.objects.filter(pk=run.pk).update(
        errors=F("errors") + 1, doing=f"Waiting {seconds:.0f} s: {why}"[:300]
    )
    say(run, f"{why} Asked again after {seconds:.0f} s.", RunLine.Level.WARNING)


def doing(run: SyncRun, words: str) -> None:
    """What the run does now, for whoever watches."""
    if run.doing != words:
        run.doing = words
        SyncRun.objects.filter(pk=run.pk).update(doing=words)


def _check(server: Server) -> None:
    found = state.of(server)
    if not found.syncs:
        raise CannotSync(f"{server} cannot be synced: {found.why} {found.fix}".strip())
    if (
        server.problem == Server.Problem.THROTTLED
        and server.retry_at is not None
        and server.retry_at > timezone.now()
    ):
        again = moments.clock(server.retry_at)
        raise CannotSync(f"Apple asked for a pause; {server} is synced again at {again}.")


def _wait_for(server: Server, asked_by: str, full: bool) -> tuple[SyncRun, bool]:
    """The unfinished run of the server, or a new one that waits; and whether it was there."""
    found = SyncRun.objects.filter(server=server, state__in=_UNFINISHED).first()
    if found is not None:
        return found, True
    try:
        with transaction.atomic():
            return SyncRun.objects.create(server=server, asked_by=asked_by, full=full), False
    except IntegrityError:
        return SyncRun.objects.get(server=server, state__in=_UNFINISHED), True


def _bury(server: Server) -> None:
    for run in SyncRun.objects.filter(server=server, state=_State.RUNNING):
        sentence = "Its worker ended before it was through; the next run went on where it stopped."
        interrupt(run, sentence)


def _end(run: SyncRun, ended: SyncRun.State, *, problem: str = "", sentence: str = "") -> None:
    SyncRun.objects.filter(pk=run.pk).update(
        state=ended,
        finished_at=timezone.now(),
        doing="",
        problem=problem,
        sentence=sentence[:500],
    )
    run.refresh_from_db()


def alive(run: SyncRun) -> bool:
    """Whether a worker is at it."""
    return run.state == _State.RUNNING and conversation.taken(run.server_id)
