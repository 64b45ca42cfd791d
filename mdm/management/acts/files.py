"""`guard import` and `guard export`: serial numbers into a group, lists out as files."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db.models import QuerySet

from abm.models import AbmDevice
from abm.pages import devices as abm_devices
from abm.serials import Unreadable, read_file
from mdm import csv_export
from mdm.audit.actor import Actor
from mdm.management.acts import Printer
from mdm.management.printing import printable
from mdm.models import Device, Group
from mdm.pages import devices
from mdm.tables import Table
from profiles import groups
from profiles.errors import ProfileError

FAILED, NOT_UNDERSTOOD = 1, 2
_SHOWN = 20


def import_arguments(acts: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser(
        "import", help="put the serial numbers of a file into a group"
    )
    parser.add_argument("file", help="text or CSV with serial numbers; - reads what comes in")
    parser.add_argument("--group", required=True, metavar="NAME", help="made if it is not there")
    return parser


def export_arguments(acts: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser(
        "export", help="write a list as CSV, or with --json as a JSON object a line"
    )
    parser.add_argument("what", choices=sorted(_LISTS), help="which list")
    return parser


def import_(actor: Actor, options: dict[str, Any], out: Printer) -> int:
    """Returns 1 where lines of the file could not be read; the others are in the group then."""
    name = options["file"]
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        found = read_file(data)
    except OSError as error:
        raise CommandError(
            f"{name} cannot be read: {error.strerror}", returncode=NOT_UNDERSTOOD
        ) from None
    except Unreadable as error:
        raise CommandError(f"{name}: {error}", returncode=NOT_UNDERSTOOD) from None
    try:
        group = Group.objects.filter(name__iexact=options["group"]).first()
        group = group or groups.create_static(actor, options["group"])
        added = groups.add(actor, group, found.serials)
    except ProfileError as error:
        raise CommandError(str(error), returncode=NOT_UNDERSTOOD) from None
    unread = [{"line": each.line, "text": each.text, "why": each.why} for each in found.problems]
    if options["json"]:
        told = {"group": group.name, "read": len(found.serials), "added": added, "unread": unread}
        out.json(told)
    else:
        out.line(f"{len(found.serials):,} serial numbers read, {added:,} of them new in {group}.")
        for each in unread[:_SHOWN]:
            out.line(printable(f"Line {each['line']}: {each['text']}: {each['why']}"))
        if len(unread) > _SHOWN:
            out.line(f"And {len(unread) - _SHOWN:,} more lines that gave none.")
    return FAILED if unread else 0


def export(actor: Actor, options: dict[str, Any], out: Printer) -> int:
    table, found = _LISTS[options["what"]]
    if options["json"]:
        for row in found.iterator(chunk_size=2_000):
            said = {each.key: _plain(each.value(row)) for each in table.columns if each.label}
            out.line(json.dumps(said))
        return 0
    for line in csv_export.lines(table, found):
        out.line(line.rstrip("\r\n"))
    return 0


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | bool | None) else csv_export.harmless(value)


_LISTS: dict[str, tuple[Table, QuerySet[Any]]] = {
    "devices": (
        devices.TABLE,
        devices.whole(Device.objects.order_by("pk")),
    ),
    "abm-devices": (
        abm_devices.TABLE,
        abm_devices.whole(AbmDevice.objects.order_by("pk")),
    ),
}
