"""Disowning devices: from the choice over the confirmation to what became of each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, F, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone

from abm import disowns as domain
from abm.models import AbmDevice, Disown, DisownDevice, Server
from abm.pages import words
from abm.pages.devices import person, selected
from mdm import selection
from mdm.audit.actor import Actor
from mdm.models import Enrollment
from mdm.pages.frame import action, complain, form_page, is_fragment, page, say, table_page
from mdm.search import Contains
from mdm.tables import Column, Filter, Table

State = DisownDevice.State

# So many serial numbers are named before they are disowned; more are a number.
_FEW = 20


@action("abm.disown")
def choose(request: HttpRequest) -> HttpResponse:
    """Freeze those of the selection that are listed now, and go on to the confirmation."""
    rows = selected(request).filter(current=True, removed_at=None).order_by()
    ids = list(rows.values_list("pk", flat=True))
    if not ids:
        complain(request, "None of the chosen devices is in Apple Business Manager now.")
        return redirect("abm:devices")
    token = selection.freeze(person(request), ids)
    return HttpResponseRedirect(f"{reverse('abm:disown_confirm')}?of={token}")


@form_page("abm.disown")
def confirm(request: HttpRequest) -> HttpResponse:
    """What would be disowned; typed once more, it is."""
    try:
        ids = selection.thaw(person(request), request.GET.get("of", ""))
    except selection.SelectionGone as gone:
        complain(request, str(gone))
        return redirect("abm:devices")
    context = _confirmation(ids)
    if request.method != "POST":
        return render(request, "abm/disown_confirm.html", context)
    typed = request.POST.get("confirmation", "").strip().replace(",", "")
    complaint = f"Nothing was disowned. Type {context['confirmation']} to confirm."
    if typed.casefold() == str(context["confirmation"]).casefold():
        try:
            asked = domain.ask(Actor.of(request), ids)
        except domain.CannotDisown as refused:
            complaint = str(refused)
        else:
            return redirect("abm:disown", asked.pk)
    context["complaint"] = complaint
    return render(request, "abm/disown_confirm.html", context, status=422)


@page("server.read")
def disown(request: HttpRequest, pk: int) -> HttpResponse:
    """How far it has come, and what became of each device."""
    found = get_object_or_404(Disown, pk=pk)
    context = _progress(found)
    if is_fragment(request, "disown-progress"):
        if request.GET.get("mark") == context["mark"]:
            return HttpResponse(status=204)
        answer = render(request, "abm/disown_progress.html", context)
        answer["HX-Trigger"] = f'{{"table-outdated": "{DEVICES.slug}"}}'
        return answer
    rows = DisownDevice.objects.filter(disown=found).select_related("server")
    view = DEVICES.view(request, rows.defer("server__account", "server__sealed_token"))
    return table_page(request, "abm/disown.html", view, **context)


@action("abm.disown")
def stop(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Disown, pk=pk)
    count = domain.stop(Actor.of(request), found)
    if count:
        say(request, f"Stopped: Apple was not asked about {count:,}.")
    else:
        complain(request, "Apple was asked about all of them already.")
    return redirect("abm:disown", found.pk)


@page("server.read")
def disowns(request: HttpRequest) -> HttpResponse:
    view = DISOWNS.view(request, Disown.objects.all())
    _add_legends(view.rows)
    return table_page(request, "abm/disowns.html", view)


def _confirmation(ids: list[int]) -> dict[str, Any]:
    rows = AbmDevice.objects.extra(where=["abm_abmdevice.id = ANY(%s)"], params=[ids]).order_by()
    by_server = dict(rows.values_list("server").annotate(count=Count("*")))
    servers = Server.objects.in_bulk(list(by_server))
    few = rows.order_by("serial_number").values_list("serial_number", flat=True)
    one = few[0] if len(ids) == 1 and by_server else ""
    count = "1 device" if len(ids) == 1 else f"{len(ids):,} devices"
    return {
        "title": f"Disown {one or count}",
        "button": f"Disown {count}",
        "words": "Disown what you sold or gave away. To move a device to another server, reassign"
        " it in Apple Business Manager instead.",
        "confirmation": one or str(len(ids)),
        "back": reverse("abm:devices"),
        "servers": [(servers[pk], by_server[pk]) for pk in sorted(by_server)],
        "enrolled": rows.filter(device__enrollment__state=Enrollment.State.ENROLLED).count(),
        "few": list(few) if 1 < len(ids) <= _FEW else [],
        "complaint": "",
    }


def _progress(found: Disown) -> dict[str, Any]:
    counts = domain.counts(found)
    over = not any(counts.get(state) for state in domain.UNSETTLED)
    troubles = [] if over else _troubles(found)
    return {
        "disown": found,
        "counts": counts,
        "legend": _legend(counts),
        "total": sum(counts.values()),
        "waiting": counts.get(State.WAITING, 0),
        "over": over,
        "asked": any(counts.get(s) for s in (State.DISOWNED, State.UNCLEAR, State.NOT_OURS)),
        "troubles": troubles,
        "mark": ".".join([*(f"{key}{counts[key]}" for key in sorted(counts)), *troubles]),
    }


def _troubles(found: Disown) -> list[str]:
    """Why nothing moves, as far as that is known."""
    waiting = found.devices.filter(state=State.WAITING).order_by()
    servers = Server.objects.filter(pk__in=waiting.values("server")).order_by("pk")
    return [why for each in servers if (why := domain.waits_for(each, timezone.now()))]


def _legend(counts: dict[str, int]) -> list[tuple[str, int]]:
    return [(key, counts[key]) for key in words.DISOWN_LOOKS if counts.get(key)]


def _add_legends(rows: Iterable[Disown]) -> None:
    """Give each its `legend`, how many devices are in which state, and their `total`."""
    listed = list(rows)
    counted: dict[int, dict[str, int]] = {}
    states = DisownDevice.objects.filter(disown__in=listed).order_by()
    for pk, state, count in states.values_list("disown", "state").annotate(count=Count("*")):
        counted.setdefault(pk, {})[state] = count
    for each in listed:
        counts = counted.get(each.pk, {})
        each.legend = _legend(counts)  # type: ignore[attr-defined]
        each.total = sum(counts.values())  # type: ignore[attr-defined]


def _search(rows: QuerySet[DisownDevice], text: str) -> QuerySet[DisownDevice]:
    return rows.filter(Contains(F("serial_number"), text.replace("\0", "").strip()[:100]))


def _search_disowns(rows: QuerySet[Disown], text: str) -> QuerySet[Disown]:
    serial = text.replace("\0", "").strip()[:100]
    return rows.filter(pk__in=_search(DisownDevice.objects.all(), serial).values("disown"))


def _attribute(name: str) -> Any:
    return lambda row: getattr(row, name)


DISOWNS = Table(
    slug="abm-disowns",
    label="Disowned",
    one="time",
    many="times",
    search=_search_disowns,
    search_hint="Serial number",
    empty="abm/disowns_empty.html",
    columns=(
        Column(
            key="at",
            label="When",
            value=_attribute("asked_at"),
            template="abm/cells/disown.html",
        ),
        Column(key="by", label="Asked by", value=_attribute("asked_by"), css="break"),
        Column(key="total", label="Devices", value=_attribute("total"), css="num"),
        Column(
            key="states",
            label="What became of them",
            value=_attribute("legend"),
            template="abm/cells/disown_states.html",
        ),
    ),
)

DEVICES = Table(
    slug="abm-disown-devices",
    label="Devices",
    one="device",
    many="devices",
    search=_search,
    search_hint="Serial number",
    order=("id",),
    columns=(
        Column(
            key="serial",
            label="Serial number",
            value=_attribute("serial_number"),
            template="abm/cells/ledger_serial.html",
            sort=("serial_number",),
        ),
        Column(
            key="state",
            label="State",
            value=_attribute("state"),
            template="abm/cells/disown_state.html",
        ),
        Column(key="why", label="Why", value=_attribute("sentence"), css="break why-cell"),
        Column(key="server", label="Server", value=_attribute("server"), optional=True),
        Column(key="asked", label="Apple asked", value=_attribute("asked_at"), optional=True),
    ),
    filters=(
        Filter(
            key="state",
            label="State",
            choices=lambda: [(key, look.word) for key, look in words.DISOWN_LOOKS.items()],
            apply=lambda rows, value: rows.filter(state=value),
        ),
    ),
)
