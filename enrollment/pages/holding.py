"""A device that waits in Setup Assistant: its page says so, and lets it go."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from commands.queue import QueueError
from enrollment import awaiting
from enrollment.models import Holding
from mdm.audit.actor import Actor
from mdm.models import Device
from mdm.pages.frame import action, complain, device_of, say


def notice(device: Device) -> dict[str, object]:
    """The holding of this device, while it lasts."""
    enrollment = device.enrollment
    if enrollment is None or not enrollment.awaiting_configuration:
        return {"holding": None}
    return {"holding": Holding.objects.filter(pk=enrollment.pk).first(), "device": device}


@action("enrollment.configured")
def release(request: HttpRequest, pk: int) -> HttpResponse:
    found = device_of(request, pk)
    if found.enrollment is not None:
        try:
            awaiting.release(Actor.of(request), found.enrollment)
        except QueueError as refused:
            complain(request, str(refused))
        else:
            say(request, f"{found} is told to go on with Setup Assistant.")
    return redirect("device", found.pk)
