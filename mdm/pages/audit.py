"""The audit log: who did what to what, newest first."""

from __future__ import annotations

import json
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse

from mdm.audit.models import AuditEvent
from mdm.pages.frame import page, table_page
from mdm.tables import Choices, Column, Filter, Table

Rows = QuerySet[AuditEvent]


@page("audit.read")
def events(request: HttpRequest) -> HttpResponse:
    return table_page(request, "mdm/audit.html", TABLE.view(request, AuditEvent.objects.all()))


def _search(rows: Rows, text: str) -> Rows:
    text = text.replace("\0", "").strip()[:100]
    return rows.filter(
        Q(actor_name__ilike=text) | Q(action__ilike=text) | Q(subject_id__ilike=text)
    )


def _kinds() -> Choices:
    return AuditEvent.ActorKind.choices


def _change(row: AuditEvent) -> str:
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


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:120]


def _of(name: str) -> Any:
    return lambda row: getattr(row, name)


TABLE = Table(
    slug="audit",
    label="Audit",
    one="event",
    many="events",
    search=_search,
    search_hint="Person, action or subject",
    columns=(
        Column(key="at", label="When", value=_of("at")),
        Column(key="actor", label="Who", value=_of("actor_name"), template="mdm/cells/actor.html"),
        Column(key="action", label="Did", value=_of("action"), css="mono"),
        Column(
            key="subject",
            label="To",
            value=lambda row: f"{row.subject_kind} {row.subject_id}",
            css="break",
        ),
        Column(key="change", label="Change", value=_change, css="break text-secondary"),
    ),
    filters=(
        Filter(
            key="by",
            label="By",
            choices=_kinds,
            apply=lambda rows, value: rows.filter(actor_kind=value),
        ),
    ),
)
