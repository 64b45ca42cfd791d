"""The search of the top bar: straight to what it found when that is all, else what it found by
where it found it.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render

from mdm import search as finding
from mdm.audit.actor import Actor
from mdm.pages.frame import page


@page("device.read")
def search(request: HttpRequest) -> HttpResponse:
    text = finding.clean(request.GET.get("q", ""))
    everything = finding.list_url(text)
    if not text:
        return redirect("devices")
    if len(text) < finding.SHORTEST:
        return HttpResponseRedirect(everything)
    actor = Actor.of(request)
    matches = finding.matching(actor, text)
    if matches.only is not None:
        return redirect("device", matches.only)
    groups = finding.everywhere(actor, text, matches)
    if sum(len(group.found) for group in groups) == 1:
        return HttpResponseRedirect(groups[0].found[0].url)
    context = {"search_text": text, "groups": groups, "count": matches.count, "all": everything}
    return render(request, "mdm/search.html", context)
