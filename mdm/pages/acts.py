"""What an admin does to a device from its page; what the device itself does is a command."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from mdm import devices
from mdm.audit.actor import Actor
from mdm.models import Device, Enrollment
from mdm.pages.frame import (
    Undo,
    action,
    complain,
    device_of,
    form_page,
    nothing_undone,
    say,
)


@action("enrollment.wake")
def wake(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask Apple to tell the device to connect."""
    found = device_of(request, pk)
    try:
        if found.enrollment is None:
            raise devices.NotEnrolled
        devices.wake(Actor.of(request), found.enrollment)
    except devices.NotEnrolled:
        complain(request, f"{found} is not enrolled now, so it cannot be woken.")
    else:
        say(request, f"{found} is being woken; it connects within seconds if it is online.")
    return redirect("device", found.pk)


@form_page("device.retire")
def retire(request: HttpRequest, pk: int) -> HttpResponse:
    found = device_of(request, pk)
    if request.method == "POST":
        managed = menu(found)["live"]
        if managed and "undo" in request.POST:
            # It has enrolled since, which leaves no audit row; management would end.
            return nothing_undone(request)
        devices.retire(Actor.of(request), found)
        # What it was told to forget, it does not remember again.
        ended = " Its management here has ended." if managed else ""
        back = Undo(
            url=reverse("device_unretire", args=[found.pk]),
            subject=("device", found.pk),
            label="Put it back on the lists" if managed else "Undo",
        )
        say(request, f"{found} is retired.{ended}", undo=back)
        return redirect("device", found.pk)
    return _confirm(
        request,
        found,
        title="Retire",
        button="Retire",
        words="It leaves the lists and this server stops managing it. Its history stays, and"
        " enrolling it again brings it back. Nothing is removed from the device itself.",
    )


@action("device.retire")
def unretire(request: HttpRequest, pk: int) -> HttpResponse:
    found = device_of(request, pk)
    devices.unretire(Actor.of(request), found)
    undo = Undo(url=reverse("device_retire", args=[found.pk]), subject=("device", found.pk))
    offered = None if menu(found)["live"] else undo
    say(request, f"{found} is back on the lists.", undo=offered)
    return redirect("device", found.pk)


@form_page("enrollment.release")
def release(request: HttpRequest, pk: int) -> HttpResponse:
    found = device_of(request, pk)
    if request.method == "POST":
        if found.enrollment is not None:
            devices.release(Actor.of(request), found.enrollment)
            say(request, f"{found} is released and may enroll again with any link.")
        return redirect("device", found.pk)
    return _confirm(
        request,
        found,
        title="Release",
        button="Release",
        words="This server no longer accepts anything from its present enrollment, and the next"
        " identity that enrolls it is let in. Use it when a device was erased without telling, or"
        " is lost for good. The device keeps its profile until it is erased.",
    )


@form_page("device.delete")
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    found = device_of(request, pk)
    word = found.serial_number or str(found)
    if request.method == "POST":
        typed = request.POST.get("confirmation", "").strip()
        if typed.casefold() != word.casefold():
            complain(request, f"Nothing was deleted. Type {word} to confirm.")
            return redirect("device_delete", found.pk)
        try:
            devices.delete(Actor.of(request), found)
        except devices.StillEnrolled as refused:
            complain(request, str(refused))
            return redirect("device", found.pk)
        say(request, f"{found} was deleted with its history.")
        return redirect("devices")
    return _confirm(
        request,
        found,
        title="Delete",
        button="Delete for good",
        words="The device goes with all its history: enrollments, commands, replies, inventory."
        " This cannot be undone. To keep the history, retire it instead.",
        confirmation=word,
    )


def menu(device: Device) -> dict[str, object]:
    """What the page's menu needs to offer these."""
    state = device.enrollment.state if device.enrollment else ""
    live = state in {Enrollment.State.ENROLLED, Enrollment.State.AUTHENTICATED}
    return {"device": device, "live": live}


def _confirm(request: HttpRequest, found: Device, **context: object) -> HttpResponse:
    back = reverse("device", args=[found.pk])
    return render(request, "mdm/device/confirm.html", {"device": found, "back": back, **context})
