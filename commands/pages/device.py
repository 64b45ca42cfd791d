"""What commands add to a device's page: the history, actions, notices, events and the pulse."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Count, Max, Q, QuerySet
from django.http import QueryDict
from django.urls import reverse

from commands import selectors
from commands.models import QueueEntry
from commands.pages.jobs import describe
from commands.pages.states import LOOKS, State
from mdm.models import Device, Enrollment
from mdm.navigation import Event, Pulse

_SHOWN = 50

Context = dict[str, object]


def history(device: Device, query: QueryDict) -> Context:
    """The commands of a machine's channels, newest first; `older` walks back by id."""
    rows = _entries(device).order_by("-id")
    older = query.get("older", "")
    if older.isascii() and older.isdigit() and len(older) < 19:
        rows = rows.filter(pk__lt=int(older))
    entries = list(rows[: _SHOWN + 1])
    more = len(entries) > _SHOWN
    entries = entries[:_SHOWN]
    describe(entries)
    return {"entries": entries, "older": entries[-1].pk if more else "", "walked": bool(older)}


def actions(device: Device) -> Context:
    enrollment = device.enrollment
    can = enrollment is not None and enrollment.state == Enrollment.State.ENROLLED
    send = f"{reverse('commands:send')}?enrollment={device.enrollment_id}"
    return {"device": device, "can": can, "send": send}


def notices(device: Device) -> Context:
    """Destructive commands on their way, which anyone looking at the device should know of."""
    waiting = (
        _entries(device)
        .filter(finished_at__isnull=True, command__destructive=True)
        .order_by("id")[:3]
    )
    return {"waiting": list(waiting)}


def news(device: Device) -> Context:
    """The newest command and its state, for those who hear the page."""
    return {"entry": _entries(device).order_by("-id").first()}


def pulse(device: Device) -> Pulse:
    """Changes when any entry of the device changes."""
    seen = _entries(device).aggregate(
        last=Max("id"),
        unfinished=Count("id", filter=Q(finished_at__isnull=True)),
        finished=Max("finished_at"),
        sent=Max("sent_at"),
        put_off=Max("not_now_at"),
        tries=Max("deliveries"),
    )
    return Pulse(mark="|".join(str(value) for value in seen.values()), busy=seen["unfinished"] > 0)


def events(device: Device, before: datetime, limit: int) -> Iterable[Event]:
    """When commands were asked for, and when and how they ended."""
    entries = (
        QueueEntry.objects.filter(enrollment__device=device)
        .select_related("command")
        .only(
            *("created_at", "finished_at", "state", "ended_because"),
            *("command__request_type", "command__asked_by"),
        )
    )
    for entry in entries.filter(created_at__lt=before).order_by("-created_at", "-id")[:limit]:
        yield Event(
            at=entry.created_at,
            icon="terminal-2",
            what=entry.command.request_type,
            detail=f"asked for by {entry.command.asked_by}",
            url=reverse("commands:entry", args=[entry.pk]),
        )
    # One that was asked for long ago may have ended lately.
    for entry in entries.filter(finished_at__lt=before).order_by("-finished_at", "-id")[:limit]:
        yield Event(
            at=entry.finished_at or before,
            icon=LOOKS[State(entry.state)].icon,
            what=f"{entry.command.request_type}: {entry.state}",
            detail=entry.ended_because,
            url=reverse("commands:entry", args=[entry.pk]),
        )


def _entries(device: Device) -> QuerySet[QueueEntry]:
    return selectors.entries().filter(enrollment__device=device)
