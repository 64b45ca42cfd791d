"""Text for a terminal: the tables and facts that `manage.py guard` prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.utils import timezone

from commands import progress
from commands.models import QueueEntry
from mdm.models import Device

DEVICE_HEADS = ("SERIAL NUMBER", "NAME", "MODEL", "OS", "STATE", "LAST SEEN")
ENTRY_HEADS = ("DEVICE", "COMMAND", "STATE", "ASKED FOR", "FINISHED", "WHY")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns as wide as their longest text."""
    cells = [heads, *([printable(text) for text in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def device_row(device: Device) -> tuple[str, ...]:
    enrollment = device.enrollment
    return (
        device.serial_number or device.udid,
        device.device_name,
        device.model_name or device.product_name,
        f"{device.platform} {device.os_version}".strip(),
        enrollment.state if enrollment else "",
        when(enrollment.last_seen_at if enrollment else None),
    )


def device_facts(device: Device) -> list[tuple[str, str]]:
    serial, name, model, system, state, seen = device_row(device)
    facts = [
        ("Serial number", serial),
        ("Name", name),
        ("Model", model),
        ("OS", system),
        ("UDID", device.udid),
        ("Enrollment", state or "none"),
        ("Last seen", seen),
    ]
    if device.enrollment is not None and device.enrollment.push_problem:
        facts.append(("Push problem", device.enrollment.push_problem))
    return facts


def entries(rows: list[QueueEntry]) -> list[tuple[str, ...]]:
    whys = progress.errors(rows)
    return [
        (
            entry.enrollment.device.serial_number or entry.enrollment.key,
            entry.command.request_type,
            entry.state,
            when(entry.created_at),
            when(entry.finished_at),
            whys.get((entry.enrollment_id, entry.command_uuid)) or entry.ended_because,
        )
        for entry in rows
    ]


def when(moment: datetime | None) -> str:
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def printable(text: str) -> str:
    """Text for a terminal: what a device says of itself must not steer it."""
    return "".join(character if character.isprintable() else "�" for character in text)
