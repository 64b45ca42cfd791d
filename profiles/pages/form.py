"""The form of an ADE profile: a new one, or the next version of one."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from mdm.audit.actor import Actor
from mdm.pages.frame import complain, form_page, say
from profiles import editing
from profiles.errors import BadProfile, NotNow
from profiles.models import Profile, Version
from profiles.pages import contents
from profiles.wire.content import new_content

_USUAL_MINUTES = 30


@form_page("profile.edit")
def create(request: HttpRequest) -> HttpResponse:
    content = {**new_content(), "skip_setup_items": sorted(contents.RECOMMENDED)}
    if request.method != "POST":
        return _drawn(request, content, {"minutes": _USUAL_MINUTES})
    given = _given(request)
    try:
        made = editing.create(
            Actor.of(request),
            given["name"],
            given["content"],
            signs_in=given["signs_in"],
            await_minutes=given["await_minutes"],
        )
    except BadProfile as bad:
        return _drawn(request, given["content"], given, errors=bad.errors)
    say(request, f"{made} is there. Nobody has it yet: give it to devices, a group, or an OS.")
    return redirect("profiles:profile", made.pk)


@form_page("profile.edit")
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Write the next version; it is looked at before it is applied."""
    found = get_object_or_404(Profile.objects.select_related("current"), pk=pk)
    base = found.versions.latest("number")
    if request.method != "POST":
        return _drawn(request, base.content, _of(base), profile=found)
    given = _given(request)
    try:
        draft = editing.draft(
            Actor.of(request),
            found,
            given["content"],
            signs_in=given["signs_in"],
            await_minutes=given["await_minutes"],
        )
    except BadProfile as bad:
        return _drawn(request, given["content"], given, profile=found, errors=bad.errors)
    except NotNow as refused:
        complain(request, str(refused))
        return redirect("profiles:profile", found.pk)
    return redirect("profiles:version", found.pk, draft.number)


def _of(version: Version) -> dict[str, Any]:
    return {"signs_in": version.signs_in, "minutes": version.await_minutes}


def _given(request: HttpRequest) -> dict[str, Any]:
    minutes = request.POST.get("await_minutes", "").strip()
    known = minutes.isascii() and minutes.isdigit() and len(minutes) < 6
    return {
        "name": request.POST.get("name", ""),
        "content": contents.read(request.POST),
        "signs_in": request.POST.get("enrollment_type") == "sign_in",
        "await_minutes": int(minutes) if known else 0,
        "minutes": minutes,
    }


def _drawn(
    request: HttpRequest,
    content: dict[str, Any],
    given: dict[str, Any],
    *,
    profile: Profile | None = None,
    errors: dict[str, list[str]] | None = None,
) -> HttpResponse:
    errors = errors or {}
    context = {
        "profile": profile,
        "name": given.get("name", ""),
        "signs_in": given.get("signs_in", False),
        "minutes": given.get("minutes", _USUAL_MINUTES),
        "sections": contents.fields(content, errors),
        "panes": contents.pane_choices(content),
        "other_panes": contents.other_panes(content),
        "errors": errors,
        "count": sum(map(len, errors.values())),
        "back": reverse("profiles:profile", args=[profile.pk])
        if profile
        else reverse("profiles:profiles"),
    }
    return render(request, "profiles/form.html", context, status=422 if errors else 200)
