"""What goes on in the background, each with how far it has come; the counters of the top bar open
it.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from mdm import navigation
from mdm.audit.actor import Actor
from mdm.pages.frame import is_fragment, page


@page("device.read")
def work(request: HttpRequest) -> HttpResponse:
    context = {"work": navigation.work(Actor.of(request))}
    if is_fragment(request, "work"):
        return render(request, "mdm/work/list.html", context)
    if is_fragment(request, "drawer-body"):
        return render(request, "mdm/work/drawer.html", context)
    return render(request, "mdm/work/page.html", context)
