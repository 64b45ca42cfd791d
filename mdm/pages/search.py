"""The search of the top bar: straight to the device when it is the only one, else to the list."""

from __future__ import annotations

from urllib.parse import urlencode

from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse

from mdm import scope
from mdm import search as finding
from mdm.audit.actor import Actor
from mdm.pages.frame import page


@page("device.read")
def search(request: HttpRequest) -> HttpResponse:
    text = request.GET.get("q", "").replace("\0", "").strip()[:100]
    if not text:
        return redirect("devices")
    # Counting keeps Postgres from reading the whole table in the hope of meeting two rows early.
    found = finding.devices(scope.devices(Actor.of(request)).order_by(), text).aggregate(
        count=Count("pk"), only=Min("pk")
    )
    if found["count"] == 1:
        return redirect("device", found["only"])
    return HttpResponseRedirect(f"{reverse('devices')}?{urlencode({'q': text})}")
