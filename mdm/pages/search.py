"""The search of the top bar: straight to what it found when that is all, else what it found by
where it found it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import Count, F, Min, Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse

from mdm import navigation, scope
from mdm import search as finding
from mdm.audit.actor import Actor
from mdm.models import Device
from mdm.navigation import Found
from mdm.pages.frame import page

_SHOWN = 8
# Shorter text is in nearly everything, and no index helps with it: the list takes it.
_SHORTEST = 3


@dataclass(frozen=True, slots=True)
class Group:
    """What was found in one place, and where all of it is; more than is shown where `more`."""

    label: str
    found: Sequence[Found]
    url: str
    more: bool = False


@page("device.read")
def search(request: HttpRequest) -> HttpResponse:
    text = finding.clean(request.GET.get("q", ""))
    everything = f"{reverse('devices')}?{urlencode({'q': text})}"
    if not text:
        return redirect("devices")
    if len(text) < _SHORTEST:
        return HttpResponseRedirect(everything)
    actor = Actor.of(request)
    seen = scope.devices(actor).order_by()
    # Counting keeps Postgres from reading the whole table in the hope of meeting two rows early.
    matches = finding.devices(seen, text).aggregate(count=Count("pk"), only=Min("pk"))
    if matches["count"] == 1:
        return redirect("device", matches["only"])
    groups = _devices(seen, text, everything) if matches["count"] else []
    groups += _elsewhere(actor, text)
    if sum(len(group.found) for group in groups) == 1:
        return HttpResponseRedirect(groups[0].found[0].url)
    context = {"search_text": text, "groups": groups, "count": matches["count"], "all": everything}
    return render(request, "mdm/search.html", context)


def _devices(seen: finding.Devices, text: str, everything: str) -> list[Group]:
    """Devices by what of them the text is in; one that was shown is not shown again."""
    user = f"{reverse('devices')}?{urlencode({'user': text})}"
    places = (
        ("Serial number or UDID", Q(serial_number__ilike=text) | Q(udid__ilike=text), everything),
        ("Name or model", Q(device_name__ilike=text) | Q(model_name__ilike=text), everything),
        ("User", finding.used_by(text), user),
    )
    groups: list[Group] = []
    shown: set[int] = set()
    for label, where, url in places:
        # No index has this order: all that fit are found by the search's index first.
        rows = list(seen.filter(where).order_by(F("id") + 0)[: _SHOWN + 1 + len(shown)])
        new = [row for row in rows if row.pk not in shown]
        shown |= {row.pk for row in new[:_SHOWN]}
        if new:
            found = [_line(row) for row in new[:_SHOWN]]
            groups.append(Group(label, found, url, more=len(new) > _SHOWN))
    return groups


def _line(device: Device) -> Found:
    detail = " · ".join(filter(None, (device.serial_number, device.model_name, device.platform)))
    return Found(str(device), reverse("device", args=[device.pk]), "devices", detail)


def _elsewhere(actor: Actor, text: str) -> list[Group]:
    groups = []
    for finder in navigation.finders(actor):
        found = finder.find(text, _SHOWN + 1)
        if found:
            more = len(found) > _SHOWN
            groups.append(Group(finder.label, found[:_SHOWN], finder.url(text), more))
    return groups
