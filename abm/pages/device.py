"""What ABM adds to a device's page: the tab with Apple's facts and the ledger, and events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.http import QueryDict
from django.urls import reverse

from abm.models import AbmDevice, LedgerEntry
from abm.pages import words
from mdm.models import Device
from mdm.navigation import Event

_SHOWN = 50
_LONGEST = 500

Decision = LedgerEntry.Decision
Context = dict[str, object]


@dataclass(frozen=True, slots=True)
class Told:
    """A line of the ledger in words."""

    entry: LedgerEntry
    said: str
    decided: str


def panel(device: Device, query: QueryDict) -> Context:
    """The servers that list it or did, and its ledger, newest first; `older` walks back by id."""
    if not device.serial_number:
        return {"listed": [], "told": []}
    rows = _ledger(device).select_related("server")
    older = query.get("older", "")
    walked = older.isascii() and older.isdigit() and len(older) < 19
    if walked:
        rows = rows.filter(pk__lt=int(older))
    entries = list(rows[: _SHOWN + 1])
    more = len(entries) > _SHOWN
    entries = entries[:_SHOWN]
    listed = AbmDevice.objects.filter(serial_number=device.serial_number).select_related("server")
    return {
        "listed": [(each, _more(each)) for each in listed.order_by("-current", "-pk")],
        "told": _tell(entries),
        "older": entries[-1].pk if more else "",
        "walked": walked,
    }


def events(device: Device, before: datetime, limit: int) -> Iterable[Event]:
    """When it came to a server in ABM, and when it left."""
    if not device.serial_number:
        return
    rows = _ledger(device).filter(decision__in=_EVENTS, at__lt=before).select_related("server")
    url = reverse("device_panel", args=[device.pk, "abm"])
    for entry in rows[:limit]:
        what, icon = _EVENTS[Decision(entry.decision)]
        yield Event(at=entry.at, icon=icon, what=what, detail=str(entry.server), url=url)


_EVENTS = {
    Decision.ADDED: ("Assigned in Apple Business Manager", "building"),
    Decision.RETURNED: ("Assigned in Apple Business Manager again", "building"),
    Decision.REMOVED: ("No longer assigned in Apple Business Manager", "building"),
}


def _ledger(device: Device) -> QuerySet[LedgerEntry]:
    return LedgerEntry.objects.filter(serial_number=device.serial_number).order_by("-pk")


def _tell(entries: Sequence[LedgerEntry]) -> list[Told]:
    newer = _newer(entries)
    return [
        Told(each, words.said(each), words.decided(each, newer.get(each.pk))) for each in entries
    ]


def _newer(entries: Sequence[LedgerEntry]) -> dict[int, datetime]:
    """For operations that came late: the newest known before each, if it is among `entries`."""
    known: dict[int, datetime] = {}
    found: dict[int, datetime] = {}
    for entry in reversed(entries):
        before = known.get(entry.server_id)
        if entry.op_date is None:
            continue
        if before is not None and entry.op_date < before:
            found[entry.pk] = before
        else:
            known[entry.server_id] = entry.op_date
    return found


def _more(found: AbmDevice) -> list[tuple[str, str]]:
    """What Apple says beyond the facts that are known here, as it came."""
    more = found.more if isinstance(found.more, dict) else {}
    return [(key, _plain(value)) for key, value in sorted(more.items())]


def _plain(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
