"""Sync Now, and the card that shows how far the sync of each server has come."""

from __future__ import annotations

import json
from collections.abc import Iterable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from abm import runs, servers
from abm.models import Server, SyncRun
from abm.pages import progress
from mdm.audit.actor import Actor
from mdm.pages.frame import action, back, complain, is_fragment, page

CARD = "abm-sync"
_OUTDATES = {"table-outdated": "abm-devices"}


@page("server.read")
def card(request: HttpRequest) -> HttpResponse:
    """The card, for whoever watches it: 204 while it would say the same as before. When a run has
    ended, the table below is told to fetch itself anew.
    """
    shown = progress.lines()
    watched = {int(pk) for pk in request.GET.get("watched", "").split(".") if _is_number(pk)}
    unfinished = progress.unfinished(shown)
    if not unfinished and not watched and request.GET.get("mark") == progress.mark(shown):
        return HttpResponse(status=204)
    seen = request.GET.get("seen", "")
    answer = render(request, "abm/sync_card.html", context(shown))
    if progress.brought_news(shown, watched, int(seen) if _is_number(seen) else 0):
        answer["HX-Trigger"] = json.dumps(_OUTDATES)
    return answer


@action("abm.sync")
def sync_now(request: HttpRequest) -> HttpResponse:
    """Sync one server, or all of them; a full sync where that was asked for."""
    wanted = servers.connected().filter(sealed_token__isnull=False)
    one = request.POST.get("server", "")
    if one:
        wanted = wanted.filter(pk=int(one)) if _is_number(one) else wanted.none()
    ask(request, wanted, full="full" in request.POST)
    if is_fragment(request, CARD):
        shown = progress.lines()
        return render(request, "abm/sync_card.html", {**context(shown), "oob": True})
    return back(request, "abm:devices")


@page("server.read")
def running(request: HttpRequest) -> HttpResponse:
    """The sign in the top bar that a sync is under way."""
    unfinished = SyncRun.objects.filter(state__in=[SyncRun.State.WAITING, SyncRun.State.RUNNING])
    return render(request, "abm/running.html", {"count": unfinished.count()})


def ask(request: HttpRequest, wanted: Iterable[Server], *, full: bool) -> None:
    """Ask for a run of each; say why not where there can be none."""
    listed = list(wanted)
    if not listed:
        complain(request, "There is no connected server to sync.")
    for each in listed:
        try:
            runs.ask(Actor.of(request), each, full=full)
        except runs.CannotSync as refused:
            complain(request, str(refused))


def context(shown: list[progress.Line]) -> dict[str, object]:
    """What the card's template needs."""
    unfinished = progress.unfinished(shown)
    return {
        "lines": shown,
        "unfinished": unfinished,
        "card_url": reverse("abm:sync_card"),
        "watched": ".".join(str(pk) for pk in sorted(unfinished)),
        "seen": progress.newest(shown),
        "mark": progress.mark(shown),
    }


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
