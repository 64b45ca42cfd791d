"""The list of devices: what it shows, how it is narrowed, what a selection of it means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.contrib.postgres.aggregates import StringAgg
from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, NullIf
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.utils import timezone

from mdm import csv_export, scope, search, selection, standing
from mdm.audit.actor import Actor
from mdm.models import Device, Enrollment, Group, GroupMember
from mdm.pages.frame import page, table_page
from mdm.tables import Choices, Column, Filter, Table

Rows = QuerySet[Device]


@page("device.read")
def devices(request: HttpRequest) -> HttpResponse:
    rows = whole(_kept(request, request.GET))
    return table_page(request, "mdm/devices/list.html", TABLE.view(request, rows))


@page("device.read")
def export(request: HttpRequest) -> HttpResponseBase:
    rows = whole(_narrowed(request, request.GET))
    return csv_export.response(
        Actor.of(request), TABLE, TABLE.sort(rows, request.GET), "devices.csv"
    )


def selected(request: HttpRequest) -> Rows:
    """The devices that the bulk bar's form means: ticked ones, or all that its filters leave."""
    everything = request.POST.get("all", "")
    if everything.startswith("?"):
        return _narrowed(request, QueryDict(everything[1:]))
    ids = selection.ticked(request.POST)
    return scope.devices(Actor.of(request)).extra(where=["mdm_device.id = ANY(%s)"], params=[ids])


def _narrowed(request: HttpRequest, query: QueryDict) -> Rows:
    return TABLE.for_actor(Actor.of(request)).narrow(_kept(request, query), query)


def _kept(request: HttpRequest, query: QueryDict) -> Rows:
    """What the person may see; retired devices are off the list until someone asks for them."""
    everything = scope.devices(Actor.of(request))
    return everything if query.get("state") == "retired" else everything.filter(retired_at=None)


def whole(rows: Rows) -> Rows:
    """With all that a row shows of it."""
    name = Coalesce(NullIf("user_long_name", Value("")), "user_short_name")
    users = Enrollment.objects.filter(parent=OuterRef("enrollment")).order_by()
    named = users.values("parent").annotate(names=StringAgg(name, Value(", "), order_by="id"))
    rows = rows.select_related("enrollment").defer(*_UNSHOWN)
    return rows.annotate(user_names=Subquery(named.values("names")))


# By the hundred thousand in a file, what is read and not shown costs as much as what is.
_UNSHOWN = (
    "build_version",
    "imei",
    "meid",
    "created_at",
    "enrollment__device_identifier",
    "enrollment__identity_sha256",
    "enrollment__awaiting_configuration",
    "enrollment__not_on_console",
    "enrollment__inventory_asked_at",
    "enrollment__topic",
    "enrollment__push_magic",
    "enrollment__sealed_push_token",
    "enrollment__token_updated_at",
    "enrollment__wake_at",
    "enrollment__wake_attempts",
    "enrollment__pushed_at",
)


def _by_state(rows: Rows, value: str) -> Rows:
    try:
        return rows.filter(standing.condition(value, timezone.now()))
    except KeyError:
        return rows.none()


def _by_platform(rows: Rows, value: str) -> Rows:
    return rows.filter(platform=value)


def _versions() -> Choices:
    with connection.cursor() as cursor:
        cursor.execute(_VERSIONS)
        found = [version for (version,) in cursor.fetchall()]
    return [(version, version) for version in sorted(found, key=_version_order, reverse=True)]


# From one version to the next in the index, instead of reading every device's.
_VERSIONS = """
WITH RECURSIVE found AS (
    SELECT min(os_version) AS version FROM mdm_device WHERE os_version > ''
    UNION ALL
    SELECT (SELECT min(os_version) FROM mdm_device WHERE os_version > version) FROM found
    WHERE version IS NOT NULL
)
SELECT version FROM found WHERE version IS NOT NULL LIMIT 200"""


def _version_order(text: str) -> list[int]:
    return [int(part) if part.isascii() and part.isdigit() else 0 for part in text.split(".")[:4]]


def _by_version(rows: Rows, value: str) -> Rows:
    return rows.filter(os_version=value)


def _by_supervision(rows: Rows, value: str) -> Rows:
    return rows.filter(supervised={"yes": True, "no": False}.get(value))


def _groups() -> Choices:
    return [(str(pk), name) for pk, name in Group.objects.values_list("pk", "name")[:200]]


def _by_group(rows: Rows, value: str) -> Rows:
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        return rows.none()
    members = GroupMember.objects.filter(group=int(value), serial_number=OuterRef("serial_number"))
    return rows.filter(Exists(members))


_CONTACT = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}


def _by_contact(rows: Rows, value: str) -> Rows:
    if value in _CONTACT:
        return rows.filter(enrollment__last_seen_at__gte=timezone.now() - _CONTACT[value])
    if value == "older":
        return rows.filter(enrollment__last_seen_at__lt=timezone.now() - _CONTACT["week"])
    return rows.filter(enrollment__last_seen_at=None)


def _as_they_are(choices: Sequence[tuple[str, str]]) -> Choices:
    return choices


_WORDS = {True: "Yes", False: "No", None: ""}

TABLE = Table(
    slug="devices",
    label="Devices",
    one="device",
    many="devices",
    search=search.devices,
    search_hint="Serial, name, user, UDID or model",
    selectable=True,
    bulk_place="devices.bulk",
    export_url="/devices/export.csv",
    empty="mdm/devices/empty.html",
    columns=(
        Column(
            key="name",
            label="Device",
            value=lambda row: row.device_name,
            template="mdm/cells/device.html",
            sort=("device_name",),
        ),
        Column(
            key="serial",
            label="Serial number",
            value=lambda row: row.serial_number or "",
            template="mdm/cells/serial.html",
            sort=("serial_number",),
        ),
        Column(
            key="state",
            label="State",
            value=lambda row: standing.of(row, timezone.now()).word,
            template="mdm/cells/standing.html",
        ),
        Column(
            key="model",
            label="Model",
            value=lambda row: row.model_name or row.product_name or row.model,
            sort=("model_name",),
            optional=True,
            extra=True,
        ),
        Column(
            key="os",
            label="OS",
            value=lambda row: f"{row.platform} {row.os_version}".strip(),
            sort=("platform", "os_version"),
            optional=True,
        ),
        Column(
            key="supervised",
            label="Supervised",
            value=lambda row: _WORDS[row.supervised],
            optional=True,
        ),
        Column(
            key="seen",
            label="Last contact",
            value=lambda row: row.enrollment and row.enrollment.last_seen_at,
            sort=("enrollment__last_seen_at",),
            optional=True,
        ),
        Column(
            key="user",
            label="User",
            value=lambda row: row.user_names,
            optional=True,
            css="break",
        ),
        Column(
            key="udid",
            label="UDID",
            value=lambda row: row.udid,
            css="mono",
            optional=True,
            extra=True,
        ),
    ),
    filters=(
        Filter(
            key="state",
            label="State",
            choices=lambda: _as_they_are(standing.CHOICES),
            apply=_by_state,
        ),
        Filter(
            key="platform",
            label="Platform",
            choices=lambda: [(name.value, name.value) for name in Device.Platform],
            apply=_by_platform,
        ),
        # What is offered is of all devices, so it is not for those who see a group's alone.
        Filter(key="os", label="OS", choices=_versions, apply=_by_version, right="server.read"),
        Filter(key="group", label="Group", choices=_groups, apply=_by_group, right="server.read"),
        Filter(key="user", label="User", kind="text", apply=search.of_user, otherwise="anyone"),
        Filter(
            key="supervised",
            label="Supervised",
            choices=lambda: _as_they_are((("yes", "yes"), ("no", "no"), ("unknown", "not known"))),
            apply=_by_supervision,
        ),
        Filter(
            key="seen",
            label="Last contact",
            choices=lambda: _as_they_are(
                (
                    ("hour", "within an hour"),
                    ("day", "within a day"),
                    ("week", "within 7 days"),
                    ("older", "longer ago"),
                    ("never", "never"),
                )
            ),
            apply=_by_contact,
        ),
    ),
)
