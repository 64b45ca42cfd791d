"""The dashboard's page "Lab": who is there, and buttons that spoil things. Everything is carried
out by the lab's own process, behind `lab.control`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from lab import forms
from lab.apns import FaultKind
from lab.devices.faults import DeviceFault
from lab.errors import LabError
from lab.place import Place
from lab.scene import someone
from mdm.pages.frame import action, back, complain, is_fragment, page

MOST_AT_ONCE = 100
_APNS_WORDS = {
    FaultKind.BAD_TOKEN: "400 BadDeviceToken",
    FaultKind.FORBIDDEN: "403 BadCertificate",
    FaultKind.UNREGISTERED: "410 Unregistered",
    FaultKind.TOO_MANY_REQUESTS: "429 without a body",
    FaultKind.INTERNAL_ERROR: "500 InternalServerError",
    FaultKind.UNAVAILABLE: "503 ServiceUnavailable",
    FaultKind.GOAWAY: "GOAWAY",
    FaultKind.RESET: "Stream reset",
    FaultKind.SILENCE: "No answer at all",
    FaultKind.CLOSE: "Connection closed",
    FaultKind.SLOW: "A slow answer",
}
_DEVICE_WORDS = {
    DeviceFault.LOCKED: "Lock",
    DeviceFault.UNLOCKED: "Unlock",
    DeviceFault.OFF: "Switch off",
    DeviceFault.ON: "Switch on",
    DeviceFault.ERROR: "Fail the next command",
    DeviceFault.LOST_REPLY: "Lose the next reply",
    DeviceFault.REPEAT: "Send the next reply twice",
    DeviceFault.NEW_TOKEN: "Change its push token",
    DeviceFault.LARGE: "Report hundreds of apps",
    DeviceFault.REMOVE: "Its user removes the profile",
    DeviceFault.VANISH: "Lose the profile silently",
    DeviceFault.RESET: "Its user erases it",
    DeviceFault.UNSIGNED: "Do not sign its next MachineInfo",
    DeviceFault.FOREIGN: "Sign its next MachineInfo by a stranger",
}
_TONES = {
    "enrolled": "green",
    "enrolling": "blue",
    "new": "blue",
    "failed": "red",
}


@page("server.read")
def lab(request: HttpRequest) -> HttpResponse:
    context = _status()
    name = "lab/live.html" if is_fragment(request, "lab-live") else "lab/lab.html"
    return render(request, name, context)


@action("abm.connect")
def add(request: HttpRequest) -> HttpResponse:
    count = forms.number(request, MOST_AT_ONCE)
    if count is None:
        complain(request, f"Say how many devices to add, from 1 to {MOST_AT_ONCE}.")
    else:
        forms.carry_out(request, f"{count} devices begin to enroll.", "add", count=count)
    return back(request, "lab")


@action("abm.connect")
def device(request: HttpRequest) -> HttpResponse:
    serial, word = request.POST.get("serial", ""), request.POST.get("fault", "")
    if word == "activate":
        who = someone(Place.under(settings.ENV.state_dir))
        forms.carry_out(request, f"{serial} asks Apple.", "activate", serials=[serial], **who)
    elif word == "enroll":
        forms.carry_out(request, f"{serial} begins to enroll.", "enroll", serial=serial)
    else:
        forms.carry_out(
            request, f"{serial}: done.", "device", serials=[serial], fault=word, count=1
        )
    return back(request, "lab")


@action("abm.connect")
def apns(request: HttpRequest) -> HttpResponse:
    word = request.POST.get("fault", "")
    told = "Pushes are answered as usual." if word == "clear" else "The next pushes are spoiled."
    forms.carry_out(request, told, "apns", fault=word, count=forms.times(request))
    return back(request, "lab")


def _status() -> dict[str, Any]:
    context: dict[str, Any] = {
        "apns_faults": [(str(kind), words) for kind, words in _APNS_WORDS.items()],
        "device_faults": [_labelled(fault) for fault in DeviceFault],
        "most": MOST_AT_ONCE,
    }
    try:
        status = forms.order("status")
    except LabError as error:
        return {**context, "problem": str(error)}
    for row in status["devices"]:
        row["tone"] = _TONES.get(row["state"], "secondary")
        row["acts"] = _acts(row)
    return {**context, **status, "apns_url": settings.ENV.apns_url}


def _acts(row: dict[str, Any]) -> list[tuple[str, str]]:
    """What a click does to a device in its state; everything else has its own form."""
    if row["way"] == "ade" and row["state"] in ("new", "unenrolled", "erased", "failed"):
        return [("activate", "Switch on")]
    if row["state"] in ("unenrolled", "erased", "failed"):
        return [("enroll", "Enroll again")]
    if row["state"] != "enrolled":
        return []
    return [
        _labelled(DeviceFault.UNLOCKED if row["locked"] else DeviceFault.LOCKED),
        _labelled(DeviceFault.OFF if row["powered"] else DeviceFault.ON),
    ]


def _labelled(fault: DeviceFault) -> tuple[str, str]:
    return str(fault), _DEVICE_WORDS[fault]
