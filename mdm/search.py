"""Finding devices by any part of what people know them by; `mdm/tables.py` shows what is found."""

from __future__ import annotations

from typing import Any

from django.db.models import CharField, Lookup, Q, QuerySet

from mdm.models import Device


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
    """Devices whose serial number, name, UDID or model name contains `text`, in any case."""
    # Postgres cannot store NUL in text, and refuses to be asked for it.
    text = text.replace("\0", "").strip()[:100]
    if not text:
        return queryset
    return queryset.filter(
        Q(serial_number__ilike=text)
        | Q(device_name__ilike=text)
        | Q(udid__ilike=text)
        | Q(model_name__ilike=text)
    )
