"""How far the sync of each server has come, for everybody who watches: read from the rows that a
run writes with each page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, OuterRef, Q, Subquery
from django.utils import timezone

from abm import runs, state
from abm.models import AbmDevice, Server, SyncRun
from abm.pages import words
from abm.servers import connected
from abm.state import State
from mdm.templatetags.guard import duration as in_words

_EVERY = timedelta(minutes=5)
# A page takes Apple some seconds; a run that is silent for longer is looked after.
_SILENT = timedelta(seconds=15)
_NOT_TAKEN = timedelta(seconds=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A run with what is worked out from its counts. `percent` and `left` are None where nobody
    knows how much there is.
    """

    run: SyncRun
    now: datetime
    percent: float | None = None
    left: str = ""
    trouble: str = ""

    @property
    def seconds(self) -> float:
        began = self.run.started_at or self.run.asked_at
        return max(0.0, ((self.run.finished_at or self.now) - began).total_seconds())

    @property
    def duration(self) -> str:
        return in_words(self.seconds)

    @property
    def rate(self) -> int | None:
        """Devices per second, once there is something to divide."""
        if not self.run.started_at or not self.run.devices or self.seconds < 1:
            return None
        return round(self.run.devices / self.seconds)

    @property
    def words(self) -> str:
        return self.trouble or words.outcome(self.run)

    @property
    def counts(self) -> list[tuple[str, int]]:
        run = self.run
        return [
            ("pages", run.pages),
            ("devices", run.devices),
            ("added", run.added),
            ("changed", run.changed),
            ("removed", run.removed),
            ("errors", run.errors),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One server: how it stands, what its last run did or does, and when the next one comes."""

    server: Server
    state: State
    devices: int
    progress: Progress | None
    next_at: datetime | None

    @property
    def running(self) -> bool:
        return self.progress is not None and not self.progress.run.over


def lines() -> list[Line]:
    """Every connected server, in three statements and one for each run that reads a list."""
    now = timezone.now()
    listed = list(connected().annotate(latest=_latest()))
    latest = SyncRun.objects.in_bulk([each.latest for each in listed if each.latest])
    counts = _counts() if listed else {}
    return [_line(each, latest.get(each.latest), counts.get(each.pk, 0), now) for each in listed]


def of(run: SyncRun) -> Progress:
    """The progress of one run, whose `server` was selected with it."""
    now = timezone.now()
    if run.over:
        return Progress(run=run, now=now)
    percent, left = _share(run, run.server, now)
    return Progress(run=run, now=now, percent=percent, left=left, trouble=_trouble(run, now))


def mark(shown: Iterable[Line]) -> str:
    """Changes when a line says something else than before."""
    return ".".join(
        f"{line.server.pk}{line.state.slug}{line.progress.run.pk if line.progress else ''}"
        f"{line.running:d}"
        for line in shown
    )


def unfinished(shown: Iterable[Line]) -> set[int]:
    return {line.progress.run.pk for line in shown if line.progress and line.running}


def newest(shown: Iterable[Line]) -> int:
    """The newest run of all that are shown."""
    return max((line.progress.run.pk for line in shown if line.progress), default=0)


def brought_news(shown: Iterable[Line], watched: set[int], seen: int) -> bool:
    """Whether a run that was watched has ended, or one that nobody saw has changed devices."""
    for line in shown:
        run = line.progress.run if line.progress else None
        if run is not None and run.over and run.pk > seen and run.added + run.changed + run.removed:
            return True
    return bool(watched - unfinished(shown))


def _line(server: Server, run: SyncRun | None, devices: int, now: datetime) -> Line:
    stands = state.of(server, now)
    progress = None
    if run is not None:
        run.server = server
        progress = of(run)
    return Line(
        server=server,
        state=stands,
        devices=devices,
        progress=progress,
        next_at=_next(server, run, now) if stands.syncs else None,
    )


def _next(server: Server, run: SyncRun | None, now: datetime) -> datetime:
    """The beat comes every five minutes; a server whose pause is not over waits for it."""
    due = (run.started_at or run.asked_at) + _EVERY if run else now
    return max(due, server.retry_at) if server.retry_at else due


def _latest() -> Subquery:
    newest_first = SyncRun.objects.filter(server=OuterRef("pk")).order_by("-pk")
    return Subquery(newest_first.values("pk")[:1])


def _counts() -> dict[int, int]:
    listed = AbmDevice.objects.filter(current=True, removed_at=None).order_by()
    return dict(listed.values_list("server").annotate(count=Count("*")))


def _share(run: SyncRun, server: Server, now: datetime) -> tuple[float | None, str]:
    """How much of the whole list has been read, as far as earlier lists tell."""
    if not run.full or server.phase != Server.Phase.LIST or run.started_at is None:
        return None, ""
    found = server.devices.filter(removed_at=None).aggregate(
        read=Count("pk", filter=Q(list_number=server.list_number)),
        rest=Count("pk", filter=Q(list_number__lt=server.list_number)),
    )
    read, rest = found["read"], found["rest"]
    if not rest:
        return None, ""
    seconds = (now - run.started_at).total_seconds()
    left = in_words(rest * seconds / run.devices) if run.devices and seconds > 2 else ""
    return 100 * read / (read + rest), left


def _trouble(run: SyncRun, now: datetime) -> str:
    """Why nothing moves, if nothing does."""
    if run.state == SyncRun.State.WAITING:
        if now - run.asked_at > _NOT_TAKEN:
            return "No worker has taken it yet; the next round, within 5 minutes, will."
        return ""
    moved = run.moved_at or run.started_at or run.asked_at
    if now - moved > _SILENT and not runs.alive(run):
        return "Its worker has ended; the next round, within 5 minutes, goes on where it stopped."
    return ""
