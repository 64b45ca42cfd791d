"""Saving, changing and deleting views of tables; `mdm/tables.py` lists and opens them."""

from __future__ import annotations

from typing import Any

from django.core import signing
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from mdm import named_views
from mdm.audit.actor import Actor
from mdm.models import NamedView
from mdm.named_views import BadView
from mdm.pages.frame import UNDO_SECONDS, Undo, action, back, complain, say

_SALT = "a deleted view"


@action("dashboard.open")
def save(request: HttpRequest, slug: str) -> HttpResponse:
    try:
        view = named_views.save(Actor.of(request), _table(slug), **_given(request))
    except BadView as refused:
        return _refused(request, refused)
    say(request, f"{view} is saved. It is under Views whenever you come back.")
    return _opened(request, view)


@action("dashboard.open")
def change(request: HttpRequest, pk: int) -> HttpResponse:
    try:
        view = named_views.change(Actor.of(request), _seen(request, pk), **_given(request))
    except BadView as refused:
        return _refused(request, refused)
    say(request, f"{view} is changed.")
    return _opened(request, view)


@action("dashboard.open")
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    view = _seen(request, pk)
    own = view.owner_id == request.user.pk
    kept = {
        "table": view.table,
        "name": view.name,
        "query": view.query,
        "hidden": view.hidden,
        "shared": view.shared,
        "owner": view.owner_id,
    }
    named_views.delete(Actor.of(request), view)
    if own:
        fields = {"view": signing.dumps(kept, salt=_SALT, compress=True), "path": _path(request)}
        undo = Undo(url=reverse("view_restore"), subject=("view", pk), fields=fields)
        say(request, f"{view} is deleted.", undo=undo)
    else:
        say(request, f"{view} is {view.owner}'s alone now.")
    return HttpResponseRedirect(_path(request))


@action("dashboard.open")
def restore(request: HttpRequest) -> HttpResponse:
    """Save again the view that was deleted a moment ago."""
    try:
        kept = signing.loads(request.POST.get("view", ""), salt=_SALT, max_age=UNDO_SECONDS)
    except signing.BadSignature:
        complain(request, "That was too long ago. Save the view again under its name.")
        return HttpResponseRedirect(_path(request))
    if kept.pop("owner") != request.user.pk:
        complain(request, "That view was someone else's.")
        return HttpResponseRedirect(_path(request))
    try:
        view = named_views.save(Actor.of(request), kept.pop("table"), **kept)
    except BadView as refused:
        return _refused(request, refused)
    say(request, f"{view} is back.")
    return _opened(request, view)


@action("dashboard.open")
def columns(request: HttpRequest, slug: str) -> HttpResponse:
    """Keep which optional columns of a table this person wants to see, or of their view of it."""
    known = set(request.POST.get("known", "")[:1_000].split())
    hidden = sorted(known - set(request.POST.getlist("show")))
    number = request.POST.get("view", "")
    view = _seen(request, int(number)) if _is_id(number) else None
    named_views.keep_columns(Actor.of(request), _table(slug), hidden, view)
    return back(request, "devices")


def _table(slug: str) -> str:
    """The slug, where there is such a table; else Http404."""
    if slug not in named_views.tables:
        raise Http404
    return slug


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _seen(request: HttpRequest, pk: int) -> NamedView:
    offered = Q(owner=request.user.pk) | Q(shared=True)
    rows = NamedView.objects.filter(offered).exclude(name="").select_related("owner")
    return get_object_or_404(rows, pk=min(pk, 2**62))


def _given(request: HttpRequest) -> dict[str, Any]:
    return {
        "name": request.POST.get("name", "")[:200],
        "query": request.POST.get("query", ""),
        "hidden": request.POST.get("hidden", "")[:2_000].split(),
        "shared": bool(request.POST.get("shared")),
    }


def _path(request: HttpRequest) -> str:
    """The page that the table stands on."""
    path = request.POST.get("path", "").partition("?")[0]
    fine = url_has_allowed_host_and_scheme(path, {request.get_host()}, request.is_secure())
    return path if path.startswith("/") and fine else "/"


def _opened(request: HttpRequest, view: NamedView) -> HttpResponse:
    query = QueryDict(view.query, mutable=True)
    query["view"] = str(view.pk)
    return HttpResponseRedirect(f"{_path(request)}?{query.urlencode()}")


def _refused(request: HttpRequest, why: BadView) -> HttpResponse:
    """Back to the table as it was."""
    complain(request, str(why))
    query = request.POST.get("query", "")[:2_000]
    return HttpResponseRedirect(f"{_path(request)}?{QueryDict(query).urlencode()}")
