"""The default profile of each OS, in general and on each ABM server."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from abm.models import Server
from abm.servers import connected
from mdm.audit.actor import Actor
from mdm.pages.frame import complain, form_page, say
from profiles import giving, preview, selectors
from profiles.errors import NotNow
from profiles.models import Default, Profile

Wanted = dict[tuple[str, int | None], Profile | None]


@form_page("profile.give", read="server.read")
def defaults(request: HttpRequest) -> HttpResponse:
    """A choice for each OS; what it would change is shown before it is applied."""
    servers = list(connected())
    given = {(each.os, each.server_id): each.profile_id for each in Default.objects.all()}
    usable = list(selectors.usable())
    if request.method != "POST":
        context = {"rows": _rows(servers, given), "servers": servers, "profiles": usable}
        return render(request, "profiles/defaults.html", context)
    wanted = _wanted(request, servers, given, {profile.pk: profile for profile in usable})
    if not wanted:
        complain(request, "Nothing was changed: these are the defaults already.")
        return redirect("profiles:defaults")
    if request.POST.get("apply"):
        return _applied(request, wanted)
    shown: dict[str, Any] = {
        "wanted": _named(wanted, servers),
        "preview": preview.of_defaults(wanted),
        "posted": [(key, value) for key, value in request.POST.items() if key.startswith("d-")],
    }
    return render(request, "profiles/defaults_preview.html", shown)


def _applied(request: HttpRequest, wanted: Wanted) -> HttpResponse:
    by_id = Server.objects.in_bulk([server for _, server in wanted if server is not None])
    try:
        for (os, server), profile in wanted.items():
            giving.set_default(
                Actor.of(request), os, by_id[server] if server is not None else None, profile
            )
    except NotNow as refused:
        complain(request, str(refused))
    else:
        say(request, "The defaults are set. Devices are given their profile now.")
    return redirect("profiles:defaults")


def _key(os: str, server_id: int | None) -> str:
    return f"d-{os}-{server_id or 'all'}"


def _rows(servers: list[Server], given: dict[tuple[str, int | None], int]) -> list[Any]:
    columns: list[int | None] = [None, *(server.pk for server in servers)]
    names: dict[int | None, str] = {None: "any server"}
    names |= {server.pk: str(server) for server in servers}
    return [
        (
            os.label,
            [
                (_key(os.value, column), given.get((os.value, column)), names[column])
                for column in columns
            ],
        )
        for os in Default.OS
    ]


def _wanted(
    request: HttpRequest,
    servers: list[Server],
    given: dict[tuple[str, int | None], int],
    usable: dict[int, Profile],
) -> Wanted:
    """What is to become different."""
    wanted: Wanted = {}
    for os in Default.OS.values:
        for server in (None, *(each.pk for each in servers)):
            text = request.POST.get(_key(os, server))
            if text is None:
                continue
            chosen = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
            if chosen != given.get((os, server)) and (chosen is None or chosen in usable):
                wanted[os, server] = usable[chosen] if chosen is not None else None
    return wanted


def _named(wanted: Wanted, servers: list[Server]) -> list[tuple[str, str, Profile | None]]:
    names = {server.pk: str(server) for server in servers}
    return [
        (Default.OS(os).label, names.get(server, "") if server else "", profile)
        for (os, server), profile in wanted.items()
    ]
