"""Enrollment > Identities: the certificates with which devices prove who they are."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone

from mdm import csv_export, identities, scope
from mdm.audit.actor import Actor
from mdm.identities import Ends, State
from mdm.models import Device, Identity
from mdm.pages.frame import page, table_page
from mdm.tables import Column, Filter, Table

Rows = QuerySet[Identity]

# All that a row shows.
_SHOWN = (
    *("sha256", "binding", "issued_at", "expires_at", "revoked_at"),
    *("enrollment", "enrollment__state", "enrollment__identity_sha256", "enrollment__device"),
    *("enrollment__device__serial_number", "enrollment__device__device_name"),
    *("enrollment__device__udid", "enrollment__device__platform"),
)


@page("device.read")
def issued(request: HttpRequest) -> HttpResponse:
    return table_page(request, "mdm/identities/list.html", TABLE.view(request, _seen(request)))


@page("device.read")
def export(request: HttpRequest) -> HttpResponseBase:
    rows = TABLE.sort(TABLE.narrow(_seen(request), request.GET), request.GET)
    return csv_export.response(Actor.of(request), TABLE, rows, "identities.csv")


def _seen(request: HttpRequest) -> Rows:
    """Those of devices that the person may see."""
    rows = Identity.objects.select_related("enrollment__device").only(*_SHOWN)
    where = Actor.of(request).where("device.read")
    return scope.within(rows, where, "enrollment__device__serial_number")


def _device(row: Identity) -> Device | None:
    return row.enrollment.device if row.enrollment else None


def _by_state(rows: Rows, value: str) -> Rows:
    if value not in State:
        return rows.none()
    return rows.filter(identities.condition(State(value), timezone.now()))


def _by_end(rows: Rows, value: str) -> Rows:
    if value not in Ends:
        return rows.none()
    return rows.filter(identities.ending(Ends(value), timezone.now()))


TABLE = Table(
    slug="identities",
    label="Identities",
    one="identity",
    many="identities",
    search=identities.search,
    search_hint="Serial number, device or SHA-256",
    export_url="/enrollment/identities/export.csv",
    empty="mdm/identities/empty.html",
    columns=(
        Column(
            key="device",
            label="Device",
            value=lambda row: str(_device(row) or ""),
            template="mdm/cells/identity_device.html",
        ),
        Column(key="serial", label="Serial number", value=identities.serial_number, css="break"),
        Column(
            key="sha256",
            label="SHA-256",
            value=lambda row: bytes(row.sha256).hex(),
            template="mdm/cells/identity_sha256.html",
        ),
        Column(
            key="state",
            label="State",
            value=lambda row: identities.of(row, timezone.now()).label,
            template="mdm/cells/identity_state.html",
        ),
        Column(key="way", label="Came by", value=identities.way, optional=True),
        Column(
            key="issued",
            label="Issued",
            value=lambda row: row.issued_at,
            sort=("id",),
            optional=True,
        ),
        Column(key="ends", label="Ends", value=lambda row: row.expires_at, sort=("expires_at",)),
        Column(
            key="revoked",
            label="Revoked",
            value=lambda row: row.revoked_at,
            optional=True,
            extra=True,
        ),
    ),
    filters=(
        Filter(key="state", label="State", choices=lambda: State.choices, apply=_by_state),
        Filter(key="ends", label="Ends", choices=lambda: Ends.choices, apply=_by_end),
    ),
)
