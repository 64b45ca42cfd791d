"""Settings > Health: how it stands with each part of this server, and what was tried for real. The
checklist of what was tried stands on the overview too, until all of it worked.
"""

from __future__ import annotations

from itertools import groupby

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from mdm.audit.actor import Actor
from mdm.health import probes, things
from mdm.health.probes import Line
from mdm.pages.frame import action, back, form_page, is_fragment, page, say

_REGION = "health-things"
_CHECKS = "checks"


@page("server.read")
def health(request: HttpRequest) -> HttpResponse:
    """Everything; only the parts where htmx asks for them again."""
    found = things.everything()
    context: dict[str, object] = {
        "groups": [(group, list(each)) for group, each in groupby(found, lambda one: one.group)],
        "wrong": sum(thing.wrong for thing in found),
        "at": timezone.now(),
    }
    if is_fragment(request, _REGION):
        return render(request, "mdm/health/things.html", context)
    return render(request, "mdm/health/page.html", {**context, **checklist(probes.lines())})


@page("server.read")
def checks(request: HttpRequest) -> HttpResponse:
    """The checklist as it is now: the part alone, wherever it stands."""
    return _fragment(request)


@action("health.check")
def check(request: HttpRequest, name: str) -> HttpResponse:
    """Have a worker try it again."""
    try:
        probes.ask(Actor.of(request), name)
    except KeyError:
        raise Http404 from None
    return _fragment(request) if is_fragment(request, _CHECKS) else back(request, "health")


@form_page("health.dismiss")
def dismiss(request: HttpRequest, name: str) -> HttpResponse:
    """Ask for the reason, and take the step off the checklist."""
    probe = _find(name)
    problem, because = "", request.POST.get("because", "")
    if request.method == "POST":
        try:
            probes.dismiss(Actor.of(request), name, because)
        except probes.NoReason as refused:
            problem = str(refused)
        else:
            say(request, f"{probe.label} is dismissed. Settings > Health brings it back.")
            return redirect("health")
    context = {"probe": probe, "problem": problem, "because": because}
    return render(request, "mdm/health/dismiss.html", context, status=422 if problem else 200)


@action("health.dismiss")
def restore(request: HttpRequest, name: str) -> HttpResponse:
    """Put a dismissed step back."""
    probe = _find(name)
    probes.restore(Actor.of(request), name)
    say(request, f"{probe.label} is on the checklist again.")
    return redirect("health")


def checklist(lines: list[Line]) -> dict[str, object]:
    """What the checklist's template needs: what is left to do first, what is done below it."""
    return {
        "lines": lines,
        "open": [line for line in lines if not line.settled or line.state == "busy"],
        "closed": [line for line in lines if line.settled and line.state != "busy"],
        "count": len(lines),
        "busy": any(line.state == "busy" for line in lines),
    }


def _find(name: str) -> probes.Probe:
    try:
        return probes.find(name)
    except KeyError:
        raise Http404 from None


def _fragment(request: HttpRequest) -> HttpResponse:
    answer = render(request, "mdm/health/checks.html", checklist(probes.lines()))
    answer["Vary"] = "HX-Request, Cookie"
    return answer
