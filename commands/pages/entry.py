"""One command for one receiver: where it stands, what was sent and what came back."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from commands import queue, selectors
from commands.models import QueueEntry
from commands.pages.jobs import describe
from mdm.audit.actor import Actor
from mdm.pages.frame import action, back, complain, is_fragment, page, say


@page
def entry(request: HttpRequest, pk: int) -> HttpResponse:
    """In the drawer of the page that asked, or as a page of its own."""
    found = get_object_or_404(
        QueueEntry.objects.select_related("command", "enrollment__device", "payload"), pk=pk
    )
    describe([found])
    actor = Actor.of(request)
    context = {
        "entry": found,
        "command": found.command,
        "device": found.enrollment.device,
        "asked": selectors.raw_request(actor, found),
        "answer": selectors.raw_reply(actor, found),
        "cancellable": found.state in queue.CANCELLABLE,
    }
    in_drawer = is_fragment(request, "drawer-body")
    template = "commands/entry_drawer.html" if in_drawer else "commands/entry.html"
    return render(request, template, context)


@action
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(QueueEntry.objects.select_related("enrollment", "command"), pk=pk)
    try:
        queue.cancel(Actor.of(request), found.pk)
    except queue.QueueError as refused:
        complain(request, str(refused))
    else:
        say(request, f"{found.command.request_type} was cancelled.")
    return back(request, "commands:entry", pk=found.pk)
