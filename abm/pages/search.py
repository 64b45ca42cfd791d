"""What the search of the top bar finds in Apple Business Manager: devices by the asset tag that
someone gave them there. Their serial numbers are the core's to find: the sync makes a Device of
each.
"""

from __future__ import annotations

from urllib.parse import urlencode

from django.db.models import F
from django.urls import reverse

from abm.models import AbmDevice
from mdm.navigation import Found
from mdm.search import Contains


def find(text: str, limit: int) -> list[Found]:
    listed = AbmDevice.objects.filter(Contains(F("asset_tag"), text), current=True, removed_at=None)
    # No index has this order: all that fit are found by the search's index first.
    return [_line(row) for row in listed.order_by(F("id") + 0)[:limit]]


def url(text: str) -> str:
    return f"{reverse('abm:devices')}?{urlencode({'q': text})}"


def _line(row: AbmDevice) -> Found:
    page = reverse("device", args=[row.device_id]) if row.device_id else url(row.serial_number)
    detail = f"{row.serial_number} · {row.model}"
    return Found(row.asset_tag, page, "building", detail, device=row.device_id)
