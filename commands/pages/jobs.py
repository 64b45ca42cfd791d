"""Commands that were sent: the list of them, and how far one has come."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from commands import progress, queue, retry, selectors
from commands.models import Command, QueueEntry
from commands.pages import approvals, states
from commands.pages.states import LOOKS, UNFINISHED, State
from mdm import retention
from mdm.audit.actor import Actor
from mdm.pages.frame import action, is_fragment, page, say, table_page
from mdm.tables import Choices, Column, Filter, Table

_REFUSED = (State.ERROR.value, State.COMMAND_FORMAT_ERROR.value)


@page("command.read")
def jobs(request: HttpRequest) -> HttpResponse:
    actor = Actor.of(request)
    view = JOBS.view(request, selectors.jobs(actor))
    add_counts(view.rows, selectors.seen(actor))
    return table_page(request, "commands/jobs.html", view)


@page("command.read")
def job(request: HttpRequest, job_uuid: uuid.UUID) -> HttpResponse:
    """Progress by state, who is where, failures by reason; the top stays true while it is open."""
    actor = Actor.of(request)
    command = get_object_or_404(selectors.jobs(actor), uuid=job_uuid)
    add_counts([command], selectors.seen(actor))
    counts: dict[str, int] = command.counts  # type: ignore[attr-defined]
    context = {
        "command": command,
        "counts": counts,
        "legend": [(each.value, counts[each.value]) for each in LOOKS if each.value in counts],
        "total": sum(counts.values()),
        "busy": any(counts.get(state) for state in UNFINISHED),
        "waiting": sum(counts.get(state.value, 0) for state in queue.CANCELLABLE),
        "failures": _failures(command, counts, actor),
        "failed": _failed(command, counts, actor),
        "pace": _pace(command, counts, actor),
        "retries": command.retries.order_by("-id")[:5],
        "retried": Command.objects.filter(retries=command).first(),
        "thinned": command.created_at < retention.limit(),
        **approvals.standing(command, actor),
    }
    if is_fragment(request, "job-progress"):
        if request.GET.get("mark") == _mark(counts):
            return HttpResponse(status=204)
        return render(request, "commands/job_progress.html", {**context, "mark": _mark(counts)})
    view = ENTRIES.view(request, selectors.entries(selectors.seen(actor)).filter(command=command))
    describe(view.rows)
    return table_page(request, "commands/job.html", view, mark=_mark(counts), **context)


@action("command.cancel")
def cancel_rest(request: HttpRequest, job_uuid: uuid.UUID) -> HttpResponse:
    actor = Actor.of(request)
    command = get_object_or_404(selectors.jobs(actor), uuid=job_uuid)
    count = queue.cancel_rest(actor, command)
    say(request, f"Cancelled for {count:,} that had not received it.")
    return redirect("commands:job", command.uuid)


@page("command.read")
def running(request: HttpRequest) -> HttpResponse:
    """The counter in the top bar: commands that someone asked for today and that go on."""
    count = selectors.going_on(Actor.of(request))[: _MANY + 1].count()
    words = f"more than {_MANY:,}" if count > _MANY else f"{count:,}"
    return render(request, "commands/running.html", {"count": count, "words": words})


_MANY = 10_000


def add_counts(commands: Iterable[Command], seen: QuerySet[QueueEntry] | None = None) -> None:
    """Give each command its `counts` by state and their `total`, of all its entries or of those
    that someone may see.
    """
    listed = list(commands)
    counts = progress.states(listed, seen)
    for command in listed:
        command.counts = counts.get(command.pk, {})  # type: ignore[attr-defined]
        command.total = sum(command.counts.values())  # type: ignore[attr-defined]


def describe(entries: Iterable[QueueEntry]) -> None:
    """Give each entry its `why`, the device's own words where it failed, and when it moved."""
    listed = list(entries)
    failed = [entry for entry in listed if entry.state in _REFUSED]
    said = progress.errors(failed) if failed else {}
    for entry in listed:
        error = said.get((entry.enrollment_id, entry.command_uuid), "")
        entry.why = states.why(entry, error)  # type: ignore[attr-defined]
        entry.moved_at = states.moved_at(entry)  # type: ignore[attr-defined]


def _failures(command: Command, counts: dict[str, int], actor: Actor) -> list[tuple[str, int]]:
    """Reasons with how often they were given, the most frequent first."""
    if not any(counts.get(state) for state in _REFUSED):
        return []
    return progress.reasons(command, actor.where("command.read"))


def _failed(command: Command, counts: dict[str, int], actor: Actor) -> int:
    """Where it can be tried again."""
    if not any(counts.get(state.value) for state in retry.FAILED):
        return 0
    return retry.can_be_retried(actor, command)


def _pace(command: Command, counts: dict[str, int], actor: Actor) -> progress.Pace | None:
    if not any(counts.get(state.value) for state in queue.ANSWERED):
        return None
    return progress.pace(command, selectors.seen(actor))


def _mark(counts: dict[str, int]) -> str:
    return ".".join(f"{key}{count}" for key, count in sorted(counts.items()))


def _state_choices() -> Choices:
    return [(state.value, state.value) for state in State]


def _by_request_type(rows: QuerySet[Command], value: str) -> QuerySet[Command]:
    return rows.filter(request_type=value)


def _request_types() -> Choices:
    names = Command.objects.order_by("request_type").values_list("request_type", flat=True)
    return [(name, name) for name in names.distinct()[:100]]


def _askers() -> Choices:
    names = Command.objects.order_by("asked_by").values_list("asked_by", flat=True)
    return [(name, name) for name in names.distinct()[:100]]


def _search_jobs(rows: QuerySet[Command], text: str) -> QuerySet[Command]:
    text = text.replace("\0", "").strip()[:100]
    by_uuid = Q()
    try:
        by_uuid = Q(uuid=uuid.UUID(text))
    except ValueError:
        return rows.filter(Q(request_type__ilike=text) | Q(asked_by__ilike=text))
    return rows.filter(by_uuid)


def _search_entries(rows: QuerySet[QueueEntry], text: str) -> QuerySet[QueueEntry]:
    text = text.replace("\0", "").strip()[:100]
    return rows.filter(
        Q(enrollment__device__serial_number__ilike=text)
        | Q(enrollment__device__device_name__ilike=text)
    )


def _attribute(name: str) -> Any:
    return lambda row: getattr(row, name)


JOBS = Table(
    slug="jobs",
    label="Commands",
    one="command",
    many="commands",
    search=_search_jobs,
    search_hint="Command, person or UUID",
    empty="commands/empty.html",
    columns=(
        Column(
            key="command",
            label="Command",
            value=_attribute("request_type"),
            template="commands/cells/command.html",
        ),
        Column(
            key="progress",
            label="Progress",
            value=_attribute("total"),
            template="commands/cells/progress.html",
        ),
        Column(key="receivers", label="Receivers", value=_attribute("total"), css="num"),
        Column(key="by", label="Asked by", value=_attribute("asked_by")),
        Column(key="at", label="When", value=_attribute("created_at")),
    ),
    filters=(
        # What is offered is of all devices, so it is not for those who see a group's alone.
        Filter(
            key="type",
            label="Command",
            choices=_request_types,
            apply=_by_request_type,
            right="server.read",
        ),
        Filter(
            key="by",
            label="Asked by",
            choices=_askers,
            apply=lambda rows, value: rows.filter(asked_by=value),
            right="server.read",
        ),
    ),
)

ENTRIES = Table(
    slug="entries",
    label="Receivers",
    one="receiver",
    many="receivers",
    search=_search_entries,
    search_hint="Serial or name",
    order=("id",),
    columns=(
        Column(
            key="device",
            label="Device",
            value=lambda row: row.enrollment.device,
            template="commands/cells/receiver.html",
        ),
        Column(
            key="state",
            label="State",
            value=_attribute("state"),
            template="commands/cells/state.html",
        ),
        Column(key="why", label="Why", value=_attribute("why"), css="break why-cell"),
        Column(key="at", label="Since", value=_attribute("moved_at")),
        Column(
            key="look",
            label="",
            value=lambda row: "",
            template="commands/cells/look.html",
            css="text-end",
        ),
    ),
    filters=(
        Filter(
            key="state",
            label="State",
            choices=_state_choices,
            apply=lambda rows, value: rows.filter(state=value),
        ),
    ),
)
