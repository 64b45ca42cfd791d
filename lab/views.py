"""The dashboard's page "Lab": who is there, and buttons that spoil things. Everything is carried
out by the lab's own process, behind `lab.control`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from lab.apns import FaultKind
from lab.control import ask
from lab.devices.faults import DeviceFault
from lab.errors import LabError
from lab.place import Place
from mdm.pages.frame import action, back, complain, is_fragment, page, say

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
}
_TONES = {
    "enrolled": "green",
    "enrolling": "blue",
    "new": "blue",
    "failed": "red",
}


@page
def lab(request: HttpRequest) -> HttpResponse:
    context = _status()
    name = "lab/live.html" if is_fragment(request, "lab-live") else "lab/lab.html"
    return render(request, name, context)


@action
def add(request: HttpRequest) -> HttpResponse:
    count = request.POST.get("count", "")
    if not (count.isascii() and count.isdigit() and 0 < int(count) <= MOST_AT_ONCE):
        complain(request, f"Say how many devices to add, from 1 to {MOST_AT_ONCE}.")
    else:
        _order(request, "add", f"{int(count)} devices begin to enroll.", count=int(count))
    return back(request, "lab")


@action
def device(request: HttpRequest) -> HttpResponse:
    serial, word = request.POST.get("serial", ""), request.POST.get("fault", "")
    if word == "enroll":
        _order(request, "enroll", f"{serial} begins to enroll.", serial=serial)
    else:
        _order(request, "device", f"{serial}: done.", serials=[serial], fault=word, count=1)
    return back(request, "lab")


@action
def apns(request: HttpRequest) -> HttpResponse:
    word, count = request.POST.get("fault", ""), request.POST.get("count", "1")
    number = int(count) if count.isascii() and count.isdigit() and len(count) < 7 else 1
    told = "Pushes are answered as usual." if word == "clear" else "The next pushes are spoiled."
    _order(request, "apns", told, fault=word, count=number or None)
    return back(request, "lab")


def _order(request: HttpRequest, do: str, told: str, **arguments: Any) -> None:
    try:
        ask(_socket(), do, **arguments)
    except LabError as error:
        complain(request, str(error))
    else:
        say(request, told)


def _status() -> dict[str, Any]:
    context: dict[str, Any] = {
        "apns_faults": [(str(kind), words) for kind, words in _APNS_WORDS.items()],
        "device_faults": [_labelled(fault) for fault in DeviceFault],
        "most": MOST_AT_ONCE,
    }
    try:
        status = ask(_socket(), "status")
    except LabError as error:
        return {**context, "problem": str(error)}
    for row in status["devices"]:
        row["tone"] = _TONES.get(row["state"], "secondary")
        row["acts"] = _acts(row)
    return {**context, **status, "apns_url": settings.ENV.apns_url}


def _acts(row: dict[str, Any]) -> list[tuple[str, str]]:
    """What a click does to a device in its state; everything else has its own form."""
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


def _socket() -> Any:
    return Place.under(settings.ENV.state_dir).socket
