"""Enrollment > Refused requests: what came to the device endpoints and was turned away, by hour."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from mdm import moments
from mdm.models import Refusal
from mdm.pages.frame import page, table_page
from mdm.tables import Choices, Column, Filter, Table


@page("server.read")
def refused(request: HttpRequest) -> HttpResponse:
    return table_page(request, "mdm/refused.html", TABLE.view(request, Refusal.objects.all()))


def _reasons() -> Choices:
    found = Refusal.objects.order_by("reason").values_list("reason", flat=True).distinct()
    return [(reason, _words(reason)) for reason in found[:100]]


def _words(reason: str) -> str:
    return reason.replace("_", " ").capitalize()


def _by_reason(rows: QuerySet[Refusal], value: str) -> QuerySet[Refusal]:
    return rows.filter(reason=value)


TABLE = Table(
    slug="refused",
    label="Refused requests",
    one="hour",
    many="hours",
    order=("-hour", "-count", "-id"),
    empty="mdm/refused_empty.html",
    columns=(
        Column(
            key="reason",
            label="Reason",
            value=lambda row: _words(row.reason),
            sort=("reason",),
        ),
        Column(key="count", label="Times", value=lambda row: row.count, css="num", sort=("count",)),
        Column(
            key="hour",
            label="In the hour from",
            value=lambda row: moments.moment(row.hour),
            sort=("hour",),
        ),
        Column(key="detail", label="Last", value=lambda row: row.last_detail, css="break"),
        Column(key="address", label="From", value=lambda row: row.last_address, css="mono"),
    ),
    filters=(Filter(key="reason", label="Reason", choices=_reasons, apply=_by_reason),),
)
