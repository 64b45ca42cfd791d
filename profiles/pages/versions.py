"""A version of a profile: what it changes and for how many, applied or discarded; and how Apple's
copy differs from it.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from abm import copies
from abm.models import Definition
from mdm.audit.actor import Actor
from mdm.pages.frame import action, complain, form_page, is_fragment, page, say
from profiles import comparing, editing, preview
from profiles.errors import NotNow
from profiles.models import Profile, Version
from profiles.pages import contents
from profiles.wire import content as wire


@page("server.read")
def version(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    found = _version(pk, number)
    current = found.profile.current
    is_current = current is not None and current.pk == found.pk
    context: dict[str, Any] = {
        "profile": found.profile,
        "version": found,
        "current": current,
        "is_current": is_current,
        "changes": _changes(current, found) if current and not is_current else [],
        "preview": None if is_current else preview.of_version(found),
        "shown": contents.shown(found),
        "panes": contents.panes(found.content),
    }
    return render(request, "profiles/version.html", context)


@action("profile.apply")
def apply(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    found = _version(pk, number)
    try:
        editing.apply(Actor.of(request), found)
    except NotNow as refused:
        complain(request, str(refused))
    else:
        say(request, f"Version {number} is the current one. Devices are moved over to it now.")
    return redirect("profiles:profile", pk)


@action("profile.edit")
def discard(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    found = _version(pk, number)
    try:
        editing.discard(Actor.of(request), found)
    except NotNow as refused:
        complain(request, str(refused))
    else:
        say(request, f"Version {number} was discarded.")
    return redirect("profiles:profile", pk)


@form_page("profile.compare")
def compare(request: HttpRequest, pk: int, definition: int) -> HttpResponse:
    """How Apple's copy differs, as a worker fetched it last; POST has it fetched."""
    profile = get_object_or_404(Profile, pk=pk)
    found = get_object_or_404(
        comparing.definitions(profile), pk=definition, state=Definition.State.DEFINED
    )
    if request.method == "POST":
        copies.ask(Actor.of(request), found)
        return redirect("profiles:compare", pk, definition)
    waiting = copies.waits(found)
    context = {
        "profile": profile,
        "definition": found,
        "waiting": waiting,
        "differences": [] if waiting else comparing.differences(found),
    }
    if is_fragment(request, "copy"):
        if waiting:
            return HttpResponse(status=204)
        return render(request, "profiles/copy.html", context)
    return render(request, "profiles/compare.html", context)


def _version(pk: int, number: int) -> Version:
    rows = Version.objects.select_related("profile__current")
    return get_object_or_404(rows, profile=pk, number=number)


def _changes(current: Version, found: Version) -> list[tuple[str, str, str]]:
    """Label, before and after, in words."""
    changes = []
    for each in wire.differences(current.content, found.content):
        key = wire.BY_KEY[each.key]
        before, after = each.before, each.after
        if each.added or each.removed:
            before, after = list(each.removed), list(each.added)
        changes.append(
            (each.label, contents.value_words(key, before), contents.value_words(key, after))
        )
    if current.signs_in != found.signs_in:
        changes.append(("Enrollment type", _type(current), _type(found)))
    if current.await_minutes != found.await_minutes:
        before, after = f"{current.await_minutes} minutes", f"{found.await_minutes} minutes"
        changes.append(("Time limit in Setup Assistant", before, after))
    return changes


def _type(version: Version) -> str:
    return "someone signs in" if version.signs_in else "automated"
