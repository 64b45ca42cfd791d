"""`manage.py demo`: the whole server with the lab beside it, 25 devices enrolled through a link,
200 in Apple Business Manager, and some of every platform that enroll by ADE. What runs is in
`mdm/local/server.py`; what the lab does in `lab.process`, `lab.scene` and `lab.ade_scene`."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from lab.control import ask
from lab.errors import LabError
from lab.place import Place
from mdm.local import environment
from mdm.local.errors import LocalError
from mdm.local.ports import Ports
from mdm.local.processes import Child
from mdm.local.server import LocalServer, serve

DEVICES = 25
IN_ABM = 200
_LOOK_EVERY = 0.25


class Command(BaseCommand):
    help = "Run the server with stand-ins for Apple and 25 simulated devices until Ctrl-C."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--devices", type=int, default=DEVICES, metavar="N", help="how many simulated devices"
        )

    def handle(self, *args: Any, devices: int, **options: Any) -> None:
        try:
            demo = Demo(self._say, devices)
            serve(demo.server, demo.begin)
        except LocalError as error:
            self.stderr.write(str(error))
            sys.exit(1)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


class Demo:
    """`say` gets the lines that a person watches."""

    def __init__(self, say: Callable[[str], None], devices: int) -> None:
        self._say = say
        self._devices = devices
        state_dir = environment.state_dir(os.environ)
        environment.check_local(os.environ)
        self._place = Place.under(state_dir)
        self._apns_port, self._dep_port = _free_port(), _free_port()
        self.server = LocalServer(
            state_dir,
            Ports.from_environment(os.environ),
            extra_env={
                "GUARD_ENV": "demo",
                "GUARD_EXTRA_APPS": "lab",
                "GUARD_APNS_URL": f"https://127.0.0.1:{self._apns_port}",
                "GUARD_APNS_CA": str(self._place.authority / "root.pem"),
                "GUARD_DEVICE_CA": str(self._place.authority / "root.pem"),
                "GUARD_DEP_URL": f"http://127.0.0.1:{self._dep_port}",
            },
            say=lambda line: say(f"· {line}"),
        )

    def begin(self) -> None:
        """Once the server answers: the lab, which makes an admin, a link and devices. Returns
        when it has begun, and tells of the rest from a thread, so that the caller can watch over
        the processes."""
        self._say("· Starting the stand-ins for Apple and the devices")
        self.server.add(self._lab())
        threading.Thread(target=self._tell, daemon=True).start()

    def _lab(self) -> Child:
        manage = str(environment.ROOT / "manage.py")
        return Child(
            "lab",
            (sys.executable, manage, *self._lab_arguments()),
            ready=self._lab_answers,
        )

    def _lab_arguments(self) -> tuple[str, ...]:
        ports = ("--apns-port", str(self._apns_port), "--dep-port", str(self._dep_port))
        return ("lab", "run", *ports, "--devices", str(self._devices))

    def _lab_answers(self) -> bool:
        try:
            ask(self._place.socket, "status")
        except LabError:
            return False
        return True

    def _tell(self) -> None:
        try:
            scene = ask(self._place.socket, "scene")
            self._connect_abm()
            self._count_devices("link")
            self._say_where(scene)
            self._activate()
        except LabError:
            return

    def _say_where(self, scene: dict[str, Any]) -> None:
        self._say(f"\nGuardMDM runs.\n  Dashboard  {self.server.people_url}")
        password = scene["password"] or "(the one you have chosen)"
        self._say(f"  Sign in    {scene['username']} / {password}")
        self._say(f"  Devices    {self.server.devices_url}")
        self._say(f"  Logs       {self.server.state_dir / 'log'}\nCtrl-C stops everything.")

    def _connect_abm(self) -> None:
        """Exchange a server token with the stand-in for Apple; the first sync follows by itself."""
        in_abm = max(IN_ABM, self._devices)
        try:
            self.server.manage("lab", "connect", "--devices", str(in_abm))
        except LocalError as error:
            self._say(f"· Apple Business Manager is not connected: {error}")
        else:
            self._say(f"· {in_abm} devices in Apple Business Manager, connected to this server")

    def _activate(self) -> None:
        """Give profiles to the devices in ABM, and switch those on that are in their boxes."""
        try:
            told = json.loads(self.server.manage("lab", "ade", "--json"))
        except LocalError as error:
            self._say(f"· No device was activated: {error}")
            return
        self._count_devices("ade", len(told["without"]))
        if told["without"]:
            self._say(
                f"· {len(told['without'])} device in its box has no ADE profile, on purpose:"
                " the dashboard says why"
            )

    def _count_devices(self, way: str, without: int = 0) -> None:
        """Say how many that enroll this way are enrolled each time it changes, until all have
        settled but those without a profile."""
        words = {
            "link": "devices enrolled",
            "ade": "devices enrolled by Automated Device Enrollment",
        }
        said = -1
        while True:
            rows = [
                row for row in ask(self._place.socket, "status")["devices"] if row["way"] == way
            ]
            states = Counter(row["state"] for row in rows)
            if states["enrolled"] != said:
                said = states["enrolled"]
                self._say(f"· {said} of {len(rows)} {words[way]}")
            if states["new"] + states["enrolling"] <= without:
                for row in rows:
                    if row["state"] == "failed":
                        self._say(f"· {row['serial']} ({row['kind']}) gave up: {row['problem']}")
                return
            time.sleep(_LOOK_EVERY)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
