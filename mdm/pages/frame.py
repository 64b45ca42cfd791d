"""What every page of the dashboard shares: who may see it, how it answers htmx, how it refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.messages.storage.base import Message
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render, resolve_url
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache

from mdm import scope
from mdm.accounts import first_admin
from mdm.audit import refused
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed, somewhere
from mdm.models import Device, Group
from mdm.tables import View

Given = ParamSpec("Given")
Page = Callable[Concatenate[HttpRequest, Given], HttpResponseBase]


def page(right: str) -> Callable[[Page[Given]], Page[Given]]:
    """A page of the dashboard to look at: for people who are signed in and have this right of the
    table for any device at least.

    Each of the three is never kept by caches, and answers what the domain does not allow with the
    reason and status 403.
    """
    return _guarded({"GET": right})


def form_page(right: str, *, read: str = "") -> Callable[[Page[Given]], Page[Given]]:
    """A page that asks before it changes something, and changes it by POST. `read` is the right to
    look at it, where others may do that.
    """
    return _guarded({"GET": read or right, "POST": right})


def action(right: str) -> Callable[[Page[Given]], Page[Given]]:
    """What changes something by POST alone."""
    return _guarded({"POST": right})


def _guarded(rights: Mapping[str, str]) -> Callable[[Page[Given]], Page[Given]]:
    """Let those in who have the right for the method of their request."""

    def decorate(view: Page[Given]) -> Page[Given]:
        @wraps(view)
        @never_cache
        def wrapped(
            request: HttpRequest, /, *args: Given.args, **kwargs: Given.kwargs
        ) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return _to_sign_in(request)
            method = "GET" if request.method == "HEAD" else request.method or ""
            if method not in rights:
                return HttpResponse(status=405, headers={"Allow": ", ".join(rights)})
            actor = Actor.of(request)
            try:
                somewhere(actor, rights[method])
                if "undo" in request.POST and not _may_undo(request):
                    return nothing_undone(request)
                return view(request, *args, **kwargs)
            except NotAllowed as no:
                refused.count(actor, no.action, str(no))
                return render(request, "mdm/error.html", {"why": str(no)}, status=403)

        wrapped.rights = rights  # type: ignore[attr-defined]
        return wrapped

    return decorate


def is_fragment(request: HttpRequest, target: str) -> bool:
    """Whether htmx asks for just the element with this id, and not for a page to go back to."""
    details = request.htmx  # type: ignore[attr-defined]
    return bool(details and details.target == target and not details.history_restore_request)


def table_page(request: HttpRequest, template: str, view: View, **context: object) -> HttpResponse:
    """A page around a table; only the table's region, or the count, where htmx asks for it."""
    if is_fragment(request, f"count-{view.table.slug}"):
        view.count_all()
        return render(request, "mdm/table/count.html", {"view": view})
    name = f"region-{view.table.slug}"
    shown = "mdm/table/region.html" if is_fragment(request, name) else template
    answer = render(request, shown, {"view": view, **context})
    answer["Vary"] = "HX-Request, Cookie"
    return answer


def back(request: HttpRequest, otherwise: str, **kwargs: Any) -> HttpResponseRedirect:
    """To the page of ours named in the form's `next`, else to the named view."""
    goal = request.POST.get("next", "")
    if goal and url_has_allowed_host_and_scheme(goal, {request.get_host()}, request.is_secure()):
        return HttpResponseRedirect(goal)
    return HttpResponseRedirect(resolve_url(otherwise, **kwargs))


def device_of(request: HttpRequest, pk: int) -> Device:
    """The device with this id that the person may see, with its enrollment; else Http404."""
    seen = scope.devices(Actor.of(request))
    return get_object_or_404(seen.select_related("enrollment"), pk=pk)


NO_GROUP = "There is no such group any more."


def chosen_group(text: str) -> Group | None:
    """The group with this id as a form has it; None for "". Raises Group.DoesNotExist."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Group.DoesNotExist
    return Group.objects.get(pk=int(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """The way back from what was just done to `subject`, its kind and id in the audit log: an
    action of ours, with what its form needs. It is offered beside the message, to whoever did it,
    for ten minutes and while nothing else is done to the subject: who comes later looks at what it
    is like now.
    """

    url: str
    subject: tuple[str, object]
    fields: Mapping[str, str] = field(default_factory=dict)
    label: str = "Undo"

    def kept(self, request: HttpRequest) -> str:
        until = time.time() + UNDO_SECONDS
        kind, subject = self.subject[0], str(self.subject[1])
        given = [request.user.pk, self.url, kind, subject, _newest(kind, subject)]
        fields = {**self.fields, "undo": signing.dumps(given, salt=_UNDO)}
        return json.dumps([self.url, fields, self.label, until])

    @staticmethod
    def of(message: Message) -> dict[str, Any] | None:
        """What is offered beside a message, while it is."""
        if not (message.extra_tags or "").startswith("["):
            return None
        url, fields, label, until = json.loads(message.extra_tags)
        return {"url": url, "fields": fields, "label": label} if time.time() < until else None


UNDO_SECONDS = 600
_UNDO = "undoing"


def nothing_undone(request: HttpRequest) -> HttpResponseRedirect:
    """Back to where the way back was offered, which is none any more."""
    complain(request, "This has changed since; nothing was undone. Look at what it is like now.")
    goal = request.headers.get("Referer", "")
    fine = url_has_allowed_host_and_scheme(goal, {request.get_host()}, request.is_secure())
    return HttpResponseRedirect(goal if fine else reverse("overview"))


def _may_undo(request: HttpRequest) -> bool:
    """Whether what is posted was offered to this person a moment ago, and is still true."""
    try:
        given = signing.loads(request.POST["undo"], salt=_UNDO, max_age=UNDO_SECONDS)
    except signing.BadSignature:
        return False
    person, url, kind, subject, newest = given
    here = bool(person == request.user.pk and url == request.path)
    return here and newest == _newest(kind, subject)


def _newest(kind: str, subject: str) -> int:
    """The last change of a subject; that a secret of it was read is none."""
    events = AuditEvent.objects.filter(subject_kind=kind, subject_id=subject)
    changes = events.exclude(action__contains=".read").order_by("-id")
    return changes.values_list("id", flat=True).first() or 0


def say(request: HttpRequest, words: str, *, undo: Undo | None = None) -> None:
    messages.success(request, words, extra_tags=undo.kept(request) if undo else "")


def complain(request: HttpRequest, words: str) -> None:
    messages.error(request, words)


def _to_sign_in(request: HttpRequest) -> HttpResponse:
    if first_admin.is_missing():
        return HttpResponseRedirect(reverse("set_up"))
    sign_in = reverse("account_login")
    if request.htmx:  # type: ignore[attr-defined]
        # A fragment in the middle of a page is no place to sign in.
        here = request.htmx.current_url_abs_path or "/"  # type: ignore[attr-defined]
        goal = f"{sign_in}?{urlencode({'next': here})}"
        return HttpResponse(status=204, headers={"HX-Redirect": goal})
    here = request.get_full_path() if request.method == "GET" else "/"
    return HttpResponseRedirect(f"{sign_in}?{urlencode({'next': here})}")
