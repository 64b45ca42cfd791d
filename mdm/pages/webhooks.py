"""Settings > Webhooks: who is told of events, how that goes, and what was sent."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from mdm.audit.actor import Actor
from mdm.navigation import Attention
from mdm.pages.frame import action, complain, form_page, is_fragment, page, say, table_page
from mdm.tables import Column, Filter, Table
from mdm.webhooks import kinds
from mdm.webhooks import subscriptions as domain
from mdm.webhooks.models import Delivery, Subscription

State = Delivery.State


@page("server.read")
def webhooks(request: HttpRequest) -> HttpResponse:
    rows = Subscription.objects.defer("sealed_secret", "sealed_old_secret")
    return table_page(request, "mdm/webhooks/list.html", TABLE.view(request, rows))


@form_page("webhook.manage")
def create(request: HttpRequest) -> HttpResponse:
    """The form, and after it one of the two pages that ever show the secret."""
    if request.method != "POST":
        return _form(request, None, {"name": "", "url": "", "kinds": []})
    filled = _filled(request)
    try:
        made, secret = domain.create(Actor.of(request), **filled)
    except domain.BadWebhook as bad:
        return _form(request, None, filled, bad)
    return _show_secret(request, made, secret)


@form_page("webhook.manage")
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Subscription, pk=pk)
    if request.method != "POST":
        return _form(request, found, {key: getattr(found, key) for key in ("name", "url", "kinds")})
    filled = _filled(request)
    try:
        domain.change(Actor.of(request), found, **filled)
    except domain.BadWebhook as bad:
        return _form(request, found, filled, bad)
    say(request, f"{filled['name']} is changed.")
    return redirect("webhook", pk)


@page("server.read")
def webhook(request: HttpRequest, pk: int) -> HttpResponse:
    """One webhook, and the log of its deliveries."""
    found = get_object_or_404(Subscription, pk=pk)
    rows = Delivery.objects.filter(subscription=found).select_related("event")
    context = {
        "webhook": found,
        "asks": _asks(found),
        "failed": found.deliveries.filter(state=State.FAILED).exists(),
    }
    return table_page(request, "mdm/webhooks/webhook.html", LOG.view(request, rows), **context)


@page("server.read")
def delivery(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """What was sent, and what the receiver said each time."""
    found = _delivery(pk, number)
    mark = f"{found.state}.{len(found.attempts)}"
    if is_fragment(request, "delivery") and request.GET.get("mark") == mark:
        return HttpResponse(status=204)
    context = {
        "delivery": found,
        "webhook": found.subscription,
        "attempts": [_attempt(each) for each in reversed(found.attempts)],
        "sent": json.dumps(found.event.as_sent(), indent=2, ensure_ascii=False),
        "moving": found.due_at is not None,
        "mark": mark,
    }
    shown = "delivery" if is_fragment(request, "delivery") else "delivery_page"
    return render(request, f"mdm/webhooks/{shown}.html", context)


@action("webhook.manage")
def test(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a test event; the delivery's page shows what comes of it."""
    found = get_object_or_404(Subscription, pk=pk)
    try:
        made = domain.test(Actor.of(request), found)
    except domain.SwitchedOff as refused:
        complain(request, str(refused))
        return redirect("webhook", pk)
    return redirect("webhook_delivery", pk, made.pk)


@action("webhook.manage")
def rotate(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Subscription, pk=pk)
    changed, secret = domain.rotate(Actor.of(request), found)
    return _show_secret(request, changed, secret)


@action("webhook.manage")
def switch(request: HttpRequest, pk: int) -> HttpResponse:
    found, on = get_object_or_404(Subscription, pk=pk), request.POST.get("on") == "yes"
    domain.switch(Actor.of(request), found, on)
    what = "is on, and hears of what happens from now on" if on else "is off, and hears of nothing"
    say(request, f"{found} {what}.")
    return redirect("webhook", pk)


@action("webhook.manage")
def replay(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    found = _delivery(pk, number)
    try:
        domain.replay(Actor.of(request), found)
    except domain.SwitchedOff as refused:
        complain(request, str(refused))
    return redirect("webhook_delivery", pk, number)


@action("webhook.manage")
def replay_failed(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Subscription, pk=pk)
    try:
        count = domain.replay_failed(Actor.of(request), found)
    except domain.SwitchedOff as refused:
        complain(request, str(refused))
    else:
        say(request, f"{'1 event is' if count == 1 else f'{count:,} events are'} sent again.")
    return redirect("webhook", pk)


@form_page("webhook.manage")
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Subscription, pk=pk)
    if request.method == "POST":
        domain.delete(Actor.of(request), found)
        say(request, f"{found} is deleted.")
        return redirect("webhooks")
    context = {
        "title": f"Delete {found}",
        "button": "Delete",
        "words": "Its receiver hears of nothing any more, what waits for it is not sent, and the"
        " log of its deliveries goes. To stop it for a time, switch it off instead.",
        "back": reverse("webhook", args=[pk]),
    }
    return render(request, "mdm/confirm.html", context)


def attention() -> Iterable[Attention]:
    """Webhooks that the server switched off."""
    for each in Subscription.objects.filter(active=False, off_because__gt="").order_by("pk"):
        yield Attention(
            what=f"The webhook {each} was switched off.",
            why=f"{each.off_because} Its receiver misses what happens until it is on again.",
            button="Open the webhook",
            url=reverse("webhook", args=[each.pk]),
        )


# --- Words ----------------------------------------------------------------------------------------


def _asks(webhook: Subscription) -> list[tuple[str, str]]:
    """What it asks for: a name and its sentence each."""
    labels = {f"{section}.*": label for section, label, _ in kinds.by_section()}
    known = {kind.name: kind.words for kind in kinds.every()}
    return [
        (name, known.get(name) or f"Everything under {labels.get(name, name)}.")
        for name in webhook.kinds
    ]


def _attempt(row: dict[str, Any]) -> dict[str, Any]:
    good = row["status"] is not None and 200 <= row["status"] < 300
    return {**row, "at": datetime.fromisoformat(row["at"]), "good": good}


def _came_of_it(row: Delivery) -> str:
    last = row.last
    if not last:
        return ""
    return f"{last['status']} {last['said']}".strip() if last["status"] else last["trouble"]


# --- The form -------------------------------------------------------------------------------------


def _filled(request: HttpRequest) -> dict[str, Any]:
    return {
        "name": request.POST.get("name", "").replace("\0", ""),
        "url": request.POST.get("url", "").replace("\0", ""),
        "kinds": request.POST.getlist("kinds"),
    }


def _form(
    request: HttpRequest,
    webhook: Subscription | None,
    filled: dict[str, Any],
    bad: domain.BadWebhook | None = None,
) -> HttpResponse:
    context = {
        "webhook": webhook,
        "filled": filled,
        "sections": [
            (f"{section}.*", label, of_it) for section, label, of_it in kinds.by_section()
        ],
        "errors": {bad.field: str(bad)} if bad else {},
        "back": reverse("webhook", args=[webhook.pk]) if webhook else reverse("webhooks"),
    }
    return render(request, "mdm/webhooks/form.html", context, status=422 if bad else 200)


def _show_secret(request: HttpRequest, webhook: Subscription, secret: str) -> HttpResponse:
    context = {"webhook": webhook, "secret": secret, "rotated": bool(webhook.old_secret_until)}
    return render(request, "mdm/webhooks/secret.html", context)


def _delivery(pk: int, number: int) -> Delivery:
    rows = Delivery.objects.select_related("event", "subscription")
    return get_object_or_404(rows, pk=number, subscription=pk)


def _by_state(rows: QuerySet[Delivery], value: str) -> QuerySet[Delivery]:
    both = [State.WAITING, State.SENDING]
    return rows.filter(state__in=both if value == State.WAITING else [value])


TABLE = Table(
    slug="webhooks",
    label="Webhooks",
    one="webhook",
    many="webhooks",
    order=("name", "pk"),
    empty="mdm/webhooks/empty.html",
    columns=(
        Column(
            key="name",
            label="Webhook",
            value=lambda row: row.name,
            template="mdm/cells/webhook.html",
        ),
        Column(
            key="state",
            label="State",
            value=lambda row: row.active,
            template="mdm/cells/webhook_state.html",
        ),
        Column(key="kinds", label="Events", value=lambda row: ", ".join(row.kinds), css="break"),
        Column(
            key="delivered", label="Last delivery", value=lambda row: row.delivered_at or "never"
        ),
    ),
)

LOG = Table(
    slug="webhook-deliveries",
    label="Deliveries",
    one="delivery",
    many="deliveries",
    empty="mdm/webhooks/log_empty.html",
    columns=(
        Column(
            key="kind",
            label="Event",
            value=lambda row: row.event.kind,
            template="mdm/cells/delivery.html",
        ),
        Column(
            key="state",
            label="State",
            value=lambda row: row.state,
            template="mdm/cells/delivery_state.html",
        ),
        Column(key="at", label="Happened", value=lambda row: row.at),
        Column(key="tries", label="Tries", value=lambda row: len(row.attempts), css="num"),
        Column(key="said", label="Last answer", value=_came_of_it, css="break text-secondary"),
    ),
    filters=(
        Filter(
            key="state",
            label="State",
            choices=lambda: [
                (state.value, state.label) for state in State if state != State.SENDING
            ],
            apply=_by_state,
        ),
    ),
)
