"""The audit log: who did what to what, newest first, each event by itself, and what was refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from mdm import csv_export
from mdm.audit import export as exports
from mdm.audit import seal, selectors
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent, RefusedRequest
from mdm.audit.selectors import Events, Refusals
from mdm.health import chain
from mdm.models import Device
from mdm.navigation import Attention
from mdm.pages.frame import page, table_page
from mdm.standing import Tone
from mdm.tables import Choices, Column, Filter, Table


@page("audit.read")
def events(request: HttpRequest) -> HttpResponse:
    view = TABLE.view(request, AuditEvent.objects.all())
    return table_page(
        request,
        "mdm/audit/list.html",
        view,
        sealed=SimpleLazyObject(selectors.sealed),
        wrong=SimpleLazyObject(lambda: [thing for thing in chain.thing() if thing.wrong]),
    )


def attention() -> Iterable[Attention]:
    """A chain that does not hold, or that nobody checks."""
    for thing in chain.thing():
        if thing.wrong:
            yield Attention(
                what=f"Audit log: its chain is {thing.word.lower()}.",
                why=f"{thing.evidence} {thing.fix}",
                button="Open Health",
                url=reverse("health"),
                tone="danger" if thing.tone == "bad" else "warning",
            )


@page("audit.read")
def refused(request: HttpRequest) -> HttpResponse:
    view = REFUSED.view(request, RefusedRequest.objects.all())
    return table_page(request, "mdm/audit/refused.html", view)


@page("audit.read")
def event(request: HttpRequest, pk: int) -> HttpResponse:
    """One event: everything that is known of it, and whether it is as it was written."""
    found = get_object_or_404(AuditEvent, pk=pk)
    context = {"event": found, "changes": list(_changes(found)), "seal": _seal(found)}
    return render(request, "mdm/audit/event.html", context)


@page("audit.read")
def export(request: HttpRequest) -> HttpResponseBase:
    return _export(request, TABLE, AuditEvent.objects.all(), "audit")


@page("audit.read")
def export_refused(request: HttpRequest) -> HttpResponseBase:
    return _export(request, REFUSED, RefusedRequest.objects.all(), "refused")


def _export(request: HttpRequest, table: Table, rows: Any, name: str) -> HttpResponseBase:
    chosen = {key: request.GET[key][:100] for key in table.keys if request.GET.get(key)}
    exports.note(Actor.of(request), table.many, {"format": "csv", **chosen})
    rows = table.sort(table.narrow(rows, request.GET), request.GET)
    return csv_export.response(Actor.of(request), table, rows, f"{name}.csv")


def _changes(found: AuditEvent) -> Iterator[tuple[str, str | None, str | None]]:
    """What each part was before and is after, in words; None where it was or is not there. What
    stayed as it was comes last.
    """
    before, after = _parts(found.before), _parts(found.after)
    names = dict.fromkeys([*after, *before])
    for same in (False, True):
        for name in names:
            if (before.get(name) == after.get(name)) is same:
                yield name, before.get(name), after.get(name)


def _parts(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        value = {"value": value}
    return {str(key): _word(part, 4_000) for key, part in value.items()}


def _seal(found: AuditEvent) -> tuple[str, Tone, str, str]:
    """Word, tone, icon and sentence about the row's place in the chain."""
    number = found.sealed_as
    if number is None:
        return ("Not sealed yet", "off", "hourglass", "It gets its place in the chain in seconds.")
    try:
        holds = seal.holds(found)
    except seal.ChainError as error:
        return (f"Number {number:,}, not checked", "bad", "alert-triangle", str(error))
    if holds:
        after = f", and follows number {number - 1:,} in the chain" if number > 1 else ""
        return (f"Sealed as number {number:,}", "good", "lock", f"It is what was written{after}.")
    return (
        f"Does not fit its seal, number {number:,}",
        "bad",
        "alert-triangle",
        "This row, or one before it, was changed or taken out after it was sealed. Run"
        " `manage.py audit verify` on the server: it says which.",
    )


def change(row: AuditEvent) -> str:
    """What changed, short enough for a line."""
    before, after = row.before or {}, row.after or {}
    words = [
        f"{key}: {_word(before[key])} → {_word(after[key])}"
        if key in before and key in after
        else f"{key}: {_word(after.get(key, before.get(key)))}"
        for key in dict.fromkeys([*after, *before])
        if before.get(key) != after.get(key)
    ]
    return "; ".join(words)[:300]


def _word(value: object, most: int = 120) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:most]


def _json(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _of(name: str) -> Any:
    return lambda row: getattr(row, name)


def _is(*names: str) -> Callable[[Any, str], Any]:
    """A filter of rows whose columns are the words of the value, the last one with all the rest."""

    def apply(rows: Any, value: str) -> Any:
        return rows.filter(**dict(zip(names, value.split(" ", len(names) - 1), strict=False)))

    return apply


def _since(name: str) -> Callable[[Any, str], Any]:
    def apply(rows: Any, value: str) -> Any:
        day = selectors.beginning(value)
        return rows.filter(**{f"{name}__gte": day}) if day else rows.none()

    return apply


def _until(name: str) -> Callable[[Any, str], Any]:
    def apply(rows: Any, value: str) -> Any:
        day = selectors.beginning(value)
        if day is None:
            return rows.none()
        # No day follows the last one that there is, and nothing is later.
        last = day.date() == date.max
        return rows if last else rows.filter(**{f"{name}__lt": day + timedelta(days=1)})

    return apply


def _days(name: str) -> tuple[Filter, Filter]:
    """The first and the last day (UTC) of what is shown."""
    return (
        Filter(key="since", label="From", apply=_since(name), kind="date"),
        Filter(key="until", label="To", apply=_until(name), kind="date"),
    )


def _actions() -> Choices:
    return [(action, action) for action in selectors.actions()]


def _actions_refused() -> Choices:
    found = RefusedRequest.objects.order_by("action").values_list("action", flat=True).distinct()
    return [(action, action) for action in found[:200]]


def _by_kind(rows: Refusals, value: str) -> Refusals:
    return rows.filter(actor_kind="" if value == "stranger" else value)


def _by_device(rows: Events, value: str) -> Events:
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        return rows.none()
    return selectors.about(rows, Device.objects.filter(pk=value).first() or Device(pk=int(value)))


def _search(rows: Events, text: str) -> Events:
    return selectors.search(rows, text)


TABLE = Table(
    slug="audit",
    label="Audit",
    one="event",
    many="events",
    order=("-at", "-id"),
    search=_search,
    search_hint="Person, action, subject, address or request id",
    export_url="/settings/audit/export.csv",
    columns=(
        Column(key="at", label="When", value=_of("at")),
        Column(key="actor", label="Who", value=_of("actor_name"), template="mdm/cells/actor.html"),
        Column(
            key="action", label="Did", value=_of("action"), template="mdm/cells/audit_action.html"
        ),
        Column(
            key="subject",
            label="To",
            value=lambda row: f"{row.subject_kind} {row.subject_id}",
            css="break",
        ),
        Column(key="change", label="Change", value=change, css="break text-secondary"),
        *(
            Column(key=key, label=label, value=value, css="mono break", optional=True, extra=True)
            for key, label, value in (
                ("kind", "Kind", _of("actor_kind")),
                ("address", "Address", _of("address")),
                ("request", "Request id", _of("request_id")),
                ("before", "Before", lambda row: _json(row.before)),
                ("after", "After", lambda row: _json(row.after)),
                ("number", "Sealed as", _of("sealed_as")),
            )
        ),
    ),
    filters=(
        Filter(
            key="by",
            label="By",
            choices=lambda: AuditEvent.ActorKind.choices,
            apply=_is("actor_kind"),
        ),
        Filter(key="action", label="Action", choices=_actions, apply=_is("action")),
        *_days("at"),
        # From a device's page.
        Filter(key="device", label="Device", apply=_by_device, kind="hidden"),
        # From the page of an event.
        Filter(key="who", label="Who", apply=_is("actor_kind", "actor_id"), kind="hidden"),
        Filter(
            key="subject",
            label="To",
            apply=_is("subject_kind", "subject_id"),
            kind="hidden",
        ),
    ),
)

REFUSED = Table(
    slug="audit-refused",
    label="Refused",
    one="line",
    many="refused requests",
    order=("-hour", "-count", "-id"),
    search=selectors.search_refused,
    search_hint="Person, action or address",
    export_url="/settings/audit/refused/export.csv",
    empty="mdm/audit/refused_empty.html",
    columns=(
        Column(
            key="who", label="Who", value=_of("actor_name"), template="mdm/cells/refused_who.html"
        ),
        Column(key="action", label="Wanted", value=_of("action"), css="mono"),
        Column(key="count", label="Times", value=_of("count"), css="num", sort=("count",)),
        Column(key="first", label="First", value=_of("first_at"), sort=("first_at",)),
        Column(key="last", label="Last", value=_of("last_at"), sort=("last_at",)),
        Column(key="detail", label="Why", value=_of("detail"), css="break text-secondary"),
        *(
            Column(key=key, label=label, value=_of(name), css="mono", optional=True, extra=True)
            for key, label, name in (
                ("address", "Address", "address"),
                ("request", "Last request id", "request_id"),
            )
        ),
    ),
    filters=(
        Filter(
            key="by",
            label="By",
            choices=lambda: [*AuditEvent.ActorKind.choices[:2], ("stranger", "Stranger")],
            apply=_by_kind,
        ),
        Filter(key="action", label="Wanted", choices=_actions_refused, apply=_is("action")),
        *_days("hour"),
    ),
)
