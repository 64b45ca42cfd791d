"""Removes what arrivals left behind and whose time is over: refused ones, and of each serial number
all but the newest that was let in. For how long history is kept is `mdm/retention.py`.
"""

from __future__ import annotations

from django.db.models import OuterRef, Subquery

from enrollment.models import Arrival, RefusedArrival
from mdm import retention

_STEP = 5_000


def remove_old() -> int:
    """Remove up to 5,000 of each; returns how many rows."""
    before = retention.limit()
    newest = Arrival.objects.filter(serial_number=OuterRef("serial_number")).order_by("-pk")
    old = Arrival.objects.filter(at__lt=before).exclude(pk=Subquery(newest.values("pk")[:1]))
    refused = RefusedArrival.objects.filter(last_at__lt=before)
    return sum(
        rows.model.objects.filter(
            pk__in=list(rows.order_by("pk").values_list("pk", flat=True)[:_STEP])
        ).delete()[0]
        for rows in (old, refused)
    )
