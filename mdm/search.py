"""Finding devices by any part of what people know them by; `mdm/tables.py` shows what is found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import CharField, Lookup, Q, QuerySet

from mdm.models import Device, Enrollment

Devices = QuerySet[Device]

_FEW = 1_000


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
    return text.replace("\0", "").strip()[:100]


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
