"""Sending a command: to one enrollment from its page, or to a selection from a list."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse

from commands import catalog, facts, queue, retry, selectors, verdict
from commands.catalog import (
    CatalogError,
    CommandType,
    Effect,
    Facts,
    InvalidParameters,
    UnknownRequestType,
)
from commands.catalog.parameters import Parameter
from commands.models import Command
from commands.pages import form
from mdm import scope, selection
from mdm.audit.actor import Actor
from mdm.audit.record import NotAllowed
from mdm.models import Device, Enrollment
from mdm.pages.devices import selected
from mdm.pages.frame import action, complain, form_page, say

_ENROLLED = Enrollment.State.ENROLLED


@dataclass(slots=True, kw_only=True)
class Receivers:
    """Whom a command is for: one enrollment, or a frozen list; and what is known of them."""

    ids: list[int]
    query: dict[str, str]
    one: Enrollment | None = None
    # The command that failed with them, where it is to be tried again as it was.
    retry_of: Command | None = None
    known: dict[int, tuple[str, Facts]] = field(default_factory=dict)

    @property
    def device(self) -> Device | None:
        return self.one.device if self.one else None

    @property
    def words(self) -> str:
        if self.device is not None:
            return str(self.device)
        return f"{len(self.ids):,} device{'' if len(self.ids) == 1 else 's'}"

    @property
    def confirmation(self) -> str:
        """What has to be typed before something destructive is sent to them."""
        if self.device is not None:
            return self.device.serial_number or str(self.device)
        return str(len(self.ids))

    def understood(self, parameters: Sequence[Parameter]) -> list[Parameter]:
        """The parameters that the one receiver is not known to lack; all of them for a list."""
        if self.one is None or self.one.pk not in self.known:
            return list(parameters)
        about = self.known[self.one.pk][1]
        return [parameter for parameter in parameters if not parameter.is_missing_on(about)]

    def url(self, **more: str) -> str:
        return f"{reverse('commands:send')}?{urlencode({**self.query, **more})}"

    @property
    def all_of_it(self) -> str:
        """Where what they come from can be seen, for who does not go on."""
        if self.retry_of is not None:
            return reverse("commands:job", args=[self.retry_of.uuid])
        return self.url()

    def why_not(self, command: CommandType) -> str | None:
        """Why the one receiver cannot take this command; None for a list, which is judged whole."""
        if self.one is None or self.one.pk not in self.known:
            return None
        return command.refusal(self.known[self.one.pk][1])


@form_page("command.send")
def send(request: HttpRequest) -> HttpResponse:
    """Choose a command, fill in its form, send it."""
    try:
        receivers = _receivers(request)
    except selection.SelectionGone as gone:
        complain(request, str(gone))
        return redirect("devices")
    except retry.NothingToRetry as nothing:
        complain(request, str(nothing))
        return redirect("commands:job", uuid.UUID(request.GET["retry"]))
    wanted = request.GET.get("type", "")
    if receivers.retry_of is not None:
        wanted = retry.asked(receivers.retry_of)[0]
    if not wanted:
        return _choose(request, receivers)
    try:
        command = catalog.get(wanted)
    except UnknownRequestType:
        raise Http404 from None
    parameters = _parameters(request, receivers, command)
    effect = _effect(command, parameters)
    if request.method == "POST":
        return _enqueue(request, receivers, command, effect, parameters)
    return _form(request, receivers, command, effect)


@action("command.send")
def to_selection(request: HttpRequest) -> HttpResponse:
    """Freeze the devices chosen in the list and go on to choosing a command."""
    rows = selected(request).filter(enrollment__isnull=False).order_by()
    ids = list(rows.values_list("enrollment_id", flat=True))
    if not ids:
        complain(request, "None of the chosen devices is enrolled.")
        return redirect("devices")
    token = selection.freeze(_person(request), ids)
    return HttpResponseRedirect(f"{reverse('commands:send')}?{urlencode({'to': token})}")


def _receivers(request: HttpRequest) -> Receivers:
    pk = request.GET.get("enrollment", "")
    if pk:
        one = (
            _seen(request).filter(pk=int(pk)).first()
            if pk.isascii() and pk.isdigit() and len(pk) < 19
            else None
        )
        if one is None:
            raise Http404
        return Receivers(ids=[one.pk], query={"enrollment": pk}, one=one, known=facts.of([one.pk]))
    if "retry" in request.GET:
        return _to_retry(request)
    token = request.GET.get("to", "")
    ids = selection.thaw(_person(request), token)
    return Receivers(ids=ids, query={"to": token})


def _to_retry(request: HttpRequest) -> Receivers:
    actor = Actor.of(request)
    try:
        command = selectors.jobs(actor).get(uuid=uuid.UUID(request.GET["retry"]))
    except (ValueError, Command.DoesNotExist):
        raise Http404 from None
    retry.asked(command)
    ids, query = retry.failed(actor, command), {"retry": str(command.uuid)}
    if len(ids) > 1:
        return Receivers(ids=ids, query=query, retry_of=command)
    one = _seen(request).filter(pk=ids[0]).first()
    return Receivers(ids=ids, query=query, retry_of=command, one=one, known=facts.of(ids))


def _seen(request: HttpRequest) -> QuerySet[Enrollment]:
    where = Actor.of(request).where("device.read")
    return scope.within(Enrollment.objects.select_related("device"), where, "device__serial_number")


def _choose(request: HttpRequest, receivers: Receivers) -> HttpResponse:
    actor = Actor.of(request)
    choices = [
        (
            command,
            _not_for_them(actor, receivers, command, command.effect) or receivers.why_not(command),
            receivers.url(type=command.request_type),
        )
        for command in catalog.all_types()
    ]
    context = {
        "receivers": receivers,
        "usual": [choice for choice in choices if not choice[0].destructive],
        "destructive": [choice for choice in choices if choice[0].destructive],
        "users": _other_channels(receivers),
        "enrolled": _enrolled(receivers),
    }
    return render(request, "commands/choose.html", context)


def _parameters(request: HttpRequest, receivers: Receivers, command: CommandType) -> object:
    """What was filled in, or asked for before; None while nothing was."""
    if receivers.retry_of is not None:
        return retry.asked(receivers.retry_of)[1]
    return form.read(request, command.parameters) if request.method == "POST" else None


def _effect(command: CommandType, parameters: object) -> Effect:
    """What it does with these parameters; in general, where they are not there or are wrong."""
    try:
        found, params = catalog.prepare(command.request_type, parameters)
    except CatalogError:
        return command.effect
    return found.effect_of(params)


def _not_for_them(
    actor: Actor, receivers: Receivers, command: CommandType, effect: Effect
) -> str | None:
    """Why this person may not send this; None where they may, or for some of a list."""
    try:
        where = queue.may_send(actor, command.request_type, effect)
    except NotAllowed as refused:
        return str(refused)
    return queue.BEYOND if receivers.one and scope.beyond(receivers.ids, where) else None


def _other_channels(receivers: Receivers) -> list[Enrollment]:
    if receivers.one is None:
        return []
    return list(
        Enrollment.objects.filter(device=receivers.one.device_id, state=_ENROLLED).order_by("id")
    )


def _enrolled(receivers: Receivers) -> bool:
    return receivers.one is None or receivers.one.state == _ENROLLED


def _form(
    request: HttpRequest,
    receivers: Receivers,
    command: CommandType,
    effect: Effect,
    errors: dict[str, str] | None = None,
    complaint: str = "",
) -> HttpResponse:
    filled = request.POST if request.method == "POST" else None
    parameters = [] if receivers.retry_of else receivers.understood(command.parameters)
    fields = form.draw(parameters, filled, errors)
    actor = Actor.of(request)
    judged = None
    if receivers.one is None:
        judged = verdict.judge(actor, command, effect, receivers.ids)
    unplaced = form.unplaced(errors or {}, fields)
    context: dict[str, Any] = {
        "receivers": receivers,
        "command": command,
        "destructive": effect is Effect.DESTRUCTIVE,
        "fields": fields,
        "complaint": complaint or " ".join(unplaced),
        "why_not": _not_for_them(actor, receivers, command, effect) or receivers.why_not(command),
        "verdict": judged,
        "kept_back": judged.held if judged else verdict.held(actor, command, effect, 1),
        "enrolled": _enrolled(receivers),
        "here": receivers.url(type=command.request_type),
        "choose": receivers.all_of_it,
    }
    return render(request, "commands/send.html", context, status=422 if filled else 200)


def _enqueue(
    request: HttpRequest,
    receivers: Receivers,
    command: CommandType,
    effect: Effect,
    parameters: object,
) -> HttpResponse:
    if effect is Effect.DESTRUCTIVE and not _confirmed(request, receivers):
        words = f"Type {receivers.confirmation} to confirm."
        return _form(request, receivers, command, effect, {"confirmation": words})
    actor = Actor.of(request)
    try:
        if receivers.retry_of is not None:
            sent = retry.retry(actor, receivers.retry_of)
        else:
            sent = queue.enqueue(
                actor,
                request_type=command.request_type,
                parameters=parameters,
                enrollments=receivers.ids,
            )
    except InvalidParameters as invalid:
        return _form(request, receivers, command, effect, invalid.errors)
    except queue.QueueError as refused:
        return _form(request, receivers, command, effect, complaint=str(refused))
    say(request, _outcome(sent, receivers))
    if receivers.device is not None and not sent.held and receivers.retry_of is None:
        return redirect("device_panel", receivers.device.pk, "commands")
    return redirect("commands:job", sent.command.uuid)


def _confirmed(request: HttpRequest, receivers: Receivers) -> bool:
    typed = request.POST.get("confirmation", "").strip().replace(",", "")
    return typed.casefold() == receivers.confirmation.casefold()


def _outcome(sent: queue.Enqueued, receivers: Receivers) -> str:
    name = sent.command.request_type
    if sent.held:
        return f"{name} waits before it goes to {receivers.words}; its page says for what."
    if receivers.device is not None:
        if sent.coalesced:
            return (
                f"{name} was waiting for {receivers.device} already; its answer will do for both."
            )
        return f"{name} is on its way to {receivers.device}."
    parts = [f"{name} is on its way to {sent.entries:,}"]
    if sent.coalesced:
        parts.append(f"{sent.coalesced:,} had it waiting already")
    if sent.refused:
        reasons = Counter(refused.reason for refused in sent.refused)
        parts += [f"{count:,} cannot take it: {why}" for why, count in reasons.most_common(3)]
    return "; ".join(parts) + "."


def _person(request: HttpRequest) -> int:
    return int(request.user.pk or 0)
