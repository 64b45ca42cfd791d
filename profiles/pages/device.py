"""What profiles add to a device's page: the tab that explains."""

from __future__ import annotations

from django.http import QueryDict

from mdm.models import Device
from profiles import explain as domain

TONES = {
    "settled": ("good", "circle-check", "As it should be"),
    "pending": ("busy", "hourglass", "On its way"),
    "following": ("busy", "hourglass", "Being worked out"),
    "cooling": ("warning", "clock", "Waits for its next try"),
    "blocked": ("bad", "alert-circle", "Cannot be told"),
    "undefined": ("bad", "alert-circle", "Refused by Apple"),
    "unassigned": ("warning", "circle-dashed", "Unassigned"),
    "unlisted": ("off", "circle-off", "Not in ABM"),
}


def panel(device: Device, query: QueryDict) -> dict[str, object]:
    """The explanation of one device."""
    if not device.serial_number:
        return {"found": None}
    found = domain.explain(device.serial_number)
    tone, icon, word = TONES[found.state]
    return {"found": found, "tone": tone, "icon": icon, "word": word}


def head(device: Device) -> dict[str, object]:
    """The line under the device's name, where something is not as it should be."""
    if not device.serial_number or domain.is_settled(device.serial_number):
        return {"found": None}
    found = domain.explain(device.serial_number)
    return {
        "found": found if found.state not in {"settled", "unlisted"} else None,
        "device": device,
    }
