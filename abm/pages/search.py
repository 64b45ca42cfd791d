"""What the search of the top bar finds in Apple Business Manager: devices that never enrolled here,
which the list of devices does not have.
"""

from __future__ import annotations

from urllib.parse import urlencode

from django.db.models import F, Q
from django.urls import reverse

from abm.models import AbmDevice
from mdm.navigation import Found
from mdm.search import Contains


def find(text: str, limit: int) -> list[Found]:
    rows = AbmDevice.objects.filter(current=True, removed_at=None, device=None).filter(
        Q(Contains(F("serial_number"), text)) | Q(Contains(F("asset_tag"), text))
    )
    return [
        Found(row.serial_number, url(row.serial_number), "building", f"{row.model} {row.asset_tag}")
        for row in rows.order_by(F("id") + 0)[:limit]
    ]


def url(text: str) -> str:
    return f"{reverse('abm:devices')}?{urlencode({'q': text, 'enrolled': 'no'})}"
