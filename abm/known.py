"""What is known here of serial numbers that someone names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from abm.models import AbmDevice


@dataclass(frozen=True, slots=True)
class Known:
    """The row of each that is listed now, and of each that once was, by serial number; and those
    without any, in the order in which they were named.
    """

    listed: dict[str, int]
    removed: dict[str, int]
    unknown: list[str]


def look_up(wanted: Sequence[str]) -> Known:
    """What is known of these."""
    listed: dict[str, int] = {}
    removed: dict[str, int] = {}
    rows = AbmDevice.objects.extra(where=["serial_number = ANY(%s)"], params=[list(wanted)])
    columns = rows.order_by("pk").values_list("pk", "serial_number", "current", "removed_at")
    for pk, serial, current, removed_at in columns:
        if removed_at is not None:
            removed[serial] = pk
        elif current:
            listed[serial] = pk
    unknown = [serial for serial in wanted if serial not in listed and serial not in removed]
    gone = {serial: pk for serial, pk in removed.items() if serial not in listed}
    return Known(listed, gone, unknown)
