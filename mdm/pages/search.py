"""The search of the top bar: straight to the device when it is the only one, else to the list."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse

from mdm import search as finding
from mdm.models import Device
from mdm.pages.frame import page


@page
def search(request: HttpRequest) -> HttpResponse:
    text = request.GET.get("q", "").replace("\0", "").strip()[:100]
    if not text:
        return redirect("devices")
    found = list(finding.devices(Device.objects.order_by(), text).values_list("pk", flat=True)[:2])
    if len(found) == 1:
        return redirect("device", found[0])
    return HttpResponseRedirect(f"{reverse('devices')}?{urlencode({'q': text})}")
