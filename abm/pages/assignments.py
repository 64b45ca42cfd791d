"""How far a server has come with telling Apple the profiles: the plan, progress, pause, resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone

from abm import assignment as domain
from abm.assignment import Plan
from abm.models import Assigning, Definition, Server
from abm.servers import connected
from mdm.audit.actor import Actor
from mdm.pages.frame import action, is_fragment, page, say

_PAST = 20


@page("server.read")
def assignments(request: HttpRequest) -> HttpResponse:
    """Every connected server in a line."""
    return render(request, "abm/assignments.html", {"servers": _progress(list(connected()))})


@page("server.read")
def assignment(request: HttpRequest, pk: int) -> HttpResponse:
    """One server; while something is due the page follows by itself."""
    server = get_object_or_404(Server, pk=pk, disconnected_at=None)
    [(_, progress)] = _progress([server])
    context = {"server": server, "progress": progress}
    if is_fragment(request, "assignment"):
        return render(request, "abm/assignment_progress.html", context)
    context["past"] = list(server.assignings.order_by("-pk")[:_PAST])
    context["definitions"] = list(
        Definition.objects.filter(server=server)
        .exclude(state=Definition.State.WAITING)
        .defer("sealed_document", "sealed_copy")
        .order_by("-pk")[:_PAST]
    )
    return render(request, "abm/assignment.html", context)


@action("abm.assign.pause")
def pause(request: HttpRequest, pk: int) -> HttpResponse:
    server = get_object_or_404(Server, pk=pk, disconnected_at=None)
    domain.pause(Actor.of(request), server)
    say(request, f"Paused: Apple is told nothing for {server} until someone resumes.")
    return redirect("abm:assignment", server.pk)


@action("abm.assign.pause")
def resume(request: HttpRequest, pk: int) -> HttpResponse:
    server = get_object_or_404(Server, pk=pk, disconnected_at=None)
    domain.resume(Actor.of(request), server)
    say(request, f"Resumed: Apple is told what is due for {server}.")
    return redirect("abm:assignment", server.pk)


def _progress(servers: Sequence[Server]) -> list[tuple[Server, dict[str, Any]]]:
    """Each of them with how far it has come."""
    plans = domain.plans(servers)
    going = Assigning.objects.filter(server__in=servers, finished_at=None)
    running = {each.server_id: each for each in going}
    return [(server, _told(plans[server.pk], running.get(server.pk))) for server in servers]


def _told(plan: Plan, running: Assigning | None) -> dict[str, Any]:
    counts = {
        "settled": plan.settled,
        "due": plan.due,
        "cooling": plan.cooling,
        "undefined": plan.undefined,
        "unassigned": plan.unassigned,
    }
    return {
        "plan": plan,
        "counts": counts,
        "running": running,
        "busy": plan.due > 0 and not plan.blocked,
        "now": timezone.now(),
    }
