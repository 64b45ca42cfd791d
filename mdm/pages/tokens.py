"""Settings > API tokens: one's own, made here, shown once, ended at any time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from mdm.accounts import tokens as domain
from mdm.accounts.models import ApiToken, User
from mdm.accounts.rights import LIMITABLE, Role
from mdm.audit.actor import Actor
from mdm.models import Group
from mdm.pages.frame import NO_GROUP, action, chosen_group, form_page, page, say, table_page
from mdm.tables import Column, Table

_DAYS = (("7", "in 7 days"), ("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"))


@page("token.revoke")
def tokens(request: HttpRequest) -> HttpResponse:
    return table_page(request, "mdm/tokens/list.html", TABLE.view(request, _own(request)))


@form_page("token.create")
def create(request: HttpRequest) -> HttpResponse:
    """The form, and after it the only page that ever shows the token."""
    user = User.objects.get(pk=request.user.pk or 0)
    own = domain.groups(user)
    filled: dict[str, Any] = {
        "name": request.POST.get("name", "").strip(),
        "days": request.POST.get("days", "90"),
        "role": request.POST.get("role", Role.VIEWER.value),
        "group": request.POST.get("group", ""),
    }
    context: dict[str, Any] = {
        "filled": filled,
        "days": _DAYS,
        "roles": domain.roles(user),
        "groups": Group.objects.all() if own is None else own,
        "everywhere": own is None,
        "limitable": [role.label.lower() for role in LIMITABLE],
    }
    if request.method != "POST":
        return render(request, "mdm/tokens/create.html", context)
    try:
        token, text = _create(Actor.of(request), user, filled)
    except domain.BadToken as bad:
        context["errors"] = {bad.field: str(bad)}
        return render(request, "mdm/tokens/create.html", context, status=422)
    except domain.TooMany as many:
        context["problem"] = str(many)
        return render(request, "mdm/tokens/create.html", context, status=409)
    return render(request, "mdm/tokens/created.html", {"token": token, "text": text})


@action("token.revoke")
def revoke(request: HttpRequest, key: str) -> HttpResponse:
    token = get_object_or_404(_own(request), token_key=key)
    name = token.name
    domain.revoke(Actor.of(request), token)
    say(request, f"{name} no longer works.")
    return redirect("tokens")


def _create(actor: Actor, user: User, filled: dict[str, Any]) -> tuple[ApiToken, str]:
    if filled["days"] not in dict(_DAYS):
        raise domain.BadToken("expires_in_days", "Choose when the token expires.")
    if filled["role"] not in Role:
        raise domain.BadToken("role", "Choose what the token may do.")
    return domain.create(
        actor,
        user,
        name=filled["name"],
        role=Role(filled["role"]),
        group=_group(filled["group"]),
        expires_in=timedelta(days=int(filled["days"])),
    )


def _group(text: str) -> Group | None:
    try:
        return chosen_group(text)
    except Group.DoesNotExist:
        raise domain.BadToken("group", NO_GROUP) from None


def _own(request: HttpRequest) -> QuerySet[ApiToken]:
    return ApiToken.objects.filter(user=request.user.pk).select_related("group")


def _may(row: ApiToken) -> str:
    return f"{Role(row.role).label}, {row.group}" if row.group else Role(row.role).label


TABLE = Table(
    slug="tokens",
    label="API tokens",
    one="token",
    many="tokens",
    order=("-created",),
    empty="mdm/tokens/empty.html",
    columns=(
        Column(key="name", label="Token", value=lambda row: row.name, css="fw-medium break"),
        Column(key="role", label="Role", value=_may, css="break"),
        Column(key="expires", label="Expires", value=lambda row: row.expiry or "never"),
        Column(key="used", label="Last used", value=lambda row: row.last_used_at or "never"),
        Column(
            key="do",
            label="",
            value=lambda row: "",
            template="mdm/cells/token_acts.html",
            css="text-end",
        ),
    ),
)
