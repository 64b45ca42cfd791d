"""Runs of the sync: the list of them, and one with its log and what it decided."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import DurationField, ExpressionWrapper, F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from abm.models import LedgerEntry, RunLine, Server, SyncRun
from abm.pages import progress, words
from abm.runs import EVERY
from mdm.pages.frame import is_fragment, page, table_page
from mdm.search import Contains
from mdm.tables import Choices, Column, Filter, Table
from mdm.templatetags.guard import duration

State = SyncRun.State
Decision = LedgerEntry.Decision
Rows = QuerySet[SyncRun]

CHANGED = Q(added__gt=0) | Q(changed__gt=0) | Q(removed__gt=0)
# Every five minutes a run finds nothing, and nobody wants to read so.
NEWS = CHANGED | Q(errors__gt=0) | Q(full=True) | ~Q(state=State.FINISHED) | ~Q(asked_by=EVERY)


@page("server.read")
def runs(request: HttpRequest) -> HttpResponse:
    rows = SyncRun.objects.select_related("server").annotate(took=_TOOK)
    if not request.GET.get("show"):
        rows = rows.filter(NEWS)
    return table_page(request, "abm/runs.html", RUNS.view(request, rows))


@page("server.read")
def run(request: HttpRequest, pk: int) -> HttpResponse:
    """How far it is or what became of it, and its log."""
    found = _find(pk)
    if is_fragment(request, "run-progress"):
        return _fragment(request, found)
    view = LOG.view(request, RunLine.objects.filter(run=found))
    return table_page(request, "abm/run.html", view, tab="log", **_context(found))


@page("server.read")
def decisions(request: HttpRequest, pk: int) -> HttpResponse:
    """What it decided about each device."""
    found = _find(pk)
    view = LEDGER.view(request, LedgerEntry.objects.filter(run_id=found.pk))
    return table_page(request, "abm/run.html", view, tab="devices", **_context(found))


def _find(pk: int) -> SyncRun:
    return get_object_or_404(SyncRun.objects.select_related("server"), pk=pk)


def _fragment(request: HttpRequest, found: SyncRun) -> HttpResponse:
    context = _context(found)
    answer = render(request, "abm/run_progress.html", context)
    if request.GET.get("mark") != context["mark"]:
        answer["HX-Trigger"] = f'{{"table-outdated": "{LOG.slug} {LEDGER.slug}"}}'
    return answer


def _context(found: SyncRun) -> dict[str, Any]:
    return {
        "run": found,
        "progress": progress.of(found),
        "scheduled": found.asked_by == EVERY,
        "mark": f"{found.state}.{found.pages}.{found.errors}.{found.doing}",
    }


def _duration(row: SyncRun) -> str:
    end: datetime | None = row.finished_at
    if row.started_at is None:
        return ""
    return duration(((end or timezone.now()) - row.started_at).total_seconds())


_TOOK = ExpressionWrapper(F("finished_at") - F("started_at"), output_field=DurationField())


def _servers() -> Choices:
    return [(str(each.pk), str(each)) for each in Server.objects.order_by("pk")[:200]]


def _by_server(rows: QuerySet[Any], value: str) -> QuerySet[Any]:
    number = value.isascii() and value.isdigit() and len(value) < 19
    return rows.filter(server=int(value)) if number else rows.none()


def _by_show(rows: Rows, value: str) -> Rows:
    return rows.filter(CHANGED) if value == "changes" else rows


def _search(rows: QuerySet[LedgerEntry], text: str) -> QuerySet[LedgerEntry]:
    return rows.filter(Contains(F("serial_number"), text.replace("\0", "").strip()[:100]))


def _count(name: str) -> Any:
    return lambda row: f"{getattr(row, name):,}" if getattr(row, name) else ""


def _attribute(name: str) -> Any:
    return lambda row: getattr(row, name)


RUNS = Table(
    slug="abm-runs",
    label="Sync runs",
    one="run",
    many="runs",
    empty="abm/runs_empty.html",
    columns=(
        Column(
            key="at",
            label="When",
            value=_attribute("asked_at"),
            template="abm/cells/run.html",
        ),
        Column(key="server", label="Server", value=_attribute("server")),
        Column(
            key="state",
            label="State",
            value=_attribute("state"),
            template="abm/cells/run_state.html",
        ),
        Column(
            key="what",
            label="Read",
            value=lambda row: "whole list" if row.full else "changes",
            css="text-nowrap",
        ),
        Column(key="by", label="Asked by", value=_attribute("asked_by"), css="break"),
        *(
            Column(
                key=name,
                label=name.capitalize(),
                value=_count(name),
                css="num",
                sort=(name,),
                optional=True,
                extra=name == "pages",
            )
            for name in ("pages", "devices", "added", "changed", "removed", "errors")
        ),
        Column(key="took", label="Took", value=_duration, css="num", sort=("took",), optional=True),
    ),
    filters=(
        Filter(
            key="show",
            label="Show",
            otherwise="news",
            choices=lambda: (("changes", "changed devices"), ("all", "all runs")),
            apply=_by_show,
        ),
        Filter(key="server", label="Server", choices=_servers, apply=_by_server),
        Filter(
            key="state",
            label="State",
            choices=lambda: [(state.value, state.value) for state in State],
            apply=lambda rows, value: rows.filter(state=value),
        ),
    ),
)

LOG = Table(
    slug="run-log",
    label="Log",
    one="line",
    many="lines",
    empty="abm/run_log_empty.html",
    columns=(
        Column(key="at", label="When", value=_attribute("at"), template="abm/cells/line_at.html"),
        Column(key="sentence", label="What", value=_attribute("sentence"), css="break w-100"),
        Column(
            key="level",
            label="Level",
            value=_attribute("level"),
            template="abm/cells/level.html",
        ),
    ),
    filters=(
        Filter(
            key="level",
            label="Level",
            choices=lambda: [(level.value, level.value) for level in RunLine.Level],
            apply=lambda rows, value: rows.filter(level=value),
        ),
    ),
)

LEDGER = Table(
    slug="run-ledger",
    label="Devices of this run",
    one="decision",
    many="decisions",
    search=_search,
    search_hint="Serial number",
    empty="abm/run_ledger_empty.html",
    columns=(
        Column(
            key="serial",
            label="Serial number",
            value=_attribute("serial_number"),
            template="abm/cells/ledger_serial.html",
        ),
        Column(
            key="decision",
            label="Decision",
            value=_attribute("decision"),
            template="abm/cells/decision.html",
        ),
        Column(
            key="words",
            label="In words",
            value=lambda row: f"{words.said(row)} → {words.decided(row)}",
            css="break why-cell",
        ),
        Column(key="op_date", label="Apple's time", value=_attribute("op_date")),
        Column(key="page", label="Page", value=_attribute("page"), css="num"),
    ),
    filters=(
        Filter(
            key="decision",
            label="Decision",
            choices=lambda: [(key, look.word) for key, look in words.DECISION_LOOKS.items()],
            apply=lambda rows, value: rows.filter(decision=value),
        ),
    ),
)
