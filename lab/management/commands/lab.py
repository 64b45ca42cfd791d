"""`manage.py lab`: run the stand-ins, add devices, spoil things. What each order does is in
`lab.control`."""

from __future__ import annotations

import asyncio
import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from lab import ade_scene, process, scene
from lab.apns import FaultKind
from lab.control import ask
from lab.devices.faults import DeviceFault
from lab.devices.hardware import Model
from lab.errors import LabError
from lab.management import portal
from lab.place import Place
from mdm.local import sockets
from mdm.local.errors import LocalError
from mdm.local.state import claim
from mdm.push.pem import PushCertificateError

_STATES = ("enrolled", "enrolling", "new", "failed", "unenrolled", "erased")


class Command(BaseCommand):
    help = "Stand-ins for Apple and for devices."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True, metavar="ACT")
        run = acts.add_parser("run", help="run the stand-ins and devices until Ctrl-C")
        run.add_argument("--apns-port", type=int, default=0, metavar="PORT")
        run.add_argument("--dep-port", type=int, default=0, metavar="PORT")
        run.add_argument(
            "--devices", type=int, default=0, metavar="N", help="see to it that N are there"
        )
        run.add_argument("--seed", type=int, default=0, help="another seed, other machines")
        add = acts.add_parser("add", help="add devices, which enroll at once")
        add.add_argument("count", type=int)
        add.add_argument("--link", default="", help="an enrollment link; the lab's own if missing")
        add.add_argument("--ca", type=Path, help="PEM to trust for TLS; this server's if missing")
        add.add_argument("--kind", choices=[str(kind) for kind in Model])
        enroll = acts.add_parser("enroll", help="let a device that left come back")
        enroll.add_argument("serial")
        enroll.add_argument("--link", default="")
        grow = acts.add_parser("grow", help="add devices as they lie in their boxes")
        grow.add_argument("count", type=int)
        grow.add_argument("--kind", choices=[str(kind) for kind in Model])
        activate = acts.add_parser("activate", help="switch devices on: they enroll by ADE")
        activate.add_argument("serials", nargs="+", metavar="SERIAL")
        activate.add_argument("--username", help="who signs in at them; else the demo's admin")
        activate.add_argument("--password-file", type=Path, metavar="FILE", help="and with what")
        shown = acts.add_parser("list", help="the devices, and what the push stand-in did")
        connect = acts.add_parser("connect", help="connect to the lab's Apple Business Manager")
        connect.add_argument(
            "--devices", type=int, default=200, metavar="N", help="see to it that N are in it"
        )
        ade = acts.add_parser("ade", help="profiles, defaults, groups, and devices that use them")
        ade.add_argument("--wait", type=float, default=120.0, metavar="SECONDS")
        abm = portal.add_parsers(acts)
        scenery = acts.add_parser("prepare", help="make admin, push certificate and link")
        for act in (
            add,
            enroll,
            grow,
            activate,
            shown,
            scenery,
            connect,
            ade,
            *abm,
            *_fault_parsers(acts),
        ):
            act.add_argument("--json", action="store_true", help="print JSON, for scripts")

    def handle(self, *, act: str, **options: Any) -> None:
        self._place = Place.under(settings.ENV.state_dir)
        try:
            claim(settings.ENV.state_dir)
            sockets.make_folder(settings.ENV.state_dir)
            getattr(self, f"_{act}")(options)
        except (LabError, LocalError, PushCertificateError) as error:
            raise CommandError(str(error)) from None
        except OperationalError as error:
            reason = str(error).strip().splitlines()[0]
            raise CommandError(f"The database does not answer: {reason}") from None

    def _run(self, options: dict[str, Any]) -> None:
        wanted = options["devices"]
        running = process.run(
            self._place,
            port=options["apns_port"],
            dep_port=options["dep_port"],
            seed=options["seed"],
            scene=scene.set_scene(self._place).json() if wanted else None,
            devices=wanted,
            ready=self._started,
        )
        try:
            asyncio.run(running)
        except OSError as error:
            raise CommandError(f"The lab cannot listen: {error.strerror}.") from None

    def _started(self, lab: process.Lab) -> None:
        self.stdout.write(f"GUARD_APNS_URL={lab.apns_url}")
        self.stdout.write(f"GUARD_APNS_CA={lab.authority.root.certificate}")
        self.stdout.write(f"GUARD_DEVICE_CA={lab.authority.root.certificate}")
        self.stdout.write(f"GUARD_DEP_URL={lab.dep_url}")
        self.stdout.write(f"push certificate: {lab.authority.push.certificate}")
        self.stdout.flush()

    def _prepare(self, options: dict[str, Any]) -> None:
        made = scene.set_scene(self._place)
        if options["json"]:
            self._json(made.json())
        else:
            self.stdout.write(f"link: {made.link}\nadmin: {made.username}")

    def _connect(self, options: dict[str, Any]) -> None:
        server = scene.connect_abm(self._place, options["devices"])
        self._say(options, {"server": server.pk}, f"{server} is connected.")

    def _ade(self, options: dict[str, Any]) -> None:
        activated, without = ade_scene.play(self._place, options["wait"])
        answer = {"activated": activated, "without": without}
        self._say(options, answer, f"{len(activated)} activated, {len(without)} without a profile.")

    def _abm(self, options: dict[str, Any]) -> None:
        what = options["what"]
        answer = ask(self._place.socket, "abm", **portal.order_of(options))
        if what == "token":
            options["into"].write_text(answer["p7m"])
            answer = {"token": str(options["into"])}
        self._say(options, answer, "\n".join(portal.told(what, answer)))

    def _add(self, options: dict[str, Any]) -> None:
        authorities = options["ca"].read_text() if options["ca"] else _own_authority()
        answer = ask(
            self._place.socket,
            "add",
            count=options["count"],
            link=options["link"],
            authorities=authorities,
            kind=options["kind"],
        )
        self._say(options, answer, f"{len(answer['added'])} devices begin to enroll.")

    def _grow(self, options: dict[str, Any]) -> None:
        answer = ask(self._place.socket, "grow", count=options["count"], kind=options["kind"])
        self._say(options, answer, "\n".join(answer["grown"]))

    def _activate(self, options: dict[str, Any]) -> None:
        answer = ask(
            self._place.socket,
            "activate",
            serials=options["serials"],
            authorities=_own_authority(),
            **self._someone(options["username"], options["password_file"]),
        )
        self._say(options, answer, f"{len(answer['activating'])} devices ask Apple.")

    def _someone(self, username: str | None, password: Path | None) -> dict[str, str]:
        if username is None:
            return scene.someone(self._place)
        if password is None:
            raise CommandError("Say with --password-file what they sign in with.")
        try:
            return {"username": username, "password": password.read_text().rstrip("\r\n")}
        except OSError as error:
            raise CommandError(f"{password} cannot be read: {error.strerror}.") from error

    def _enroll(self, options: dict[str, Any]) -> None:
        answer = ask(self._place.socket, "enroll", serial=options["serial"], link=options["link"])
        self._say(options, answer, f"{answer['enrolling']} begins to enroll.")

    def _fault(self, options: dict[str, Any]) -> None:
        if options["what"] == "apns":
            answer = ask(
                self._place.socket,
                "apns",
                fault=options["fault"],
                count=options["count"] or None,
                serial=options["serial"],
                timestamp=options["timestamp"],
                seconds=options["seconds"],
            )
            self._say(options, answer, "The push stand-in has its orders.")
            return
        serials = [] if options["serial"] == "all" else [options["serial"]]
        answer = ask(
            self._place.socket,
            "device",
            serials=serials,
            fault=options["fault"],
            count=options["count"],
        )
        self._say(options, answer, f"{len(answer['devices'])} × {answer['fault']}.")

    def _list(self, options: dict[str, Any]) -> None:
        status = ask(self._place.socket, "status")
        if options["json"]:
            self._json(status)
            return
        for row in status["devices"]:
            self.stdout.write(_line(row))
        states = status["states"]
        counted = ", ".join(f"{states[name]} {name}" for name in _STATES if name in states)
        self.stdout.write(f"{len(status['devices'])} devices: {counted or 'none'}")
        counts = ", ".join(f"{n} × {what}" for what, n in status["apns"]["counts"].items())
        self.stdout.write(f"Pushes answered: {counts or 'none'}")
        for fault in status["apns"]["faults"]:
            left = "every push" if fault["count"] is None else f"{fault['count']} more"
            self.stdout.write(f"Push fault: {fault['kind']}, {left}")

    def _say(self, options: dict[str, Any], answer: dict[str, Any], sentence: str) -> None:
        if options["json"]:
            self._json(answer)
        else:
            self.stdout.write(sentence)

    def _json(self, answer: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(answer, indent=2))


def _fault_parsers(acts: Any) -> tuple[ArgumentParser, ...]:
    fault = acts.add_parser("fault", help="spoil pushes, or do something to a device")
    whats = fault.add_subparsers(dest="what", required=True, metavar="apns|device")
    apns = whats.add_parser("apns", help="spoil what the push stand-in answers")
    apns.add_argument("fault", help=", ".join((*FaultKind, "clear")))
    apns.add_argument("--count", type=int, default=1, help="how many pushes; 0 for all")
    apns.add_argument("--serial", help="only pushes to this device")
    apns.add_argument("--timestamp", type=int, help="of a 410, milliseconds since 1970")
    apns.add_argument("--seconds", type=float, help="how slow `slow` is")
    device = whats.add_parser("device", help="do something to a device")
    device.add_argument("serial", help="a serial number, or `all`")
    device.add_argument("fault", help=", ".join(DeviceFault))
    device.add_argument("--count", type=int, default=1, help="how many commands")
    return apns, device


def _own_authority() -> str:
    """This server's CA, which made the certificate of the devices' port."""
    from enrollment import authority

    return authority.current().certificate.public_bytes(Encoding.PEM).decode("ascii")


def _line(row: dict[str, Any]) -> str:
    flags = [word for word, on in (("locked", row["locked"]), ("off", not row["powered"])) if on]
    columns = f"{row['serial']:<12}{row['product']:<12}{row['os']:<8}{row['state']:<11}"
    return f"{columns}{' '.join(flags):<7}{row['name']:<28}{row['problem']}".rstrip()
