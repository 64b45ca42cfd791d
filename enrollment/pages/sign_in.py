"""The page that Setup Assistant shows where a profile wants someone to sign in before the device
enrolls. The device sends its MachineInfo along with the first request alone, in a header: what it
says is kept in the session until someone has signed in. Whoever has a second factor needs it here,
too; a passkey cannot be used in that window, so it is a code.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import asdict
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.mfa.base.forms import AuthenticateForm
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from enrollment import ade
from enrollment.arrival_endpoint import refusal
from enrollment.errors import NotReady
from enrollment.wire.machine_info import MAX_MESSAGE, MachineInfo
from enrollment.wire.profile import MIME_TYPE
from mdm.accounts.models import User
from mdm.audit.actor import Actor

_HEADER = "x-apple-aspen-deviceinfo"
_KEPT = "ade-device"
_KEPT_SECONDS = 30 * 60


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest, secret: str) -> HttpResponse:
    """The form; posted with the right name and password, the enrollment profile."""
    sent = request.headers.get(_HEADER, "")[: 2 * MAX_MESSAGE]
    address = request.META.get("REMOTE_ADDR", "")[:64]
    kept = request.session.get(_KEPT)
    try:
        if kept and not sent:
            visitor = ade.look_again(secret, MachineInfo(**kept))
        else:
            visitor = ade.look(secret, _message(sent))
        if request.method == "POST":
            return _answered(request, visitor, address)
    except ade.TurnedAway as refused:
        ade.note(refused, address)
        return _turned_away(request, refused, machine=bool(sent))
    if sent:
        said = asdict(visitor.info)
        del said["pairing_token"]
        request.session[_KEPT] = said
        request.session.set_expiry(_KEPT_SECONDS)
    return _form(request, visitor)


def _answered(request: HttpRequest, visitor: ade.Visitor, address: str) -> HttpResponse:
    name = request.POST.get("username", "").strip()[:254]
    credentials = {"password": request.POST.get("password", "")[:1_000]}
    credentials["email" if "@" in name else "username"] = name
    try:
        # With the bound on failed attempts that the dashboard has too.
        person = get_adapter(request).authenticate(request, **credentials)
    except ValidationError:
        return _form(request, visitor, name, "Too many attempts. Wait five minutes.")
    if person is None or not person.is_active:
        return _form(request, visitor, name, "That name and password do not go together.")
    missing = _second_factor(request, person)
    if missing:
        return _form(request, visitor, name, missing)
    try:
        profile = ade.let_in(visitor, address, Actor.person(person, address=address))
    except NotReady as error:
        return _form(request, visitor, name, f"{error} Try again then.")
    request.session.flush()
    return HttpResponse(profile, content_type=MIME_TYPE)


def _second_factor(request: HttpRequest, person: User) -> str:
    """What is wrong with the code, "" where it is right or none is needed."""
    if not is_mfa_enabled(person):
        return ""
    if not request.POST.get("code", "").strip():
        return "Your account has a second factor: fill in a code, too."
    # With the bound on failed attempts that the dashboard has too.
    form = AuthenticateForm({"code": request.POST["code"][:100]}, user=person)
    if form.is_valid():
        return ""
    return f"{form.errors['code'][0]} One of your recovery codes works, too."


def _message(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _form(
    request: HttpRequest, visitor: ade.Visitor, name: str = "", problem: str = ""
) -> HttpResponse:
    context: dict[str, Any] = {
        "organization": settings.ENV.organization,
        "serial_number": visitor.info.serial_number,
        "name": name,
        "problem": problem,
    }
    return render(request, "enrollment/sign_in.html", context, status=422 if problem else 200)


def _turned_away(request: HttpRequest, refused: ade.TurnedAway, *, machine: bool) -> HttpResponse:
    """Apple's word where the device asks for the page, words where a person looks at it."""
    if machine and refused.code:
        answer = refusal(refused)
        return HttpResponse(answer.body, content_type=answer.content_type, status=answer.status)
    context = {
        "title": "This device cannot enroll",
        "reason": str(refused),
        "advice": "Go back and begin again. If it stays, ask the people who run this server.",
        "organization": settings.ENV.organization,
    }
    return render(request, "enrollment/sorry.html", context, status=refused.status)
