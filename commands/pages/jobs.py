"""Commands that were sent: the list of them, and how far one has come."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from commands import progress, queue, retry, selectors, tally
from commands.models import Command, QueueEntry
from commands.pages import approvals, states
from commands.pages.states import LOOKS, UNFINISHED, State
from mdm import retention
from mdm.accounts.rights import EVERYWHERE, Where
from mdm.audit.actor import Actor
from mdm.pages.frame import action, is_fragment, page, say, table_page
from mdm.tables import COUNT_CAP, Choices, Column, Filter, Table

_MANY = 1000


@page("command.read")
def jobs(request: HttpRequest) -> HttpResponse:
    actor = Actor.of(request)
    where = actor.where("command.read")
    # Of a group's devices each command is looked for.
    cap = COUNT_CAP if where.everywhere else _MANY
    view = JOBS.view(request, selectors.jobs(actor), cap)
    add_counts(view.rows, where)
    return table_page(request, "commands/jobs.html", view)


@page("command.read")
def job(request: HttpRequest, job_uuid: uuid.UUID) -> HttpResponse:
    """Progress by state, who is where, failures by reason; the top stays true while it is open."""
    actor = Actor.of(request)
    command = get_object_or_404(selectors.jobs(actor), uuid=job_uuid)
    summary = progress.summary(command, actor.where("command.read"))
    counts = summary.states
    context = {
        "command": command,
        "summary": summary,
        "legend": [(each.value, counts[each.value]) for each in LOOKS if each.value in counts],
        "total": sum(counts.values()),
        "busy": any(counts.get(state) for state in UNFINISHED),
        "waiting": sum(counts.get(state.value, 0) for state in queue.CANCELLABLE),
        "failed": _failed(command, counts, actor),
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
    count = sum(progress.going_on(Actor.of(request).where("command.read")).values())
    return render(request, "commands/running.html", {"count": count})


def add_counts(commands: Iterable[Command], where: Where = EVERYWHERE) -> None:
    """Give each command its `counts` by state and their `total`, of its entries for devices that
    `where` covers.
    """
    listed = list(commands)
    counts = progress.states(listed, where)
    for command in listed:
        command.counts = counts.get(command.pk, {})  # type: ignore[attr-defined]
        command.total = sum(command.counts.values())  # type: ignore[attr-defined]


def describe(entries: Iterable[QueueEntry]) -> None:
    """Give each entry its `why`, the device's own words where it failed, and when it moved."""
    listed = list(entries)
    failed = [entry for entry in listed if entry.state in progress.REFUSED]
    said = progress.errors(failed) if failed else {}
    for entry in listed:
        error = said.get((entry.enrollment_id, entry.command_uuid), "")
        entry.why = states.why(entry, error)  # type: ignore[attr-defined]
        entry.moved_at = states.moved_at(entry)  # type: ignore[attr-defined]


def _failed(command: Command, counts: dict[str, int], actor: Actor) -> int:
    """At how many it can be tried again; where they are many, at how many it failed, as the next
    page looks at each of them.
    """
    failed = sum(counts.get(state.value, 0) for state in retry.FAILED)
    return failed if failed > tally.LARGE else failed and retry.can_be_retried(actor, command)


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
