"""Finding devices by any part of what people know them by; `mdm/tables.py` shows what is found. And
the search of the top bar, which looks into every place that an app has registered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import CharField, Count, F, Lookup, Min, Q, QuerySet
from django.urls import reverse

from mdm import navigation, scope
from mdm.audit.actor import Actor
from mdm.models import Device, Enrollment
from mdm.navigation import Found

Devices = QuerySet[Device]

# Shorter text is in nearly everything, and no index helps with it: the list takes it.
SHORTEST = 3
LONGEST = 100
_FEW = 1_000
_SHOWN = 8


@CharField.register_lookup
class Contains(Lookup):
    """`ILIKE`: Django's own icontains compares `UPPER(...)`, which no trigram index helps."""

    lookup_name = "ilike"

    def get_prep_lookup(self) -> str:
        text = str(self.rhs)
        for special in "\\%_":
            text = text.replace(special, "\\" + special)
        return f"%{text}%"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, left_params = self.process_lhs(compiler, connection)
        right, right_params = self.process_rhs(compiler, connection)
        return f"{left} ILIKE {right}", (*left_params, *right_params)


def devices(queryset: QuerySet[Device], text: str) -> QuerySet[Device]:
    """Devices whose serial number, name, UDID or model name contains `text`, in any case, or a name
    of one of their users.
    """
    text = clean(text)
    if not text:
        return queryset
    return queryset.filter(
        Q(serial_number__ilike=text)
        | Q(device_name__ilike=text)
        | Q(udid__ilike=text)
        | Q(model_name__ilike=text)
        | used_by(text)
    )


def of_user(queryset: QuerySet[Device], text: str) -> QuerySet[Device]:
    """Devices with a user in one of whose names is `text`."""
    text = clean(text)
    return queryset.filter(used_by(text)) if text else queryset


def used_by(text: str) -> Q:
    """That a device has such a user."""
    return Q(pk__in=_used_by(text))


def clean(text: str) -> str:
    """`text` as Postgres can be asked for it: it stores no NUL, and refuses to hear of one."""
    return text.replace("\0", "").strip()[:LONGEST]


@dataclass(frozen=True, slots=True)
class Matches:
    """How many devices match, and the only one where it is one."""

    count: int
    only: int | None


@dataclass(frozen=True, slots=True)
class Place:
    """What was found in one place, and where all of it is; more than is shown where `more`."""

    label: str
    found: Sequence[Found]
    url: str
    more: bool = False


def matching(actor: Actor, text: str) -> Matches:
    """The devices that `actor` may see and that match."""
    # Counting keeps Postgres from reading the whole table in the hope of meeting two rows early.
    seen = devices(scope.devices(actor).order_by(), text).aggregate(
        count=Count("pk"), only=Min("pk")
    )
    return Matches(seen["count"], seen["only"] if seen["count"] == 1 else None)


def everywhere(actor: Actor, text: str, matches: Matches) -> list[Place]:
    """What of all that `actor` may see has this text, by where it was found."""
    found = _devices(scope.devices(actor).order_by(), text) if matches.count else []
    for finder in navigation.finders(actor):
        lines = finder.find(text, _SHOWN + 1)
        if lines:
            more = len(lines) > _SHOWN
            found.append(Place(finder.label, lines[:_SHOWN], finder.url(text), more))
    return found


def list_url(text: str) -> str:
    """Where the devices that match are a list."""
    return f"{reverse('devices')}?{urlencode({'q': text})}"


def _devices(seen: Devices, text: str) -> list[Place]:
    """Devices by what of them the text is in; one that was shown is not shown again."""
    everything = list_url(text)
    user = f"{reverse('devices')}?{urlencode({'user': text})}"
    places = (
        ("Serial number or UDID", Q(serial_number__ilike=text) | Q(udid__ilike=text), everything),
        ("Name or model", Q(device_name__ilike=text) | Q(model_name__ilike=text), everything),
        ("User", used_by(text), user),
    )
    found: list[Place] = []
    shown: set[int] = set()
    for label, where, url in places:
        # No index has this order: all that fit are found by the search's index first.
        rows = list(seen.filter(where).order_by(F("id") + 0)[: _SHOWN + 1 + len(shown)])
        new = [row for row in rows if row.pk not in shown]
        shown |= {row.pk for row in new[:_SHOWN]}
        if new:
            lines = [_line(row) for row in new[:_SHOWN]]
            found.append(Place(label, lines, url, more=len(new) > _SHOWN))
    return found


def _line(device: Device) -> Found:
    detail = " · ".join(filter(None, (device.serial_number, device.model_name, device.platform)))
    page = reverse("device", args=[device.pk])
    return Found(str(device), page, "devices", detail, device=device.pk)


def _used_by(text: str) -> Iterable[int]:
    """The ids of devices with such a user, found beforehand while they are few: Postgres then needs
    no more than indexes to find them and what matches by itself.
    """
    users = Enrollment.objects.filter(parent__isnull=False).filter(
        Q(user_short_name__ilike=text) | Q(user_long_name__ilike=text)
    )
    found = users.order_by().values_list("device_id", flat=True)
    few = list(found[: _FEW + 1])
    return found if len(few) > _FEW else few
