"""Settings > People and roles: who may sign in and what they may do; inviting someone, giving and
taking roles, ending and giving back access.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from mdm.accounts import people as domain
from mdm.accounts import rights, sessions
from mdm.accounts.models import Grant, User
from mdm.accounts.rights import Role
from mdm.accounts.tasks import send_access_link
from mdm.audit.actor import Actor
from mdm.models import Group
from mdm.pages.frame import (
    NO_GROUP,
    Undo,
    action,
    chosen_group,
    complain,
    form_page,
    page,
    say,
    table_page,
)
from mdm.tables import Column, Table

_log = structlog.get_logger(__name__)


@page("people.read")
def people(request: HttpRequest) -> HttpResponse:
    current = Prefetch("grants", Grant.objects.current().select_related("group"), "roles")
    rows = User.objects.prefetch_related(current)
    return table_page(request, "mdm/people/list.html", TABLE.view(request, rows))


@page("dashboard.open")
def roles(request: HttpRequest) -> HttpResponse:
    """What each role may do, and which of them the person has."""
    lines = [(right, [role in right.roles for role in Role]) for right in rights.TABLE]
    own = Grant.objects.current().filter(user=request.user.pk or 0).select_related("group")
    context = {"roles": list(Role), "lines": lines, "own": own.order_by("pk")}
    return render(request, "mdm/people/roles.html", context)


@page("people.read")
def person(request: HttpRequest, pk: int) -> HttpResponse:
    """Someone's roles, those that have ended too, and the form that gives another."""
    return _person(request, get_object_or_404(User, pk=pk))


@action("people.grant")
def grant(request: HttpRequest, pk: int) -> HttpResponse:
    user = get_object_or_404(User, pk=pk)
    try:
        lasts = _LASTS[request.POST.get("lasts", "")]
        given = domain.grant(
            Actor.of(request),
            user,
            role=_role(request),
            group=_group(request),
            also=request.POST.getlist("also"),
            lasts=timedelta(hours=lasts) if lasts else None,
            reason=request.POST.get("reason", ""),
        )
    except KeyError:
        return _person(request, user, {"lasts": "Choose for how long."})
    except domain.BadGrant as bad:
        return _person(request, user, {bad.field: str(bad)})
    say(request, f"{user} is {given} now.")
    return redirect("person", user.pk)


@action("people.revoke")
def end_grant(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    given = get_object_or_404(Grant.objects.select_related("user", "group"), user=pk, pk=number)
    try:
        domain.end_grant(Actor.of(request), given)
    except domain.LastOne as refused:
        complain(request, str(refused))
    else:
        say(request, f"{given.user} is no longer {given}.")
    return redirect("person", pk)


@form_page("people.invite")
def invite(request: HttpRequest) -> HttpResponse:
    """By mail, or with an address to hand over in person."""
    email, name = request.POST.get("email", ""), request.POST.get("name", "")
    context: dict[str, Any] = {
        "email": email,
        "name": name,
        "mail": _has_mail(),
        **_choices(request.POST),
    }
    if request.method != "POST":
        return render(request, "mdm/people/invite.html", context)
    actor = Actor.of(request)
    try:
        user = domain.invite(
            actor, email=email, name=name, role=_role(request), group=_group(request)
        )
    except domain.PeopleError as refused:
        context["errors"] = {getattr(refused, "field", "email"): str(refused)}
        return render(request, "mdm/people/invite.html", context, status=422)
    if request.POST.get("by") == "mail" and _mailed(user):
        say(request, f"{user.email} gets a mail with the address at which to choose a password.")
        return redirect("people")
    return _show_link(request, user)


@form_page("people.deactivate")
def deactivate(request: HttpRequest, pk: int) -> HttpResponse:
    user = get_object_or_404(User, pk=pk)
    if request.method == "POST":
        try:
            domain.deactivate(Actor.of(request), user)
        except domain.PeopleError as refused:
            complain(request, str(refused))
        else:
            undo = Undo(url=reverse("people_activate", args=[user.pk]), subject=("person", user.pk))
            say(request, f"{user} can no longer sign in.", undo=undo)
        return redirect("people")
    words = (
        f"{user} ({user.email}) is signed out everywhere and cannot sign in until someone activates"
        " this account again. API tokens stop working too. The audit log keeps the name."
    )
    context = {"title": f"Deactivate {user}", "button": "Deactivate", "words": words}
    return render(request, "mdm/confirm.html", {**context, "back": reverse("people")})


@action("people.activate")
def activate(request: HttpRequest, pk: int) -> HttpResponse:
    user = get_object_or_404(User, pk=pk)
    domain.activate(Actor.of(request), user)
    undo = Undo(url=reverse("people_deactivate", args=[user.pk]), subject=("person", user.pk))
    say(request, f"{user} can sign in again.", undo=undo)
    return redirect("people")


@action("people.sign_out")
def sign_out(request: HttpRequest, pk: int) -> HttpResponse:
    user = get_object_or_404(User, pk=pk)
    if user.pk == request.user.pk:
        # Whoever asks stays: the page of one's own sessions ends the others.
        return redirect("usersessions_list")
    count = sessions.sign_out(Actor.of(request), user)
    where = "1 place" if count == 1 else f"{count} places"
    say(request, f"{user} is signed out at {where}." if count else f"{user} was signed in nowhere.")
    return redirect("person", user.pk)


@action("people.link")
def link(request: HttpRequest, pk: int) -> HttpResponse:
    """A fresh address for someone who lost theirs, or the password."""
    return _show_link(request, get_object_or_404(User, pk=pk))


def _person(request: HttpRequest, user: User, errors: dict[str, str] | None = None) -> HttpResponse:
    now = timezone.now()
    grants = list(user.grants.select_related("group").order_by("-pk")[:100])
    holds = [each for each in grants if each.holds(now)]
    context = {
        "person": user,
        "holds": holds,
        "sessions": list(sessions.of(user)[:100]),
        "past": [each for each in grants if each not in holds],
        "errors": errors or {},
        "also": rights.ALSO,
        "ticked": request.POST.getlist("also"),
        "lasts": _DURATIONS,
        "filled": request.POST,
        **_choices(request.POST),
    }
    return render(request, "mdm/people/person.html", context, status=422 if errors else 200)


def _choices(filled: QueryDict) -> dict[str, Any]:
    """What a form that gives a role offers, and what was chosen in it."""
    return {
        "roles": [(role, _WORDS[role]) for role in Role],
        "groups": Group.objects.order_by("name"),
        "role": filled.get("role", Role.VIEWER.value),
        "group": filled.get("group", ""),
    }


_WORDS = {
    Role.VIEWER: "sees devices, commands and the server; changes nothing",
    Role.HELPER: "sends commands that destroy nothing",
    Role.OPERATOR: "runs the fleet: all commands, groups, profiles, enrollment",
    Role.APPROVER: "sees all that and the audit log; approves what others ask for",
    Role.ADMIN: "may do everything",
}
_DURATIONS = (
    ("", "until someone takes it away"),
    ("2", "for 2 hours"),
    ("8", "for 8 hours"),
    ("24", "for a day"),
    ("168", "for 7 days"),
    ("720", "for 30 days"),
)
_LASTS = {hours: int(hours) if hours else None for hours, _ in _DURATIONS}


def _role(request: HttpRequest) -> Role:
    try:
        return Role(request.POST.get("role", ""))
    except ValueError:
        raise domain.BadGrant("role", "Choose a role.") from None


def _group(request: HttpRequest) -> Group | None:
    try:
        return chosen_group(request.POST.get("group", ""))
    except Group.DoesNotExist:
        raise domain.BadGrant("group", NO_GROUP) from None


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
            key="roles",
            label="Roles",
            value=lambda row: ", ".join(str(each) for each in row.roles),
            template="mdm/cells/person_roles.html",
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
