"""The list of ABM devices: what it shows, how it is narrowed, what a selection of it means."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    QueryDict,
    StreamingHttpResponse,
)
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from abm import differences
from abm.models import AbmDevice, Definition, Server, Wish
from abm.pages import progress, sync, words
from abm.serials import is_serial
from mdm import csv_export, selection, standing
from mdm.audit.actor import Actor
from mdm.models import Device, Enrollment, Group, GroupMember
from mdm.pages.frame import action, complain, is_fragment, page, table_page
from mdm.search import Contains
from mdm.tables import Choices, Column, Filter, Table

Rows = QuerySet[AbmDevice]

# What a trigram index can look for.
_SHORTEST = 3
_FEW = 1_000
_SHOWN_WITH = ("server", "device__enrollment", "wish__definition")
# What is large, or has to be parsed, and that no column shows.
_NOT_SHOWN = (
    *("more", "server__account", "server__sealed_token"),
    *("wish__definition__sealed_document", "wish__definition__sealed_copy"),
)


@page("server.read")
def devices(request: HttpRequest) -> HttpResponse:
    try:
        table = _table(request, request.GET)
    except selection.SelectionGone as gone:
        return _without_selection(request, gone)
    view = table.view(request, whole(_kept(request.GET)))
    if is_fragment(request, f"region-{table.slug}"):
        return table_page(request, "abm/devices.html", view, **_emptiness(view.rows))
    shown = progress.lines()
    context = {**sync.context(shown), **_emptiness(view.rows)}
    return table_page(request, "abm/devices.html", view, **context)


@page("server.read")
def export(request: HttpRequest) -> HttpResponseBase:
    """What the filters leave, with every column."""
    return _exported(request, _chosen(request, request.GET), "all")


@page("server.read")
def export_serials(request: HttpRequest) -> HttpResponseBase:
    """What the filters leave, as serial numbers alone: what ABM takes for an upload."""
    return _exported(request, _chosen(request, request.GET), "serials")


@action("server.read")
def export_selected(request: HttpRequest, what: str) -> HttpResponseBase:
    return _exported(request, selected(request), what)


@action("command.send")
def send_command(request: HttpRequest) -> HttpResponse:
    """Freeze those of the selection that are enrolled and go on to choosing a command."""
    enrolled = selected(request).filter(device__enrollment__state=Enrollment.State.ENROLLED)
    ids = list(enrolled.order_by().values_list("device__enrollment_id", flat=True))
    if not ids:
        complain(request, "None of the chosen devices is enrolled, so no command can reach them.")
        return redirect("abm:devices")
    token = selection.freeze(person(request), ids)
    return HttpResponseRedirect(f"{reverse('commands:send')}?{urlencode({'to': token})}")


def selected(request: HttpRequest) -> Rows:
    """The devices that the bulk bar's form means: ticked ones, or all that its filters leave."""
    everything = request.POST.get("all", "")
    if everything.startswith("?"):
        return _chosen(request, QueryDict(everything[1:]))
    return _with_ids(AbmDevice.objects.all(), selection.ticked(request.POST))


def person(request: HttpRequest) -> int:
    return int(request.user.pk or 0)


# --- Which rows ----------------------------------------------------------------------------------


def _kept(query: QueryDict) -> Rows:
    """What is listed now, until someone asks for what was removed. A device that moved between two
    of our servers is shown once, with the one it belongs to.
    """
    wanted = query.get("listed", "")
    everything = AbmDevice.objects.all()
    if wanted == "removed":
        return everything.filter(removed_at__isnull=False)
    if wanted == "all":
        return everything.filter(Q(current=True) | Q(removed_at__isnull=False))
    return everything.filter(current=True, removed_at=None)


def _chosen(request: HttpRequest, query: QueryDict) -> Rows:
    try:
        table = _table(request, query)
    except selection.SelectionGone:
        return AbmDevice.objects.none()
    return table.sort(table.narrow(_kept(query), query), query)


def whole(rows: Rows) -> Rows:
    """With all that a row shows of it."""
    members = GroupMember.objects.filter(serial_number=OuterRef("serial_number")).order_by()
    names = members.values("serial_number").annotate(
        names=ArrayAgg("group__name", order_by=["group__rank"])
    )
    shown = rows.select_related(*_SHOWN_WITH).defer(*_NOT_SHOWN)
    return shown.annotate(groups=Subquery(names.values("names")))


def _table(request: HttpRequest, query: QueryDict) -> Table:
    """The table, with a chip for a frozen selection where the query names one.

    Raises SelectionGone.
    """
    token = query.get("selection", "")
    if not token:
        return TABLE
    ids = selection.thaw(person(request), token)
    word = f"{len(ids):,} device{'' if len(ids) == 1 else 's'}"
    chip = Filter(
        key="selection",
        label="Imported",
        choices=lambda: [(token, word)],
        apply=lambda rows, value: _with_ids(rows, ids),
    )
    return replace(TABLE, filters=(chip, *TABLE.filters))


def _with_ids(rows: Rows, ids: Sequence[int]) -> Rows:
    return rows.extra(where=["abm_abmdevice.id = ANY(%s)"], params=[list(ids)])


def _without_selection(request: HttpRequest, gone: selection.SelectionGone) -> HttpResponse:
    complain(request, str(gone))
    rest = request.GET.copy()
    rest.pop("selection")
    return HttpResponseRedirect(f"{request.path}?{rest.urlencode()}")


def _search(rows: Rows, text: str) -> Rows:
    """Any part of serial number, model, asset tag, or of the name that the device has itself; a
    letter or two, which are in nearly all of these, in the serial number alone.
    """
    text = text.replace("\0", "").strip()[:100]
    if not text:
        return rows
    serial = Q(Contains(F("serial_number"), text))
    if len(text) < _SHORTEST:
        return rows.filter(serial)
    listed_as = serial | Q(Contains(F("model"), text)) | Q(Contains(F("asset_tag"), text))
    return rows.filter(listed_as | Q(device__in=_named_like(text)))


def _named_like(text: str) -> Collection[int] | QuerySet[Device, int]:
    """The devices with such a name, found beforehand while they are few: Postgres then needs no
    more than indexes to find them and what matches by itself.
    """
    named = Device.objects.filter(Contains(F("device_name"), text)).values_list("pk", flat=True)
    few = list(named[: _FEW + 1])
    return named if len(few) > _FEW else few


def _by_server(rows: Rows, value: str) -> Rows:
    number = value.isascii() and value.isdigit() and len(value) < 19
    return rows.filter(server=int(value)) if number else rows.none()


def _by_enrollment(rows: Rows, value: str) -> Rows:
    if value == "yes":
        return rows.filter(device__enrollment__state=Enrollment.State.ENROLLED)
    enrolled = Device.objects.filter(enrollment__state=Enrollment.State.ENROLLED)
    return rows.exclude(device__in=enrolled.values("pk"))


_SINCE = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}


def _by_added(rows: Rows, value: str) -> Rows:
    since = _SINCE.get(value)
    return rows.filter(added_at__gte=timezone.now() - since) if since else rows.none()


def _by_assignment(rows: Rows, value: str) -> Rows:
    """How it stands with the profile that each device should have."""
    now = timezone.now()
    match value:
        case "unassigned":
            return rows.filter(wish__isnull=False, wish__definition=None)
        case "settled":
            return rows.filter(differences.settled())
        case "waiting":
            return rows.filter(differences.differs())
        case "cooling":
            return rows.filter(differences.differs(), wish__retry_at__gt=now)
        case _:
            return rows.none()


def _by_wanted(rows: Rows, value: str) -> Rows:
    number = value.isascii() and value.isdigit() and len(value) < 19
    return rows.filter(wish__definition__reference=int(value)) if number else rows.none()


def _wanted() -> Choices:
    """The profiles that devices should have, as they are defined."""
    found = (
        Definition.objects.filter(Exists(Wish.objects.filter(definition=OuterRef("pk"))))
        .order_by("name")
        .values_list("reference", "name")
    )
    return [(str(reference), name) for reference, name in dict(found[:200]).items()]


def _by_group(rows: Rows, value: str) -> Rows:
    number = value.isascii() and value.isdigit() and len(value) < 19
    if not number:
        return rows.none()
    members = GroupMember.objects.filter(group=int(value)).values("serial_number")
    return rows.filter(serial_number__in=members)


def _groups() -> Choices:
    return [(str(pk), name) for pk, name in Group.objects.values_list("pk", "name")[:200]]


def _by_field(name: str) -> Any:
    return lambda rows, value: rows.filter(**{name: value})


def _servers() -> Choices:
    return [(str(each.pk), str(each)) for each in Server.objects.order_by("pk")[:200]]


# --- What it says when there is nothing ----------------------------------------------------------


def _emptiness(rows: Sequence[AbmDevice]) -> dict[str, object]:
    """For an empty list: whether a server is connected, and whether its first list was read."""
    if rows:
        return {}
    connected = Server.objects.filter(disconnected_at=None, sealed_token__isnull=False)
    found = list(connected.values_list("list_finished_at", flat=True))
    return {"connected": bool(found), "was_read": any(found)}


# --- Files ---------------------------------------------------------------------------------------


def _exported(request: HttpRequest, rows: Rows, what: str) -> HttpResponseBase:
    if what == "serials":
        return _serials(rows)
    return csv_export.response(Actor.of(request), TABLE, whole(rows), "abm-devices.csv")


def _serials(rows: Rows) -> StreamingHttpResponse:
    """One serial number a line, as RFC 4180 ends lines, and no header."""
    answer = StreamingHttpResponse(_serial_lines(rows), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="serial-numbers.csv"'
    answer["Cache-Control"] = "no-store"
    return answer


def _serial_lines(rows: Rows) -> Iterator[str]:
    serials = rows.values_list("serial_number", flat=True)
    return (f"{serial}\r\n" for serial in serials.iterator(chunk_size=2_000) if is_serial(serial))


# --- The table -----------------------------------------------------------------------------------


def _attribute(name: str) -> Any:
    return lambda row: getattr(row, name)


def _standing(row: AbmDevice) -> str:
    return standing.of(row.device, timezone.now()).word if row.device else "Not enrolled"


def _last_seen(row: AbmDevice) -> object:
    enrollment = row.device.enrollment if row.device else None
    return enrollment.last_seen_at if enrollment else None


def _plain(key: str, label: str, field: str = "", *, extra: bool = True, css: str = "") -> Column:
    """A column that shows a field as it is."""
    name = field or key
    return Column(
        key=key,
        label=label,
        value=_attribute(name),
        sort=(name,),
        optional=True,
        extra=extra,
        css=css,
    )


def _named(*names: str) -> Choices:
    return [(name, name) for name in names]


TABLE = Table(
    slug="abm-devices",
    label="ABM devices",
    one="device",
    many="devices",
    search=_search,
    search_hint="Serial, model, tag or name",
    selectable=True,
    bulk_place="abm.devices.bulk",
    export_url="/abm/devices/export.csv",
    more_exports=(("Serial numbers", "/abm/devices/serial-numbers.csv"),),
    empty="abm/devices_empty.html",
    columns=(
        Column(
            key="serial",
            label="Serial number",
            value=_attribute("serial_number"),
            template="abm/cells/device.html",
            sort=("serial_number",),
        ),
        Column(
            key="state",
            label="Enrollment",
            value=_standing,
            template="abm/cells/standing.html",
        ),
        _plain("model", "Model"),
        _plain("description", "Description", css="break"),
        _plain("family", "Family", "device_family"),
        Column(
            key="os",
            label="OS",
            value=lambda row: words.os(row.os),
            sort=("os",),
            optional=True,
            extra=True,
        ),
        _plain("color", "Color"),
        _plain("asset", "Asset tag", "asset_tag", extra=False, css="break"),
        Column(
            key="profile",
            label="Profile",
            value=_attribute("profile_status"),
            template="abm/cells/profile.html",
            sort=("profile_status",),
            optional=True,
        ),
        Column(
            key="wanted",
            label="Should have",
            value=lambda row: words.wanted(row),
            template="abm/cells/wanted.html",
            optional=True,
        ),
        Column(
            key="groups",
            label="Groups",
            value=lambda row: ", ".join(row.groups or ()),
            optional=True,
            css="break",
        ),
        _plain("assigned_profile", "Profile assigned", "profile_assign_time"),
        _plain("pushed_profile", "Profile pushed", "profile_push_time"),
        _plain("uuid", "Profile UUID", "profile_uuid", css="mono break"),
        Column(
            key="server",
            label="Server",
            value=_attribute("server"),
            sort=("server",),
            optional=True,
        ),
        _plain("by", "Assigned by", "device_assigned_by", css="break"),
        _plain("assigned", "Assigned", "device_assigned_date", extra=False),
        _plain("added", "Added here", "added_at"),
        _plain("removed", "Removed", "removed_at"),
        Column(
            key="seen",
            label="Last contact",
            value=_last_seen,
            sort=("device__enrollment__last_seen_at",),
            optional=True,
        ),
    ),
    filters=(
        Filter(key="server", label="Server", choices=_servers, apply=_by_server),
        Filter(
            key="family",
            label="Family",
            choices=lambda: _named("iPhone", "iPad", "Mac", "AppleTV", "Vision", "Watch", "iPod"),
            apply=_by_field("device_family"),
        ),
        Filter(
            key="os",
            label="OS",
            choices=lambda: [
                (name, words.os(name))
                for name in ("iOS", "iPadOS", "OSX", "tvOS", "visionOS", "watchOS")
            ],
            apply=_by_field("os"),
        ),
        Filter(
            key="profile",
            label="Profile",
            choices=lambda: [(key, look.word) for key, look in words.PROFILE_LOOKS.items()],
            apply=_by_field("profile_status"),
        ),
        Filter(
            key="assignment",
            label="Assignment",
            choices=lambda: (
                ("unassigned", "Unassigned"),
                ("settled", "as it should be"),
                ("waiting", "still to be told"),
                ("cooling", "waits for its next try"),
            ),
            apply=_by_assignment,
        ),
        Filter(key="wanted", label="Should have", choices=_wanted, apply=_by_wanted),
        Filter(key="group", label="Group", choices=_groups, apply=_by_group),
        Filter(
            key="enrolled",
            label="Enrolled",
            choices=lambda: (("yes", "yes"), ("no", "no")),
            apply=_by_enrollment,
        ),
        Filter(
            key="added",
            label="Added",
            choices=lambda: (
                ("day", "within a day"),
                ("week", "within 7 days"),
                ("month", "within 30 days"),
            ),
            apply=_by_added,
        ),
        Filter(
            key="listed",
            label="In ABM",
            otherwise="listed now",
            choices=lambda: (("removed", "removed"), ("all", "listed or removed")),
            apply=lambda rows, value: rows,
        ),
    ),
)
