"""Enrollment > Links: making them, handing them over, closing them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone

from enrollment import links as domain
from enrollment.errors import BadLink, Closed, ExpiredLink, UsedUpLink
from enrollment.models import EnrollmentLink
from mdm.audit.actor import Actor
from mdm.audit.record import NoReason
from mdm.pages.frame import action, form_page, page, say, table_page
from mdm.push import certificate
from mdm.standing import Tone
from mdm.tables import Column, Table

# The link in the session that was made just now.
_MADE = "link_made"
_EXPIRES = (("1", "in a day"), ("7", "in 7 days"), ("30", "in 30 days"), ("", "never"))


@page("server.read")
def links(request: HttpRequest) -> HttpResponse:
    view = TABLE.view(request, EnrollmentLink.objects.all())
    return table_page(request, "enrollment/pages/links.html", view)


@form_page("link.create")
def create(request: HttpRequest) -> HttpResponse:
    filled = {
        "name": request.POST.get("name", ""),
        "max_uses": request.POST.get("max_uses", "1"),
        "expires": request.POST.get("expires", "7"),
        "serial_number": request.POST.get("serial_number", ""),
    }
    context: dict[str, Any] = {
        "filled": filled,
        "choices": _EXPIRES,
        "ready": certificate.active() is not None,
    }
    if request.method != "POST":
        return render(request, "enrollment/pages/create.html", context)
    try:
        made = _create(request, filled)
    except BadLink as refused:
        context["errors"] = {refused.field: str(refused)}
        return render(request, "enrollment/pages/create.html", context, status=422)
    say(request, f"{made.name} is open.")
    request.session[_MADE] = made.pk
    return redirect("link", made.pk)


@page("link.create")
def link(request: HttpRequest, pk: int) -> HttpResponse:
    """One link; with its address once, for who made it just now."""
    found = get_object_or_404(EnrollmentLink, pk=pk)
    if request.session.get(_MADE) == pk and not domain.closed(found):
        del request.session[_MADE]
        return _link(request, found, address=domain.url(found))
    return _link(request, found)


@action("link.create")
def address(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the address; whoever knows it can enroll a device."""
    found = get_object_or_404(EnrollmentLink, pk=pk)
    try:
        shown = domain.read_address(Actor.of(request), found, request.POST.get("reason", ""))
    except NoReason as missing:
        return _link(request, found, error=str(missing))
    except Closed:
        return redirect("link", pk)
    return _link(request, found, address=shown)


def _link(
    request: HttpRequest, found: EnrollmentLink, *, address: str = "", error: str = ""
) -> HttpResponse:
    context = {
        "link": found,
        "closed": domain.closed(found),
        "address": address,
        "error": error,
    }
    return render(request, "enrollment/pages/link.html", context, status=422 if error else 200)


@action("link.revoke")
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(EnrollmentLink, pk=pk)
    domain.revoke(Actor.of(request), found)
    say(request, f"{found.name} lets nobody in any more.")
    return redirect("links")


def state(found: EnrollmentLink) -> tuple[str, Tone, str, str]:
    """Word, tone, icon and reason for the badge of a link."""
    closed = domain.closed(found)
    if closed is None:
        return ("Open", "good", "circle-check", "Devices can enroll with it.")
    if isinstance(closed, UsedUpLink):
        return ("Used up", "off", "check", str(closed))
    if isinstance(closed, ExpiredLink):
        return ("Expired", "off", "clock", str(closed))
    return ("Closed", "off", "ban", str(closed))


def _create(request: HttpRequest, filled: dict[str, str]) -> EnrollmentLink:
    uses = filled["max_uses"].strip()
    if not (uses.isascii() and uses.isdigit() and len(uses) < 10):
        raise BadLink("max_uses", "Give a whole number.")
    days = filled["expires"]
    if days not in dict(_EXPIRES):
        raise BadLink("expires_at", "Choose when the link expires.")
    return domain.create(
        Actor.of(request),
        name=filled["name"],
        max_uses=int(uses),
        expires_at=timezone.now() + timedelta(days=int(days)) if days else None,
        serial_number=filled["serial_number"],
    )


TABLE = Table(
    slug="links",
    label="Enrollment links",
    one="link",
    many="links",
    empty="enrollment/pages/empty.html",
    columns=(
        Column(
            key="name",
            label="Link",
            value=lambda row: row.name,
            template="enrollment/pages/cells/name.html",
            sort=("name",),
        ),
        Column(
            key="state",
            label="State",
            value=lambda row: state(row)[0],
            template="enrollment/pages/cells/state.html",
        ),
        Column(
            key="uses",
            label="Used",
            value=lambda row: f"{row.uses:,} of {row.max_uses:,}",
            css="num",
            sort=("uses",),
        ),
        Column(
            key="expires",
            label="Expires",
            value=lambda row: row.expires_at or "never",
            sort=("expires_at",),
        ),
        Column(key="last", label="Last used", value=lambda row: row.last_used_at or "never"),
        Column(key="by", label="Made by", value=lambda row: row.created_by),
    ),
)
