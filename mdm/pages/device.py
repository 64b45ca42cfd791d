"""The page of one device: its header, its tabs, and how it stays true while it is open."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from mdm import navigation, standing
from mdm.models import Device
from mdm.pages.frame import page


@page
def device(request: HttpRequest, pk: int, panel: str = "") -> HttpResponse:
    found = _find(pk)
    context = _context(found, _panel(panel), request.GET)
    return render(request, "mdm/device/page.html", context)


@page
def live(request: HttpRequest, pk: int, panel: str) -> HttpResponse:
    """204 while nothing has changed since `mark`, else the parts of the page that may have."""
    found = _find(pk)
    pulse = navigation.pulse(found)
    if request.GET.get("mark") == pulse.mark:
        return HttpResponse(status=204)
    context = _context(found, _panel(panel), request.GET, pulse)
    return render(request, "mdm/device/live.html", context)


def _find(pk: int) -> Device:
    return get_object_or_404(Device.objects.select_related("enrollment"), pk=pk)


def _panel(slug: str) -> navigation.Panel:
    panels = navigation.panels()
    for panel in panels:
        if panel.slug == (slug or panels[0].slug):
            return panel
    raise Http404


def _context(
    found: Device,
    panel: navigation.Panel,
    query: QueryDict,
    pulse: navigation.Pulse | None = None,
) -> dict[str, Any]:
    kept = query.copy()
    kept.pop("mark", None)
    return {
        "device": found,
        "enrollment": found.enrollment,
        "stands": standing.of(found, timezone.now()),
        "panels": navigation.panels(),
        "panel": panel,
        "panel_context": panel.context(found, query),
        "query": kept.urlencode(),
        "pulse": pulse or navigation.pulse(found),
    }
