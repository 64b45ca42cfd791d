"""ADE profiles: the list of them, one of them, and what is done to it as a whole."""

from __future__ import annotations

from typing import Any

from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from mdm.audit.actor import Actor
from mdm.pages.frame import Undo, action, complain, page, say, table_page
from mdm.search import Contains
from mdm.tables import Column, Filter, Table
from profiles import editing, selectors
from profiles.errors import ProfileError
from profiles.models import Profile, Version
from profiles.pages import contents


@page("server.read")
def profiles(request: HttpRequest) -> HttpResponse:
    rows = selectors.with_use(Profile.objects.select_related("current"))
    if request.GET.get("state") != "archived":
        rows = rows.filter(archived_at=None)
    view = TABLE.view(request, rows)
    _count(view.rows)
    return table_page(request, "profiles/profiles.html", view)


@page("server.read")
def profile(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Profile.objects.select_related("current"), pk=pk)
    versions = list(found.versions.order_by("-number"))
    wanted = selectors.devices_by_version(versions)
    carried = selectors.carried_by_version(versions)
    current = found.current
    context = {
        "profile": found,
        "current": current,
        "draft": next((each for each in versions if each.applied_at is None), None),
        "versions": [(each, wanted.get(each.pk, 0), carried.get(each.pk, 0)) for each in versions],
        "uses": editing.uses(found),
        "devices": wanted.get(current.pk, 0) if current else 0,
        "definitions": list(selectors.at_apple(current)) if current else [],
        "shown": contents.shown(current) if current else [],
        "panes": contents.panes(current.content) if current else None,
    }
    return render(request, "profiles/profile.html", context)


@page("server.read")
def by_version(request: HttpRequest, version: int) -> HttpResponse:
    """The profile of a version."""
    return redirect("profiles:profile", get_object_or_404(Version, pk=version).profile_id)


@action("profile.edit")
def rename(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Profile, pk=pk)
    try:
        editing.rename(Actor.of(request), found, request.POST.get("name", ""))
    except ProfileError as refused:
        complain(request, str(refused))
    else:
        say(request, f"It is called {found} now. Apple hears of the name with the next version.")
    return redirect("profiles:profile", found.pk)


@action("profile.edit")
def duplicate(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Profile, pk=pk)
    made = editing.duplicate(Actor.of(request), found)
    say(request, f"{made} says what {found} says, and is given to nobody.")
    return redirect("profiles:profile", made.pk)


@action("profile.edit")
def archive(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Profile, pk=pk)
    try:
        editing.archive(Actor.of(request), found)
    except ProfileError as refused:
        complain(request, str(refused))
        return redirect("profiles:profile", found.pk)
    say(
        request,
        f"{found} is archived. It can be brought back from the list of archived profiles.",
        undo=Undo(url=reverse("profiles:restore", args=[found.pk]), subject=("profile", found.pk)),
    )
    return redirect("profiles:profiles")


@action("profile.edit")
def restore(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Profile, pk=pk)
    try:
        editing.restore(Actor.of(request), found)
    except ProfileError as refused:
        complain(request, str(refused))
    else:
        undo = Undo(url=reverse("profiles:archive", args=[found.pk]), subject=("profile", found.pk))
        say(request, f"{found} is back.", undo=undo)
    return redirect("profiles:profile", found.pk)


def _count(rows: list[Any]) -> None:
    """Put on each profile how many devices should have it."""
    shown = [row.current for row in rows if row.current is not None]
    wanted = selectors.devices_by_version(shown)
    for row in rows:
        row.devices_wanted = wanted.get(row.current_id, 0)


def _search(rows: QuerySet[Profile], text: str) -> QuerySet[Profile]:
    return rows.filter(Contains(F("name"), text.replace("\0", "").strip()[:100]))


def _by_use(rows: QuerySet[Profile], value: str) -> QuerySet[Profile]:
    return rows.filter(selectors.in_use()) if value == "yes" else rows.exclude(selectors.in_use())


def _version(row: Profile) -> object:
    current: Version | None = row.current
    return current.number if current else "none yet"


TABLE = Table(
    slug="profiles",
    label="ADE profiles",
    one="profile",
    many="profiles",
    search=_search,
    search_hint="Name",
    order=("name", "id"),
    empty="profiles/profiles_empty.html",
    columns=(
        Column(
            key="name",
            label="Profile",
            value=lambda row: row.name,
            template="profiles/cells/profile.html",
            sort=("name",),
        ),
        Column(key="version", label="Version", value=_version, css="num"),
        Column(
            key="devices",
            label="Devices",
            value=lambda row: row.devices_wanted,
            template="profiles/cells/devices.html",
            css="num",
        ),
        Column(
            key="use",
            label="Given to",
            value=lambda row: "",
            template="profiles/cells/use.html",
        ),
        Column(key="made", label="Made", value=lambda row: row.created_at, sort=("created_at",)),
    ),
    filters=(
        Filter(
            key="used",
            label="In use",
            choices=lambda: (("yes", "yes"), ("no", "no")),
            apply=_by_use,
        ),
        Filter(
            key="state",
            label="State",
            choices=lambda: (("archived", "archived too"),),
            apply=lambda rows, value: rows,
            otherwise="not archived",
        ),
    ),
)
