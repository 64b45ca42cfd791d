"""Settings > API tokens: one's own, made here, shown once, ended at any time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from mdm.accounts import tokens as domain
from mdm.accounts.models import ApiToken, User
from mdm.accounts.tokens import Scope
from mdm.audit.actor import Actor
from mdm.pages.frame import action, page, say, table_page
from mdm.tables import Column, Table

_DAYS = (("7", "in 7 days"), ("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"))


@page
def tokens(request: HttpRequest) -> HttpResponse:
    return table_page(request, "mdm/tokens/list.html", TABLE.view(request, _own(request)))


@page
def create(request: HttpRequest) -> HttpResponse:
    """The form, and after it the only page that ever shows the token."""
    filled: dict[str, Any] = {
        "name": request.POST.get("name", "").strip(),
        "days": request.POST.get("days", "90"),
        "write": "write" in request.POST,
    }
    context: dict[str, Any] = {"filled": filled, "choices": _DAYS}
    if request.method != "POST":
        return render(request, "mdm/tokens/create.html", context)
    error = _complaint(filled)
    if error:
        return render(request, "mdm/tokens/create.html", {**context, "error": error}, status=422)
    token, text = domain.create(
        Actor.of(request),
        User.objects.get(pk=request.user.pk or 0),
        name=filled["name"],
        scopes=[Scope.READ, Scope.WRITE] if filled["write"] else [Scope.READ],
        expires_in=timedelta(days=int(filled["days"])),
    )
    return render(request, "mdm/tokens/created.html", {"token": token, "text": text})


@action
def revoke(request: HttpRequest, key: str) -> HttpResponse:
    token = get_object_or_404(_own(request), token_key=key)
    name = token.name
    domain.revoke(Actor.of(request), token)
    say(request, f"{name} no longer works.")
    return redirect("tokens")


def _own(request: HttpRequest) -> QuerySet[ApiToken]:
    return ApiToken.objects.filter(user=request.user.pk)


def _complaint(filled: dict[str, Any]) -> str:
    name = filled["name"]
    if not name or len(name) > 100 or not name.isprintable():
        return "Give the token a name of at most 100 characters."
    return "" if filled["days"] in dict(_DAYS) else "Choose when the token expires."


TABLE = Table(
    slug="tokens",
    label="API tokens",
    one="token",
    many="tokens",
    order=("-created",),
    empty="mdm/tokens/empty.html",
    columns=(
        Column(key="name", label="Token", value=lambda row: row.name, css="fw-medium break"),
        Column(key="scopes", label="May", value=lambda row: " and ".join(row.scopes)),
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
