"""Syncs and disowns that are under way, for the list of what goes on."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Exists, OuterRef
from django.urls import reverse

from abm import disowns
from abm.models import Disown, DisownDevice, SyncRun
from abm.pages import progress
from mdm.audit.actor import Actor
from mdm.navigation import Work

_SHOWN = 20


def going_on(actor: Actor) -> Iterator[Work]:
    if "server.read" not in actor:
        return
    unfinished = [SyncRun.State.WAITING, SyncRun.State.RUNNING]
    runs = SyncRun.objects.filter(state__in=unfinished).select_related("server").order_by("-pk")
    for run in runs[:_SHOWN]:
        yield _sync(run)
    unsettled = DisownDevice.objects.filter(disown=OuterRef("pk"), state__in=disowns.UNSETTLED)
    for each in Disown.objects.filter(Exists(unsettled)).order_by("-pk")[:_SHOWN]:
        yield _disown(each)


def _sync(run: SyncRun) -> Work:
    found = progress.of(run)
    known = found.percent is not None
    devices = f" {run.devices:,} devices so far." if run.devices else ""
    return Work(
        what=f"Sync of {run.server}",
        url=reverse("abm:run", args=[run.pk]),
        words=f"{found.words}{devices} {found.left}".strip(),
        since=run.started_at or run.asked_at,
        done=round(found.percent or 0),
        total=100 if known else None,
    )


def _disown(found: Disown) -> Work:
    counts = disowns.counts(found)
    total = sum(counts.values())
    done = total - sum(counts.get(state, 0) for state in disowns.UNSETTLED)
    return Work(
        what=f"Disown, by {found.asked_by}",
        url=reverse("abm:disown", args=[found.pk]),
        words=f"{done:,} of {total:,} settled",
        since=found.asked_at,
        done=done,
        total=total,
    )
