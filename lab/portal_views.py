"""The dashboard's page "Lab portal": Apple Business Manager as its admin sees it. Everything is
carried out by the lab's own process, behind `lab.control`."""

from __future__ import annotations

import re
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from lab import forms
from lab.dep.catalog import Family
from lab.dep.faults import FaultKind
from lab.errors import LabError
from mdm.pages.frame import action, back, complain, is_fragment, page, say

MOST_AT_ONCE = 1_000
_LARGEST_FILE = 1_000_000
_FAULT_WORDS = {
    FaultKind.TERMS: "403 T_C_NOT_SIGNED",
    FaultKind.TOKEN_EXPIRED: "401 token_expired",
    FaultKind.TOKEN_REJECTED: "401 token_rejected",
    FaultKind.ACCESS_DENIED: "403 ACCESS_DENIED",
    FaultKind.FORBIDDEN: "403 FORBIDDEN",
    FaultKind.STALE_SESSION: "401: the session is over",
    FaultKind.TOO_MANY_REQUESTS: "429",
    FaultKind.INTERNAL_ERROR: "500",
    FaultKind.UNAVAILABLE: "503",
    FaultKind.SLOW: "A slow answer",
    FaultKind.RESET: "Connection dropped before the answer",
    FaultKind.CUT: "Connection dropped within the answer",
    FaultKind.AFTER: "Done, but the answer is lost",
    FaultKind.NONSENSE: "JSON that breaks off",
    FaultKind.WRONG_SHAPE: "JSON of another shape",
    FaultKind.HTML: "A web page instead",
    FaultKind.STUCK_CURSOR: "The same cursor again",
    FaultKind.EXPIRED_CURSOR: "EXPIRED_CURSOR",
    FaultKind.INVALID_CURSOR: "INVALID_CURSOR",
    FaultKind.EXHAUSTED_CURSOR: "EXHAUSTED_CURSOR",
    FaultKind.DUPLICATES: "Operations told again",
    FaultKind.LOSSY: "An operation left out",
    FaultKind.FAILED: "FAILED for each serial number",
    FaultKind.THROTTLED: "THROTTLED for each serial number",
    FaultKind.NOT_ACCESSIBLE: "NOT_ACCESSIBLE for each serial number",
}
_ACTS = {
    "assign": "Assign or move to the server",
    "unassign": "Unassign",
    "release": "Release from the organization",
    "change": "Set the asset tag",
}


@page("server.read")
def portal(request: HttpRequest) -> HttpResponse:
    query = request.GET.get("q", "").strip()[:64]
    context: dict[str, Any] = {
        "query": query,
        "families": [str(family) for family in Family],
        "acts": _ACTS.items(),
        "faults_there_are": [(str(kind), words) for kind, words in _FAULT_WORDS.items()],
        "most": MOST_AT_ONCE,
    }
    try:
        context |= _ask("status", search=query)
    except LabError as error:
        context["problem"] = str(error)
    fragment = is_fragment(request, "portal-live")
    return render(request, "lab/portal_live.html" if fragment else "lab/portal.html", context)


@action("abm.connect")
def add_server(request: HttpRequest) -> HttpResponse:
    name, certificate = request.POST.get("name", ""), _text_of(request, "certificate")
    _order(request, f"{name} is there.", "server", name=name, certificate=certificate)
    return back(request, "lab-portal")


@action("server.read")
def token(request: HttpRequest) -> HttpResponse:
    """Download a server token: the one before it is over."""
    name, certificate = request.POST.get("name", ""), _text_of(request, "certificate")
    try:
        if certificate:
            _ask("certificate", name=name, certificate=certificate)
        file = _ask("token", name=name)["p7m"]
    except LabError as error:
        complain(request, str(error))
        return back(request, "lab-portal")
    kind = 'application/pkcs7-mime; name="smime.p7m"; smime-type=enveloped-data'
    answer = HttpResponse(file.encode(), content_type=kind)
    plain = re.sub(r"[^A-Za-z0-9]+", "_", name) or "server"
    answer["Content-Disposition"] = f'attachment; filename="{plain}_Token_smime.p7m"'
    return answer


@action("abm.connect")
def buy(request: HttpRequest) -> HttpResponse:
    count = forms.number(request, MOST_AT_ONCE)
    if count is None:
        complain(request, f"Say how many devices come, from 1 to {MOST_AT_ONCE:,}.")
    else:
        more = {key: request.POST.get(key, "") for key in ("family", "name")}
        _order(request, f"{count:,} devices came.", "buy", count=count, **more)
    return back(request, "lab-portal")


@action("abm.connect")
def devices(request: HttpRequest) -> HttpResponse:
    """Do something to the devices whose serial numbers are given."""
    act, value = request.POST.get("act", ""), request.POST.get("value", "")
    serials = request.POST.get("serials", "").replace(",", " ").split()
    if act not in _ACTS or not serials:
        complain(request, "Say which devices, by serial number, and what happens to them.")
        return back(request, "lab-portal")
    more: dict[str, Any] = {"serials": serials, "name": request.POST.get("name", "")}
    if act == "change":
        more["values"] = {"asset_tag": value}
    _order(request, f"{len(serials):,} devices: done.", act, **more)
    return back(request, "lab-portal")


@action("server.read")
def csv(request: HttpRequest) -> HttpResponse:
    try:
        told = _ask("csv", name=request.POST.get("name", ""), text=_text_of(request, "file"))
    except LabError as error:
        complain(request, str(error))
    else:
        unknown = ", ".join(told["unknown"][:10])
        missing = f" Not in the organization: {unknown}." if unknown else ""
        say(request, f"{len(told['assigned']):,} devices assigned.{missing}")
    return back(request, "lab-portal")


@action("abm.connect")
def default(request: HttpRequest) -> HttpResponse:
    family, name = request.POST.get("family", ""), request.POST.get("name", "")
    told = f"{family} devices go to {name or 'no server'} from now on."
    _order(request, told, "default", family=family, name=name)
    return back(request, "lab-portal")


@action("abm.connect")
def fault(request: HttpRequest) -> HttpResponse:
    word = request.POST.get("fault", "")
    told = "Requests are answered as usual." if word == "clear" else "The fault is ordered."
    _order(request, told, "fault", fault=word, count=forms.times(request))
    return back(request, "lab-portal")


def _order(request: HttpRequest, told: str, act: str, **more: Any) -> None:
    forms.carry_out(request, told, "abm", act=act, **more)


def _ask(act: str, **more: Any) -> dict[str, Any]:
    return forms.order("abm", act=act, **more)


def _text_of(request: HttpRequest, name: str) -> str:
    file = request.FILES.get(name)
    if not isinstance(file, UploadedFile):
        return ""
    content: bytes = file.read(_LARGEST_FILE)
    return content.decode("utf-8", "replace")
