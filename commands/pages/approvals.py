"""Commands > Approvals: what waits for a second person, what they decided, and the switch that
pauses all destructive commands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Case, QuerySet, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from commands import restraint
from commands.models import Approval, Command
from mdm import moments
from mdm.audit.actor import Actor
from mdm.navigation import Attention
from mdm.pages.frame import action, complain, form_page, page, say, table_page
from mdm.standing import Tone
from mdm.tables import Column, Filter, Table

Rows = QuerySet[Approval]
State = Approval.State

LOOKS: dict[str, tuple[str, Tone, str]] = {
    State.WAITING: ("Waits for approval", "warning", "hourglass"),
    State.APPROVED: ("Approved", "good", "circle-check"),
    State.REFUSED: ("Refused", "off", "ban"),
    State.WITHDRAWN: ("Cancelled", "off", "ban"),
    State.EXPIRED: ("Not approved in time", "off", "clock"),
}


@page("server.read")
def approvals(request: HttpRequest) -> HttpResponse:
    waits = Case(When(state=State.WAITING, then=1), default=0)
    rows = Approval.objects.select_related("command").annotate(is_waiting=waits)
    paused = restraint.active_pause()
    return table_page(
        request,
        "commands/approvals.html",
        TABLE.view(request, rows),
        paused=paused,
        waiting_for_switch=restraint.held_by_the_switch() if paused else 0,
    )


@action("approval.decide")
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Approval.objects.select_related("command"), pk=pk)
    try:
        done = restraint.approve(Actor.of(request), found.pk)
    except restraint.AlreadyDecided as refused:
        complain(request, str(refused))
    else:
        starts = done.command.starts_at
        then = (
            f" It starts at {moments.clock(starts, seconds=True)} and can be cancelled until then."
            if starts
            else ""
        )
        say(request, f"{done.command.request_type} is approved.{then}")
    return redirect("commands:job", found.command.uuid)


@action("approval.decide")
def refuse(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Approval.objects.select_related("command"), pk=pk)
    try:
        restraint.refuse(Actor.of(request), found.pk, request.POST.get("note", ""))
    except restraint.AlreadyDecided as refused:
        complain(request, str(refused))
    else:
        say(request, f"{found.command.request_type} is refused. Nobody gets it.")
    return redirect("commands:job", found.command.uuid)


@form_page("destructive.pause")
def pause(request: HttpRequest) -> HttpResponse:
    """Ask for a reason, which is nobody's duty to have, and pause."""
    if request.method == "POST":
        made = restraint.pause(Actor.of(request), request.POST.get("reason", ""))
        say(request, f"Destructive commands are paused by {made.began_by}.")
        return redirect("commands:approvals")
    return render(request, "commands/pause.html", {"waiting": restraint.undelivered()})


@form_page("destructive.resume")
def resume(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        try:
            restraint.resume(Actor.of(request))
        except restraint.NotPaused as refused:
            complain(request, str(refused))
        else:
            say(request, "Destructive commands go out again.")
        return redirect("commands:approvals")
    count = restraint.held_by_the_switch()
    words = (
        f"{count:,} device{' gets' if count == 1 else 's get'} a destructive command then. Cancel"
        " what should not go out first, on the page of its job."
        if count
        else "No destructive command waits at the moment."
    )
    context = {
        "title": "Let destructive commands go again",
        "button": "Let them go",
        "words": words,
        "back": reverse("commands:approvals"),
    }
    return render(request, "mdm/confirm.html", context)


def standing(command: Command, actor: Actor) -> dict[str, Any]:
    """What a job's page says of what holds it back, and whether this person can decide."""
    approval = Approval.objects.filter(command=command).select_related("command").first()
    shown: dict[str, Any] = {"approval": approval, "approval_look": None, "held_why": ""}
    if approval is not None:
        shown["approval_look"] = LOOKS[approval.state]
    if command.held:
        paused = restraint.active_pause()
        shown["held_why"] = restraint.why_held(command, approval, paused)
        if approval is not None and approval.state == State.WAITING:
            shown["cannot_decide"] = restraint.may_decide(actor, approval)
    return shown


def attention() -> Iterable[Attention]:
    waiting = Approval.objects.filter(state=State.WAITING, expires_at__gt=timezone.now()).count()
    if waiting:
        commands = "1 command waits" if waiting == 1 else f"{waiting:,} commands wait"
        yield Attention(
            what=f"{commands} for the approval of a second person.",
            why="Whoever asked for it has used up what they may send alone in an hour.",
            button="Look at them",
            url=reverse("commands:approvals"),
        )
    paused = restraint.active_pause()
    if paused is not None:
        yield Attention(
            what=f"{paused.began_by} paused all destructive commands.",
            why=paused.reason or "Erasing, locking and the like wait until someone lets them go.",
            button="Open Approvals",
            url=reverse("commands:approvals"),
            tone="danger",
        )


def _by_state(rows: Rows, value: str) -> Rows:
    return rows.filter(state=value)


TABLE = Table(
    slug="approvals",
    label="Approvals",
    one="approval",
    many="approvals",
    # What waits first, then the newest.
    order=("-is_waiting", "-id"),
    empty="commands/approvals_empty.html",
    columns=(
        Column(
            key="command",
            label="Command",
            value=lambda row: row.command.request_type,
            template="commands/cells/approval.html",
        ),
        Column(
            key="state",
            label="State",
            value=lambda row: LOOKS[row.state][0],
            template="commands/cells/approval_state.html",
        ),
        Column(key="devices", label="Devices", value=lambda row: row.command.targets, css="num"),
        Column(key="by", label="Asked by", value=lambda row: row.command.asked_by),
        Column(key="at", label="When", value=lambda row: row.asked_at),
        Column(key="decided", label="Decided by", value=lambda row: row.decided_by),
    ),
    filters=(
        Filter(
            key="state",
            label="State",
            choices=lambda: [(state.value, LOOKS[state][0]) for state in State],
            apply=_by_state,
        ),
    ),
)
