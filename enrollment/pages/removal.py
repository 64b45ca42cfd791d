"""Removing management: the page that asks, and what a device's page says meanwhile."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from commands.queue import QueueError
from enrollment import removal as domain
from mdm.audit.actor import Actor
from mdm.models import Device, Enrollment
from mdm.pages.frame import complain, device_of, form_page, say

_WORDS = (
    "The device is told to remove its enrollment profile. It then leaves management by itself:"
    " what came with the profile goes, its own data stays. It can enroll again with a link."
)


@form_page("enrollment.release")
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    found = device_of(request, pk)
    if request.method == "POST":
        if found.enrollment is not None:
            _ask(request, found, found.enrollment)
        return redirect("device", found.pk)
    context = {
        "device": found,
        "title": "Remove management",
        "button": "Remove management",
        "words": _WORDS,
        "back": reverse("device", args=[found.pk]),
    }
    return render(request, "mdm/device/confirm.html", context)


def menu(device: Device) -> dict[str, object]:
    state = device.enrollment.state if device.enrollment else ""
    return {"device": device, "can": state == Enrollment.State.ENROLLED}


def notice(device: Device) -> dict[str, object]:
    return {"waiting": domain.waiting(device.enrollment)}


def _ask(request: HttpRequest, found: Device, enrollment: Enrollment) -> None:
    try:
        domain.ask(Actor.of(request), enrollment)
    except QueueError as refused:
        complain(request, str(refused))
    else:
        say(request, f"{found} is asked to remove its management.")
