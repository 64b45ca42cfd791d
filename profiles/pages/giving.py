"""Giving a profile to devices that were chosen: previewed, then done."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse

from abm.models import AbmDevice
from abm.pages.devices import person, selected
from mdm import selection
from mdm.audit.actor import Actor
from mdm.pages.frame import action, complain, form_page, say
from profiles import giving, preview, selectors
from profiles.errors import NotNow

_FEW = 20
NONE = "none"


@action("profile.give")
def choose(request: HttpRequest) -> HttpResponse:
    """Freeze those of the selection that are listed now, and go on to the choice of a profile."""
    rows = selected(request).filter(current=True, removed_at=None).order_by()
    ids = list(rows.values_list("pk", flat=True))
    if not ids:
        complain(request, "None of the chosen devices is in Apple Business Manager now.")
        return redirect("abm:devices")
    token = selection.freeze(person(request), ids)
    return HttpResponseRedirect(f"{reverse('profiles:give')}?{urlencode({'to': token})}")


@form_page("profile.give")
def give(request: HttpRequest) -> HttpResponse:
    """Choose a profile; with one chosen, what it would change; posted, it is done."""
    token = request.GET.get("to", "")
    try:
        ids = selection.thaw(person(request), token)
    except selection.SelectionGone as gone:
        complain(request, str(gone))
        return redirect("abm:devices")
    rows = AbmDevice.objects.extra(where=["abm_abmdevice.id = ANY(%s)"], params=[ids])
    serials = list(rows.order_by("serial_number").values_list("serial_number", flat=True))
    usable = list(selectors.usable())
    wanted = request.POST.get("profile") or request.GET.get("profile", "")
    chosen = next((each for each in usable if str(each.pk) == wanted), None)
    decided = chosen is not None or wanted == NONE
    if request.method == "POST" and decided:
        try:
            count = giving.give_devices(Actor.of(request), serials, chosen)
        except NotNow as refused:
            complain(request, str(refused))
        else:
            what = f"{chosen} is theirs" if chosen else "They have none of their own any more"
            say(request, f"{what}: {count:,} of {len(serials):,} devices changed.")
        return redirect("abm:devices")
    context = {
        "token": token,
        "count": len(serials),
        "few": serials if len(serials) <= _FEW else [],
        "profiles": usable,
        "chosen": chosen,
        "none": wanted == NONE,
        "decided": decided,
        "preview": preview.of_devices(serials, chosen) if decided else None,
    }
    return render(request, "profiles/give.html", context)
