"""What the parts of this server say of themselves: each thing with its state, the evidence, since
when, and what to do. Apps add their own when they load.

Everything is read from Postgres, from Redis (`pulse.py`) or from this process: nothing waits for
Apple, for a mail server or for a worker. With Redis away the rest is told all the same.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from django.conf import settings
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Min
from django.utils import timezone

from mdm import turns
from mdm.audit import selectors as audit_log
from mdm.health import pulse, readings
from mdm.health.pulse import LATE, Pulse, RedisError
from mdm.models import Enrollment
from mdm.push import certificate as certificates
from mdm.standing import Tone

PROCESSES, WAITING, STORES, APPLE = "Processes", "Waiting work", "Stores", "Apple"
_GROUPS = (PROCESSES, WAITING, STORES, APPLE)

_STARTED = timezone.now()
_LITTLE_ROOM = 2_000_000_000
# What is due longer than that is not merely waiting for its second.
LAGGING = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """A part, how it stands with it in a word, by what evidence, since when, and what to do. `url`
    names a page about it.
    """

    group: str
    name: str
    tone: Tone
    word: str
    evidence: str
    since: datetime | None = None
    fix: str = ""
    url: str = ""

    @property
    def wrong(self) -> bool:
        return self.tone in {"warning", "bad"}


Source = Callable[[Pulse | None], Iterable[Thing]]

_sources: list[tuple[int, Source]] = []


def add(source: Source, order: int) -> None:
    """`source` is asked on each view of the page Health, with the heartbeats, or None where Redis
    is away: a query or two, never a call outside."""
    if all(source is not known for _, known in _sources):
        _sources.append((order, source))


def everything() -> list[Thing]:
    """All things, in the order of the page."""
    now, _ = heartbeats()
    ordered = sorted(_sources, key=lambda each: each[0])
    found = [thing for _, source in ordered for thing in source(now)]
    return sorted(found, key=lambda thing: _GROUPS.index(thing.group))


def urgent() -> list[Thing]:
    """What stops the work of this server, for the overview: no statement, one look into Redis."""
    now, _ = heartbeats()
    return [thing for thing in (*redis(now), *workers(now), *beat(now)) if thing.wrong]


def heartbeats() -> tuple[Pulse | None, str]:
    """The heartbeats, or None and why there are none."""
    try:
        return pulse.read(), ""
    except RedisError as error:
        return None, str(error) or type(error).__name__


def register_own() -> None:
    for order, source in enumerate((web, workers, beat, lags, database, redis, push, disk, audit)):
        add(source, order * 10)


# --- Processes -----------------------------------------------------------------------------------


def web(now: Pulse | None) -> Iterable[Thing]:
    """The web process that answers this very request."""
    taken, waiting = turns.load()
    yield Thing(
        group=PROCESSES,
        name="Web",
        tone="warning" if waiting > turns.TURNS else "good",
        word="Busy" if waiting > turns.TURNS else "Answers",
        evidence=f"This process on {socket.gethostname()}: {taken} of its {turns.TURNS} turns are"
        f" taken, {waiting} requests wait. Those for devices are tried at the public address.",
        since=_STARTED,
        fix="Start more web processes, or see what keeps Postgres busy." if waiting else "",
    )


def workers(now: Pulse | None) -> Iterable[Thing]:
    """Each queue: who takes its tasks, and when one came through it last."""
    for queue in pulse.queues():
        yield _queue(queue, now)


def beat(now: Pulse | None) -> Iterable[Thing]:
    """What sends the tasks that are due."""
    if now is None:
        yield _unknown("Beat")
        return
    late = now.beat is None or timezone.now() - now.beat > LATE
    yield Thing(
        group=PROCESSES,
        name="Beat",
        tone="bad" if late else "good",
        word="Silent" if late else "Ticks",
        evidence=f"It sent a task at {now.beat:%H:%M:%S} UTC."
        if now.beat and not late
        else "Nothing is sent to the workers: devices are not woken, answers are not read, ABM is"
        " not synced.",
        since=now.beat if late else None,
        fix="Start the beat, once: celery -A mdm beat." if late else "",
    )


def _queue(queue: str, now: Pulse | None) -> Thing:
    name = f"Workers of the queue {queue}"
    if now is None:
        return _unknown(name)
    moment = timezone.now()
    known = now.workers_of(queue)
    alive = [worker for worker in known if moment - worker.at <= LATE]
    waiting = now.waiting.get(queue, 0)
    lie = f"{waiting:,} {'task lies' if waiting == 1 else 'tasks lie'} in it."
    answered = now.answers.get(queue)
    if not alive:
        return Thing(
            group=PROCESSES,
            name=name,
            tone="bad",
            word="Nobody works",
            evidence=f"No worker takes its tasks; {lie}",
            since=known[0].at if known else answered,
            fix=f"Start a worker: celery -A mdm worker --queues {queue}.",
        )
    names = ", ".join(worker.node for worker in alive[:5])
    through = f" One was done at {answered:%H:%M:%S} UTC." if answered else ""
    # While the beat is silent nothing could have come through.
    ticks = now.beat is not None and moment - now.beat <= LATE
    if ticks and (answered is None or moment - answered > LATE) and _up_for(alive) > LATE:
        return Thing(
            group=PROCESSES,
            name=name,
            tone="warning",
            word="Busy",
            evidence=f"{names} lives, and all its processes are busy with other tasks; {lie}",
            since=answered,
            fix="A first sync of a large organization may take minutes. If it lasts, start another"
            " worker, or restart this one.",
        )
    return Thing(
        group=PROCESSES,
        name=name,
        tone="good",
        word="Works",
        evidence=f"{names}.{through} {lie}",
        since=min(worker.began for worker in alive),
    )


def _up_for(alive: list[pulse.Worker]) -> timedelta:
    return max(timezone.now() - worker.began for worker in alive)


def _unknown(name: str) -> Thing:
    return Thing(
        group=PROCESSES,
        name=name,
        tone="off",
        word="Not known",
        evidence="Heartbeats are left in Redis, which is away.",
    )


# --- Work that waits -----------------------------------------------------------------------------


def lags(now: Pulse | None) -> Iterable[Thing]:
    """Wake-ups that are due."""
    oldest = Enrollment.objects.filter(wake_at__isnull=False).aggregate(at=Min("wake_at"))["at"]
    yield lag("Wake-ups", oldest, "wake-up", "the worker of the queue celery and Apple's push")


def lag(name: str, oldest: datetime | None, what: str, blame: str) -> Thing:
    """Work of a kind that waits, by the moment at which the oldest of it was due."""
    late = timezone.now() - oldest if oldest else timedelta(0)
    if oldest is None or late <= timedelta(0):
        return Thing(
            group=WAITING,
            name=name,
            tone="good",
            word="None is due",
            evidence=f"No {what} waits to be worked on.",
        )
    behind = late > LAGGING
    return Thing(
        group=WAITING,
        name=name,
        tone="warning" if behind else "good",
        word="Behind" if behind else "In time",
        evidence=f"The oldest {what} was due at {oldest:%B %d, %H:%M:%S} UTC.",
        since=oldest if behind else None,
        fix=f"Look at {blame} above and below." if behind else "",
    )


def audit(now: Pulse | None) -> Iterable[Thing]:
    """The audit log: whether its rows get their places in the chain."""
    sealed = audit_log.sealed()
    since = sealed.waits_since
    yield Thing(
        group=WAITING,
        name="Audit log",
        tone="bad" if sealed.late else "good",
        word="Not sealed" if sealed.late else "Sealed",
        evidence=f"Rows since {since:%B %d, %H:%M} UTC are not sealed, so a change of them could"
        " not be proven."
        if since and sealed.late
        else "Each row gets its place in the chain in seconds.",
        since=since if sealed.late else None,
        fix="See that a worker and the beat run, what the worker's log says of seal_audit, and that"
        " no other session of Postgres holds an advisory lock."
        if sealed.late
        else "",
    )


# --- What it stands on ---------------------------------------------------------------------------


def database(now: Pulse | None) -> Iterable[Thing]:
    began = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('server_version'), pg_database_size(current_database()),"
            " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
            " current_setting('max_connections')::int, pg_postmaster_start_time()"
        )
        version, size, used, most, started = cursor.fetchone() or ("", 0, 0, 1, None)
    took = (time.monotonic() - began) * 1000
    crowded = used > most * 0.9
    yield Thing(
        group=STORES,
        name="Postgres",
        tone="warning" if crowded else "good",
        word="Crowded" if crowded else "Answers",
        evidence=f"Postgres {version.split()[0]}, {_bytes(size)}, {used} of {most} connections,"
        f" answered in {took:.0f} ms.",
        since=started,
        fix="Raise max_connections, or run fewer processes." if crowded else "",
    )
    missing = sorted(_on_disk() - set(MigrationRecorder(connection).applied_migrations()))
    yield Thing(
        group=STORES,
        name="Migrations",
        tone="bad" if missing else "good",
        word="Missing" if missing else "Applied",
        evidence=", ".join(f"{app} {name}" for app, name in missing[:5])
        or "The database has the shape that this version wants.",
        fix="Run manage.py migrate." if missing else "",
    )


def redis(now: Pulse | None) -> Iterable[Thing]:
    if now is None:
        yield Thing(
            group=STORES,
            name="Redis",
            tone="bad",
            word="Away",
            evidence="Redis does not answer. Devices are served still, but workers get no tasks:"
            " nobody is woken, answers are not read, ABM is not synced. Nothing is lost.",
            fix="Start Redis (or Valkey) again; see that REDIS_URL leads to it.",
        )
        return
    full = now.largest and now.memory > now.largest * 0.9
    of = f" of {_bytes(now.largest)}" if now.largest else ""
    yield Thing(
        group=STORES,
        name="Redis",
        tone="warning" if full else "good",
        word="Nearly full" if full else "Answers",
        evidence=f"{_bytes(now.memory)}{of}, answered in {now.milliseconds:.0f} ms.",
        fix="Raise its maxmemory." if full else "",
    )


def disk(now: Pulse | None) -> Iterable[Thing]:
    """Where Postgres and Redis lie on this machine; other disks are not seen from here."""
    if settings.ENV.database_url:
        return
    space = shutil.disk_usage(settings.ENV.state_dir)
    little = space.free < _LITTLE_ROOM
    yield Thing(
        group=STORES,
        name="Disk",
        tone="bad" if little else "good",
        word="Nearly full" if little else "Has room",
        evidence=f"{_bytes(space.free)} of {_bytes(space.total)} are free.",
        fix="Make room: Postgres stops when the disk is full." if little else "",
    )


@cache
def _on_disk() -> frozenset[tuple[str, str]]:
    """Every migration of this version; they are read once per process."""
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)


# --- Apple ---------------------------------------------------------------------------------------


def push(now: Pulse | None) -> Iterable[Thing]:
    """What came of the pushes to devices."""
    found, reading = certificates.active(), readings.last(readings.PUSHES)
    at = reading.data.get("last") if reading else None
    last = datetime.fromisoformat(at) if at else None
    refused = reading.data.get("refused", 0) if reading else 0
    trouble = found.problem if found else ""
    some = f" Of {refused:,} devices Apple did not take the last one." if refused else ""
    yield Thing(
        group=APPLE,
        name="Push service (APNs)",
        tone="bad" if trouble else "off" if found is None else "good",
        word="Fails" if trouble else "Not set up" if found is None else "Works",
        evidence=f"Apple's last word: {trouble}."
        if trouble
        else "There is no push certificate yet."
        if found is None
        else (f"The last push was taken at {last:%B %d, %H:%M} UTC." if last else "No push yet.")
        + some,
        since=found.problem_at if found and trouble else None,
        fix="Look at the push certificate." if trouble or found is None else "",
        url="push_certificate",
    )


def _bytes(count: int) -> str:
    size, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}" if size < 1000 else f"{size:,.0f} {units[0]}"
