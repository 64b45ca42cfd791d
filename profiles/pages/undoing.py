"""Undoing what was done to the members of a group: who came or went is kept for as long as the
message offers the way back.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse

from mdm.audit.actor import Actor
from mdm.models import Group
from mdm.pages.frame import UNDO_SECONDS, Undo, action, complain, say
from profiles import groups
from profiles.errors import BadGroup


def offer(request: HttpRequest, group: Group, where: str, serials: Collection[str]) -> Undo | None:
    """The way back to `where`, an action below, for these members."""
    if not serials:
        return None
    token = secrets.token_urlsafe(12)
    cache.set(_key(request, group.pk, token), sorted(serials), UNDO_SECONDS)
    return Undo(
        url=reverse(where, args=[group.pk]),
        subject=("group", group.pk),
        fields={"members": token},
    )


@action("group.edit")
def put_back(request: HttpRequest, pk: int) -> HttpResponse:
    """Members who were taken out are in again."""
    found = get_object_or_404(Group, pk=pk)
    serials = _kept(request, found)
    try:
        count = groups.add(Actor.of(request), found, serials)
    except BadGroup as refused:
        complain(request, str(refused))
    else:
        if serials:
            say(request, f"{count:,} {'is' if count == 1 else 'are'} back in {found}.")
    return redirect("profiles:group", found.pk)


@action("group.edit")
def take_out(request: HttpRequest, pk: int) -> HttpResponse:
    """Members who were put in are out again."""
    found = get_object_or_404(Group, pk=pk)
    serials = _kept(request, found)
    try:
        count = groups.remove(Actor.of(request), found, serials)
    except BadGroup as refused:
        complain(request, str(refused))
    else:
        if serials:
            say(request, f"{count:,} {'is' if count == 1 else 'are'} out of {found} again.")
    return redirect("profiles:group", found.pk)


def _kept(request: HttpRequest, group: Group) -> list[str]:
    token = request.POST.get("members", "")[:32]
    fine = token.isascii() and token.isprintable()
    serials: list[str] = cache.get(_key(request, group.pk, token), []) if fine else []
    if not serials:
        complain(request, f"That was too long ago. Nothing of {group} was changed.")
    return serials


def _key(request: HttpRequest, group: int, token: str) -> str:
    return f"undo:{request.user.pk}:{group}:{token}"
