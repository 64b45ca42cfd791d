"""Probes: each tries for real whether one thing works that a new server needs, in a worker, and
keeps what it found. The first-run checklist and the page Health show that, and nothing else.

Apps register theirs when they load; the core's own are in `public_url.py`, `mailing.py` and
`own.py`. A step that an admin does otherwise is dismissed with a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import structlog
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.health.models import ProbeResult
from mdm.health.pulse import DEFAULT_QUEUE

TASK = "mdm.health.tasks.probe"
LONGEST_REASON = 200
_EXPIRES = 55
# A probe is told to give up, and ended where it does not (tasks.py).
GIVE_UP_AFTER, END_AFTER = 45, 60
# A probe that was asked for and did not come to an end by then was taken by nobody.
_PATIENT_FOR = timedelta(minutes=1)
# A question is put again no sooner: each is a row in the audit log, and work for a worker.
_AGAIN_AFTER = timedelta(seconds=30)
_UNTIL_GOOD = timedelta(seconds=50)

_log = structlog.get_logger(__name__)


class NoReason(Exception):
    """A step is dismissed with a reason, for the others; the message says so."""


@dataclass(frozen=True, slots=True)
class Found:
    """Whether it works, what was seen in words, and when something that was seen ends."""

    good: bool
    words: str
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """`look` tries it, given the id of the person who asked. `again` is how often that is done by
    itself once it is good (each minute until then); None where only a person has it tried.
    `ask` is the button that has it tried, `button` leads to where it is put right; what is
    `lasting` holds for good once it was good.
    """

    name: str
    label: str
    why: str
    look: Callable[[int | None], Found]
    order: int
    again: timedelta | None = timedelta(hours=1)
    lasting: bool = False
    queue: str = DEFAULT_QUEUE
    ask: str = "Check again"
    button: str = ""
    url_name: str = ""
    right: str = "server.read"


@dataclass(frozen=True, slots=True)
class Line:
    """A probe and what came of it, as the checklist shows it."""

    probe: Probe
    result: ProbeResult
    now: datetime

    @property
    def state(self) -> Literal["busy", "dismissed", "good", "bad", "new"]:
        if self._open and not self.unheard:
            return "busy"
        if self.result.dismissed_at is not None:
            return "dismissed"
        if self.result.good is None:
            return "new"
        return "good" if self.result.good else "bad"

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do about it."""
        return self.result.dismissed_at is not None or bool(self.result.good)

    @property
    def unheard(self) -> bool:
        """Whether someone asked and no worker took it."""
        asked = self.result.asked_at
        return self._open and asked is not None and self.now - asked > _PATIENT_FOR

    @property
    def _open(self) -> bool:
        asked, checked = self.result.asked_at, self.result.checked_at
        return asked is not None and (checked is None or checked < asked)


_probes: dict[str, Probe] = {}


def register(probe: Probe) -> None:
    _probes[probe.name] = probe


def find(name: str) -> Probe:
    """Raises KeyError."""
    return _probes[name]


def lines() -> list[Line]:
    """Every probe with what came of it, in the order in which a new server is set up."""
    now = timezone.now()
    known = {result.name: result for result in ProbeResult.objects.all()}
    return [
        Line(probe, known.get(probe.name) or _untried(probe.name), now)
        for probe in sorted(_probes.values(), key=lambda probe: probe.order)
    ]


def _untried(name: str) -> ProbeResult:
    # The database's defaults are no text before a row is stored.
    empty = dict.fromkeys(("asked_by", "found", "dismissed_by", "dismissed_because"), "")
    return ProbeResult(name=name, **empty)


def first_run(shown: list[Line]) -> bool:
    """Whether something has never worked yet, and nobody said that it need not."""
    return not all(line.result.done_at or line.result.dismissed_at for line in shown)


# --- What people do ------------------------------------------------------------------------------


def ask(actor: Actor, name: str) -> None:
    """Have a worker try it now; nothing where one is about to, or somebody asked just now. Raises
    NotAllowed, KeyError.
    """
    allow(actor, "health.check")
    probe = find(name)
    now = timezone.now()
    free = (
        Q(asked_at=None)
        | Q(asked_at__lt=now - _AGAIN_AFTER, checked_at__gte=F("asked_at"))
        | Q(asked_at__lt=now - _PATIENT_FOR)
    )
    with transaction.atomic():
        asked = {"asked_at": now, "asked_by": actor.name, "asked_by_id": actor.user_id}
        if not _row(name).filter(free).update(**asked):
            return
        record(actor, "health.check", subject_kind="probe", subject_id=name)
        transaction.on_commit(lambda: _publish(probe))


def dismiss(actor: Actor, name: str, because: str) -> None:
    """Take a step off the checklist: this is done otherwise, or need not be. Raises NotAllowed,
    NoReason, KeyError.
    """
    allow(actor, "health.dismiss")
    find(name)
    because = " ".join(because.split())
    if not because or len(because) > LONGEST_REASON or not because.isprintable():
        raise NoReason(f"Give the reason, for the others, in at most {LONGEST_REASON} characters.")
    with transaction.atomic():
        _row(name).update(
            dismissed_at=timezone.now(), dismissed_by=actor.name, dismissed_because=because
        )
        after = {"because": because}
        record(actor, "health.dismiss", subject_kind="probe", subject_id=name, after=after)


def restore(actor: Actor, name: str) -> None:
    """Put a dismissed step back. Raises NotAllowed, KeyError."""
    allow(actor, "health.dismiss")
    find(name)
    with transaction.atomic():
        if (
            _row(name)
            .filter(dismissed_at__isnull=False)
            .update(dismissed_at=None, dismissed_by="", dismissed_because="")
        ):
            record(actor, "health.restore", subject_kind="probe", subject_id=name)


def hold(name: str) -> None:
    """Lock what was found of it until the transaction ends."""
    _row(name).select_for_update().get()


# --- What workers do -----------------------------------------------------------------------------


def publish_due() -> int:
    """Call workers to the probes whose time has come; returns how many. The beat's minute."""
    due = [line for line in lines() if _is_due(line)]
    for line in due:
        _publish(line.probe)
    return len(due)


def carry_out(name: str) -> None:
    """Try it and keep what was found. Of workers that come at the same time one does."""
    probe = find(name)
    began = timezone.now()
    rows = _row(name)
    free = Q(began_at=None) | Q(began_at__lt=F("asked_at")) | Q(began_at__lt=began - _UNTIL_GOOD)
    if not rows.filter(free).update(began_at=began):
        return
    asker = rows.values_list("asked_by_id", flat=True).get()
    try:
        found = probe.look(asker)
    except SoftTimeLimitExceeded:
        _log.warning("probe_took_too_long", probe=name)
        found = Found(False, f"It took too long: nothing came of it in {GIVE_UP_AFTER} seconds.")
    except Exception as error:
        _log.exception("probe_failed", probe=name)
        found = Found(False, f"Something went wrong here: {type(error).__name__}. The log has it.")
    _keep(name, found, began)


def _is_due(line: Line) -> bool:
    result, probe = line.result, line.probe
    if probe.again is None or (result.good and probe.lasting):
        return False
    if result.began_at is None:
        return True
    every = probe.again if line.settled else _UNTIL_GOOD
    return line.now - result.began_at >= every


def _keep(name: str, found: Found, began: datetime) -> None:
    """Keep what came of the run that began then. Where somebody asked since, or another run began,
    that one answers: what this one saw is of before.
    """
    with transaction.atomic():
        newest = Q(asked_at=None) | Q(asked_at__lte=began)
        runs = ProbeResult.objects.select_for_update().filter(newest, name=name, began_at=began)
        result = runs.first()
        if result is None:
            return
        now = timezone.now()
        if result.good is not found.good:
            result.good, result.since = found.good, now
        if found.good and result.done_at is None:
            result.done_at = now
        result.checked_at, result.found, result.ends_at = now, found.words[:500], found.ends_at
        # Not what someone may have asked meanwhile, nor who dismissed it.
        result.save(update_fields=["good", "since", "done_at", "checked_at", "found", "ends_at"])


def _row(name: str) -> QuerySet[ProbeResult]:
    """The row of a probe, made where there is none yet."""
    ProbeResult.objects.bulk_create([ProbeResult(name=name)], ignore_conflicts=True)
    return ProbeResult.objects.filter(name=name)


def _publish(probe: Probe) -> None:
    """A broker that is down delays it: the page says that no worker took it."""
    try:
        current_app.send_task(
            TASK,
            [probe.name],
            queue=probe.queue,
            expires=_EXPIRES,
            retry=False,
            ignore_result=True,
        )
    except Exception as error:
        _log.warning("The broker does not take tasks; nothing is tried", error=str(error))
