"""`manage.py guard`: what an admin does from a shell or a script. The web's edges are `api.py`.

Exit codes: 0 all of it was done; 1 a receiver was refused, or a device answered with an error;
2 it was not understood; 3 no answer came in the time of --wait.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.db.models import Q
from django.utils import timezone
from rest_framework.utils.encoders import JSONEncoder

from commands import catalog, progress, queue, receivers, restraint, retry, selectors
from commands.models import Approval, QueueEntry
from commands.models import Command as MDMCommand
from commands.receivers import Found, NameKind, Unfound
from commands.serializers import CommandSerializer, EntrySerializer
from enrollment import links
from enrollment.errors import EnrollmentError
from enrollment.serializers import LinkSerializer
from mdm import search
from mdm.audit.actor import Actor
from mdm.audit.record import NotAllowed
from mdm.management import printing
from mdm.management.actor import command_line
from mdm.management.acts import files, sync, tokens
from mdm.models import Device
from mdm.serializers import DeviceSerializer, EnrollmentSerializer

FAILED, NOT_UNDERSTOOD, NO_ANSWER = 1, 2, 3


class Command(BaseCommand):
    help = "What an admin does most: devices, commands, links, syncs, tokens, files."

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        own = (_link_arguments, _send_arguments, _retry_arguments, _show_arguments)
        others = (arguments for arguments, _ in _OTHERS.values())
        for add in (*own, _devices_arguments, *others):
            act = add(acts)
            act.add_argument("--json", action="store_true", help="print JSON, for scripts")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["act"] in _OTHERS:
                _, run = _OTHERS[options["act"]]
                sys.exit(run(command_line(), options, self))
            act: Callable[[dict[str, Any]], None] = getattr(self, options["act"])
            act(options)
        except OperationalError as error:
            reason = str(error).strip().splitlines()[0]
            raise CommandError(f"The database does not answer: {reason}") from None
        except NotAllowed as error:
            raise CommandError(str(error)) from None

    def link(self, options: dict[str, Any]) -> None:
        """Make an enrollment link and print its address."""
        expires: timedelta | None = options["expires"]
        try:
            link = links.create(
                command_line(),
                name=options["name"],
                max_uses=options["uses"],
                expires_at=timezone.now() + expires if expires else None,
                serial_number=options["serial_number"],
            )
        except EnrollmentError as error:
            raise CommandError(str(error), returncode=NOT_UNDERSTOOD) from None
        if options["json"]:
            self.json({"url": links.url(link), **LinkSerializer(link).data})
        else:
            self.stdout.write(links.url(link))

    def send(self, options: dict[str, Any]) -> None:
        """Queue a command, and wait for the answers where that is asked for."""
        names, request_type, parameters = _parse_send(options)
        found = _find(names)
        command, refused = _enqueue(found, request_type, parameters, options["expires"])
        entries: list[QueueEntry] = []
        if command is not None:
            entries = _wait(command, options["wait"])
        self._show_sent(command, entries, refused, as_json=options["json"])
        sys.exit(_verdict(entries, refused, waited=options["wait"] is not None))

    def retry(self, options: dict[str, Any]) -> None:
        """Send a command again where it failed."""
        command = _command(options["uuid"])
        try:
            sent = retry.retry(command_line(), command)
        except queue.QueueError as error:
            raise CommandError(str(error)) from None
        refused = [
            {"name": f"enrollment {one.enrollment_id}", "reason": one.reason}
            for one in sent.refused
        ]
        entries = _wait(sent.command, options["wait"])
        self._show_sent(sent.command, entries, refused, as_json=options["json"])
        sys.exit(_verdict(entries, refused, waited=options["wait"] is not None))

    def show(self, options: dict[str, Any]) -> None:
        """Show a device with its enrollment and recent commands, or one command."""
        if options["command"] is not None:
            command = _command(options["command"])
            self._show_sent(command, _entries(command), [], as_json=options["json"])
        elif options["name"]:
            self._show_device(_device(options["name"]), as_json=options["json"])
        else:
            raise CommandError(
                "Say which: a serial number or UDID, or --command UUID.", returncode=NOT_UNDERSTOOD
            )

    def devices(self, options: dict[str, Any]) -> None:
        """List devices, the newest first."""
        rows = Device.objects.select_related("enrollment").order_by("-id")
        if options["search"]:
            rows = search.devices(rows, options["search"])
        if options["state"]:
            rows = rows.filter(enrollment__state=options["state"])
        devices = rows[: options["limit"]]
        if options["json"]:
            self.json(DeviceSerializer(devices, many=True).data)
            return
        self.table(
            printing.DEVICE_HEADS,
            [printing.device_row(device) for device in devices],
        )

    def _show_device(self, device: Device, *, as_json: bool) -> None:
        enrollment = device.enrollment
        entries = list(selectors.entries().filter(enrollment__device=device).order_by("-id")[:20])
        if as_json:
            about = EnrollmentSerializer(enrollment).data if enrollment else None
            recent = EntrySerializer(entries, many=True).data
            self.json({**DeviceSerializer(device).data, "enrollment": about, "commands": recent})
            return
        self.facts(printing.device_facts(device))
        self.stdout.write("")
        self.table(printing.ENTRY_HEADS, printing.entries(entries))

    def _show_sent(
        self,
        command: MDMCommand | None,
        entries: list[QueueEntry],
        refused: list[dict[str, str]],
        *,
        as_json: bool,
    ) -> None:
        if as_json:
            context = {"states": progress.states([command] if command else [])}
            about = CommandSerializer(command, context=context).data if command else None
            told = EntrySerializer(entries, many=True).data
            self.json({"command": about, "entries": told, "refused": refused})
            return
        if command is not None:
            self.facts([("Command", str(command.uuid)), ("Asked for by", command.asked_by)])
            self.table(printing.ENTRY_HEADS, printing.entries(entries))
            if command.held:
                self.stdout.write(_held(command))
        for one in refused:
            self.stderr.write(printing.printable(f"{one['name']}: {one['reason']}"))

    def line(self, text: str) -> None:
        self.stdout.write(text)

    def json(self, data: object) -> None:
        self.stdout.write(json.dumps(data, cls=JSONEncoder, indent=2))

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        for label, text in facts:
            self.stdout.write(f"{label + ':':<16}{printing.printable(text)}")

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        for line in printing.table(heads, rows):
            self.stdout.write(line)


# --- What may be said --------------------------------------------------------------------------


def _link_arguments(acts: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser("link", help="make an enrollment link")
    parser.add_argument("--name", default="From the command line", help="what the link is for")
    parser.add_argument("--uses", type=int, default=1, metavar="N", help="for how many devices")
    parser.add_argument(
        "--expires", type=_duration, metavar="TIME", help="such as 90m, 12h or 7d; else never"
    )
    parser.add_argument("--serial-number", default="", help="let only this device in")
    return parser


def _send_arguments(acts: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser("send", help="send a command")
    parser.add_argument(
        "words",
        nargs="+",
        metavar="WORD",
        help="serial numbers or UDIDs, then the RequestType, then parameters as key=value, or"
        " key=@FILE for data",
    )
    parser.add_argument("--json-parameters", metavar="JSON", help="all parameters as one object")
    parser.add_argument("--expires", type=_duration, metavar="TIME", help="such as 90m, 12h or 7d")
    parser.add_argument(
        "--wait", type=float, metavar="SECONDS", help="wait so long for the answers"
    )
    return parser


def _retry_arguments(acts: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser(
        "retry", help="send a command again where it failed"
    )
    parser.add_argument("uuid", type=uuid.UUID, metavar="UUID", help="a CommandUUID")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="wait so long for answers")
    return parser


def _show_arguments(acts: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser("show", help="show a device or a command")
    parser.add_argument("name", nargs="?", help="a serial number or UDID")
    parser.add_argument("--command", type=uuid.UUID, metavar="UUID", help="a CommandUUID")
    return parser


def _devices_arguments(acts: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser("devices", help="list devices")
    parser.add_argument("--search", metavar="TEXT", help="part of a serial number, name or model")
    parser.add_argument("--state", help="such as Enrolled")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many")
    return parser


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 90m, 12h or 7d")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[match[2]]
    return timedelta(**{unit: int(match[1])})


def _parse_send(options: dict[str, Any]) -> tuple[list[str], str, dict[str, Any]]:
    """Receivers, RequestType and parameters from the words of `guard send`."""
    plain = [word for word in options["words"] if "=" not in word]
    if len(plain) < 2:
        raise CommandError(
            "Say who the command is for and then what: guard send SERIAL DeviceInformation",
            returncode=NOT_UNDERSTOOD,
        )
    parameters = _json_object(options["json_parameters"])
    for word in options["words"]:
        key, equals, value = word.partition("=")
        if equals:
            parameters[key] = _value(value)
    return plain[:-1], plain[-1], parameters


def _json_object(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise CommandError(
            f"--json-parameters is no JSON: {error}", returncode=NOT_UNDERSTOOD
        ) from None
    if not isinstance(value, dict):
        raise CommandError("--json-parameters must be an object.", returncode=NOT_UNDERSTOOD)
    return value


def _value(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return base64.b64encode(Path(text[1:]).read_bytes()).decode()
    except OSError as error:
        raise CommandError(
            f"{text[1:]} cannot be read: {error.strerror}", returncode=NOT_UNDERSTOOD
        ) from None


# --- What is done -------------------------------------------------------------------------------


def _find(names: list[str]) -> Found:
    """Receivers by serial number, or else by UDID."""
    found = receivers.find(command_line(), {NameKind.SERIAL_NUMBER: names})
    others = [one.name.text for one in found.unfound]
    by_udid = receivers.find(command_line(), {NameKind.UDID: others})
    known = {name.text for name in by_udid.enrollments.values()}
    found.enrollments.update(by_udid.enrollments)
    found.unfound = [
        one if one.reason == receivers.NOT_ENROLLED else Unfound(one.name, _NOBODY)
        for one in found.unfound
        if one.name.text not in known
    ]
    return found


def _enqueue(
    found: Found, request_type: str, parameters: dict[str, Any], expires: timedelta | None
) -> tuple[MDMCommand | None, list[dict[str, str]]]:
    """The command, where anybody can run it, and who does not get it."""
    refused = [{"name": one.name.text, "reason": one.reason} for one in found.unfound]
    try:
        sent = queue.enqueue(
            command_line(),
            request_type=request_type,
            parameters=parameters,
            enrollments=found.enrollments,
            expires_in=expires,
        )
        command, unable = sent.command, sent.refused
    except queue.NobodyCanRunIt as error:
        command, unable = None, error.refused
    except catalog.CatalogError as error:
        raise CommandError(str(error), returncode=NOT_UNDERSTOOD) from None
    for one in unable:
        name = found.enrollments[one.enrollment_id].text
        refused.append({"name": name, "reason": one.reason})
    return command, refused


def _wait(command: MDMCommand, seconds: float | None) -> list[QueueEntry]:
    """The command's entries once all are over, or the time is."""
    deadline = time.monotonic() + (seconds or 0)
    while True:
        entries = _entries(command)
        if all(entry.finished_at for entry in entries) or time.monotonic() >= deadline:
            return entries
        time.sleep(_LOOK_EVERY)


def _held(command: MDMCommand) -> str:
    """What keeps a command back."""
    approval = Approval.objects.filter(command=command).first()
    return restraint.why_held(command, approval, restraint.active_pause())


def _verdict(entries: list[QueueEntry], refused: list[dict[str, str]], *, waited: bool) -> int:
    """The exit code."""
    over = [entry for entry in entries if entry.finished_at]
    if refused or any(entry.state != QueueEntry.State.ACKNOWLEDGED for entry in over):
        return FAILED
    return NO_ANSWER if waited and len(over) < len(entries) else 0


def _entries(command: MDMCommand) -> list[QueueEntry]:
    return list(selectors.entries().filter(command=command).order_by("id"))


def _command(wanted: uuid.UUID) -> MDMCommand:
    command = MDMCommand.objects.filter(uuid=wanted).first()
    if command is None:
        raise CommandError(f"There is no command {wanted}.")
    return command


def _device(name: str) -> Device:
    device = (
        Device.objects.select_related("enrollment")
        .filter(Q(serial_number=name) | Q(udid__iexact=name))
        .order_by("-id")
        .first()
    )
    if device is None:
        raise CommandError(f"No device has the serial number or UDID {printing.printable(name)}.")
    return device


_OTHERS: dict[str, tuple[Callable[[Any], Any], Callable[[Actor, dict[str, Any], Any], int]]] = {
    "sync": (sync.arguments, sync.run),
    "tokens": (tokens.arguments, tokens.run),
    "import": (files.import_arguments, files.import_),
    "export": (files.export_arguments, files.export),
}
_NOBODY = "No device has this serial number or UDID."
_LOOK_EVERY = 0.2
