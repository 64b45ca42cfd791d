"""The page of one device: its header, its tabs, and how it stays true while it is open."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils import timezone

from mdm import navigation, scope, standing
from mdm.audit.actor import Actor
from mdm.models import Device
from mdm.pages.frame import device_of, page


@page("device.read")
def device(request: HttpRequest, pk: int, panel: str = "") -> HttpResponse:
    found = device_of(request, pk)
    context = _context(request, found, panel)
    return render(request, "mdm/device/page.html", context)


@page("device.read")
def live(request: HttpRequest, pk: int, panel: str) -> HttpResponse:
    """204 while nothing has changed since `mark`, else the parts of the page that may have."""
    found = device_of(request, pk)
    pulse = navigation.pulse(found)
    if request.GET.get("mark") == pulse.mark:
        return HttpResponse(status=204)
    context = _context(request, found, panel, pulse)
    return render(request, "mdm/device/live.html", context)


def _panel(slug: str, panels: list[navigation.Panel]) -> navigation.Panel:
    for panel in panels:
        if panel.slug == (slug or panels[0].slug):
            return panel
    raise Http404


def _context(
    request: HttpRequest,
    found: Device,
    slug: str,
    pulse: navigation.Pulse | None = None,
) -> dict[str, Any]:
    query: QueryDict = request.GET
    may = scope.On(Actor.of(request), found)
    panels = navigation.panels(may)
    panel = _panel(slug, panels)
    kept = query.copy()
    kept.pop("mark", None)
    return {
        "device": found,
        "may": may,
        "enrollment": found.enrollment,
        "stands": standing.of(found, timezone.now()),
        "panels": panels,
        "panel": panel,
        "panel_context": panel.context(found, query),
        "query": kept.urlencode(),
        "pulse": pulse or navigation.pulse(found),
    }
