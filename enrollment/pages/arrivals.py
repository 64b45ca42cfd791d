"""Enrollment > Arrivals: devices that came by Automated Device Enrollment, let in or refused; whom
we believe; and the minimum OS.
"""

from __future__ import annotations

from typing import Any

from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from enrollment import apple, minimum
from enrollment.errors import BadMinimum
from enrollment.models import Arrival, MinimumOS, RefusedArrival
from mdm.audit.actor import Actor
from mdm.models import Device
from mdm.pages.frame import action, complain, form_page, page, say, table_page
from mdm.search import Contains
from mdm.tables import Column, Filter, Table

REASONS = {
    "no_trust": "Apple’s certificates are missing here",
    "unreadable": "Unreadable",
    "unsigned": "Not signed",
    "bad_signature": "Wrong signature",
    "foreign": "Not a device of Apple’s",
    "not_listed": "Not in ABM",
    "below_minimum": "Told to update",
    "signs_in": "Came without signing in",
    "too_often": "Came too often",
}


@page("server.read")
def refused(request: HttpRequest) -> HttpResponse:
    view = REFUSED.view(request, RefusedArrival.objects.all())
    return table_page(request, "enrollment/pages/arrivals_refused.html", view)


@page("server.read")
def arrivals(request: HttpRequest) -> HttpResponse:
    view = ARRIVALS.view(request, Arrival.objects.select_related("version__profile"))
    return table_page(request, "enrollment/pages/arrivals.html", view)


@form_page("minimum_os.set", read="server.read")
def settings(request: HttpRequest) -> HttpResponse:
    """The minimum OS of each platform, and Apple's certificates."""
    if request.method == "POST":
        return _set_minimums(request)
    given = dict(MinimumOS.objects.values_list("platform", "version"))
    context: dict[str, Any] = {
        "platforms": [(word, given.get(word, "")) for word in Device.Platform.values],
        "missing": apple.missing(),
        "ready": apple.ready(),
    }
    return render(request, "enrollment/pages/ade_settings.html", context)


@action("apple.trust")
def trust(request: HttpRequest) -> HttpResponse:
    """Have a worker fetch Apple's certificates."""
    apple.ask(Actor.of(request))
    say(request, "Apple’s certificates are being fetched. Look again in a moment.")
    return redirect("ade_settings")


def _set_minimums(request: HttpRequest) -> HttpResponse:
    try:
        for word in Device.Platform.values:
            if word in request.POST:
                minimum.set_minimum(Actor.of(request), word, request.POST[word])
    except BadMinimum as bad:
        complain(request, str(bad))
    else:
        say(request, "The minimum OS is set.")
    return redirect("ade_settings")


def _search(rows: QuerySet[Any], text: str) -> QuerySet[Any]:
    return rows.filter(Contains(F("serial_number"), text.replace("\0", "").strip()[:100]))


def flag_words(arrival: Arrival) -> str:
    """What was odd about an arrival."""
    labels = dict(Arrival.Flag.choices)
    return ", ".join(labels.get(flag, flag) for flag in arrival.flags)


REFUSED = Table(
    slug="arrivals-refused",
    label="Arrivals refused",
    one="case",
    many="cases",
    search=_search,
    search_hint="Serial number",
    order=("-last_at", "-id"),
    empty="enrollment/pages/arrivals_refused_empty.html",
    columns=(
        Column(
            key="serial",
            label="Claimed serial number",
            value=lambda row: row.serial_number,
            css="mono",
            sort=("serial_number",),
        ),
        Column(
            key="reason",
            label="Why",
            value=lambda row: row.sentence,
            template="enrollment/pages/cells/refused_reason.html",
            sort=("reason",),
        ),
        Column(key="count", label="Times", value=lambda row: row.count, css="num", sort=("count",)),
        Column(key="first", label="First", value=lambda row: row.first_at, sort=("first_at",)),
        Column(key="last", label="Last", value=lambda row: row.last_at, sort=("last_at",)),
        Column(key="address", label="From", value=lambda row: row.address, css="mono"),
    ),
    filters=(
        Filter(
            key="reason",
            label="Reason",
            choices=lambda: list(REASONS.items()),
            apply=lambda rows, value: rows.filter(reason=value),
        ),
    ),
)

ARRIVALS = Table(
    slug="arrivals",
    label="Arrivals",
    one="arrival",
    many="arrivals",
    search=_search,
    search_hint="Serial number",
    order=("-id",),
    empty="enrollment/pages/arrivals_empty.html",
    columns=(
        Column(
            key="serial",
            label="Serial number",
            value=lambda row: row.serial_number,
            css="mono",
            sort=("serial_number",),
        ),
        Column(key="product", label="Product", value=lambda row: f"{row.product} {row.os_version}"),
        Column(key="profile", label="Came with", value=lambda row: str(row.version or "")),
        Column(key="person", label="Signed in", value=lambda row: row.person),
        Column(key="flags", label="Flags", value=flag_words),
        Column(key="at", label="When", value=lambda row: row.at),
    ),
    filters=(
        Filter(
            key="flag",
            label="Flag",
            choices=lambda: list(Arrival.Flag.choices),
            apply=lambda rows, value: rows.filter(flags__contains=[value[:40]]),
        ),
    ),
)
