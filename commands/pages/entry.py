"""One command for one receiver: where it stands, what was sent and what came back."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from commands import queue, selectors
from commands.pages.jobs import describe
from mdm import scope
from mdm.audit.actor import Actor
from mdm.pages.frame import action, back, complain, is_fragment, page, say


@page("command.read")
def entry(request: HttpRequest, pk: int) -> HttpResponse:
    """In the drawer of the page that asked, or as a page of its own."""
    actor = Actor.of(request)
    seen = selectors.seen(actor).select_related("command", "enrollment__device", "payload")
    found = get_object_or_404(seen, pk=pk)
    describe([found])
    context = {
        "entry": found,
        "command": found.command,
        "device": found.enrollment.device,
        "asked": selectors.raw_request(actor, found),
        "answer": selectors.raw_reply(actor, found),
        "cancellable": found.state in queue.CANCELLABLE,
        "may": scope.On(actor, found.enrollment.device),
    }
    in_drawer = is_fragment(request, "drawer-body")
    template = "commands/entry_drawer.html" if in_drawer else "commands/entry.html"
    return render(request, template, context)


@action("command.cancel")
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    actor = Actor.of(request)
    seen = selectors.seen(actor).select_related("enrollment", "command")
    found = get_object_or_404(seen, pk=pk)
    try:
        queue.cancel(actor, found.pk)
    except queue.QueueError as refused:
        complain(request, str(refused))
    else:
        say(request, f"{found.command.request_type} was cancelled.")
    return back(request, "commands:entry", pk=found.pk)
