"""Settings > People: who may sign in, inviting someone, ending and giving back access."""

from __future__ import annotations

from typing import Any

import structlog
from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from mdm.accounts import people as domain
from mdm.accounts.models import User
from mdm.accounts.tasks import send_access_link
from mdm.audit.actor import Actor
from mdm.pages.frame import action, complain, page, say, table_page
from mdm.tables import Column, Table

_log = structlog.get_logger(__name__)


@page
def people(request: HttpRequest) -> HttpResponse:
    return table_page(request, "mdm/people/list.html", TABLE.view(request, User.objects.all()))


@page
def invite(request: HttpRequest) -> HttpResponse:
    """By mail, or with an address to hand over in person."""
    email, name = request.POST.get("email", ""), request.POST.get("name", "")
    context: dict[str, Any] = {"email": email, "name": name, "mail": _has_mail()}
    if request.method != "POST":
        return render(request, "mdm/people/invite.html", context)
    actor = Actor.of(request)
    try:
        user = domain.invite(actor, email=email, name=name)
    except domain.PeopleError as refused:
        return render(
            request, "mdm/people/invite.html", {**context, "error": str(refused)}, status=422
        )
    if request.POST.get("by") == "mail" and _mailed(user):
        say(request, f"{user.email} gets a mail with the address at which to choose a password.")
        return redirect("people")
    return _show_link(request, user)


@page
def deactivate(request: HttpRequest, pk: int) -> HttpResponse:
    user = get_object_or_404(User, pk=pk)
    if request.method == "POST":
        try:
            domain.deactivate(Actor.of(request), user)
        except domain.PeopleError as refused:
            complain(request, str(refused))
        else:
            say(request, f"{user} can no longer sign in.")
        return redirect("people")
    words = (
        f"{user} ({user.email}) is signed out everywhere and cannot sign in until someone activates"
        " this account again. API tokens stop working too. The audit log keeps the name."
    )
    context = {"title": f"Deactivate {user}", "button": "Deactivate", "words": words}
    return render(request, "mdm/confirm.html", {**context, "back": reverse("people")})


@action
def activate(request: HttpRequest, pk: int) -> HttpResponse:
    user = get_object_or_404(User, pk=pk)
    domain.activate(Actor.of(request), user)
    say(request, f"{user} can sign in again.")
    return redirect("people")


@action
def link(request: HttpRequest, pk: int) -> HttpResponse:
    """A fresh address for someone who lost theirs, or the password."""
    return _show_link(request, get_object_or_404(User, pk=pk))


def _show_link(request: HttpRequest, user: User) -> HttpResponse:
    address = domain.access_link(Actor.of(request), user)
    return render(request, "mdm/people/link.html", {"person": user, "link": address})


def _has_mail() -> bool:
    return bool(settings.ENV.smtp_url)


def _mailed(user: User) -> bool:
    """Whether the mail was handed to a worker; the caller shows the address where it was not."""
    try:
        send_access_link.apply_async((user.pk,), retry=False)
    except Exception as error:
        _log.warning(
            "The broker does not take tasks; an invitation was not mailed", error=str(error)
        )
        return False
    return True


def _search(rows: QuerySet[User], text: str) -> QuerySet[User]:
    text = text.replace("\0", "").strip()[:100]
    return rows.filter(email__ilike=text) | rows.filter(username__ilike=text)


TABLE = Table(
    slug="people",
    label="People",
    one="person",
    many="people",
    search=_search,
    search_hint="Name or mail address",
    order=("-is_active", "username"),
    columns=(
        Column(
            key="name",
            label="Person",
            value=lambda row: str(row),
            template="mdm/cells/person.html",
            sort=("username",),
        ),
        Column(
            key="state", label="State", value=lambda row: "", template="mdm/cells/person_state.html"
        ),
        Column(
            key="login",
            label="Last sign-in",
            value=lambda row: row.last_login,
            sort=("last_login",),
        ),
        Column(
            key="do",
            label="",
            value=lambda row: "",
            template="mdm/cells/person_acts.html",
            css="text-end",
        ),
    ),
)
