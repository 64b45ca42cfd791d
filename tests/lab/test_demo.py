"""`manage.py demo` as a person starts it: its own processes, its own state folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from lab.control import ask
from lab.place import Place
from mdm.local import postgres
from mdm.local.environment import ROOT
from mdm.local.ports import Ports
from tests import environ
from tests.e2e.waiting import until

# Far more than it takes: it is there for a demo that hangs, and a busy machine is slow.
WITHIN = 900


class Demo:
    """A demo with two devices in `folder`; `lines` is what it has said so far. Devices keep the
    address that they enrolled at, so that the next run in `folder` needs the same `ports`."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self.folder = folder
        self.environ = environ.fresh(
            GUARD_STATE_DIR=str(folder),
            GUARD_PEOPLE_PORT=str(ports.people),
            GUARD_DEVICES_PORT=str(ports.devices),
            GUARD_DEVICES_HOST="127.0.0.1",
        )
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "demo", "--devices", "2"],
            cwd=ROOT,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []

    def read_until(self, last: str) -> str:
        """What it says up to a line with `last`; everything, where it ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if last in line:
                break
        return "".join(self.lines)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )

    def devices(self, count: int) -> list[dict[str, Any]]:
        """All devices, once there are so many."""
        with psycopg.connect(postgres.url(self.folder), autocommit=True) as database:
            counted = "SELECT count(*) = %s FROM mdm_device"
            until(lambda: database.execute(counted, [count]).fetchone() == (True,))
        done = self.manage("guard", "devices", "--limit", "1000", "--json")
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    def abm(self) -> dict[str, Any]:
        """What the lab's portal says of itself."""
        return ask(Place.under(self.folder).socket, "abm", act="status")

    def answers(self, wanted: str) -> dict[str, int]:
        """What the stand-in for Apple's enrollment service answered, once `wanted` is among it."""
        status = self.abm()
        return status["answers"] if wanted in status["answers"] else {}

    def stop(self) -> int:
        """As Ctrl-C does; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        self.read_until("\0")
        return self.process.wait()


@contextmanager
def demo(folder: Path, ports: Ports) -> Iterator[Demo]:
    running = Demo(folder, ports)
    # Should it hang, it is ended, and what it said by then fails the test.
    watch = threading.Timer(WITHIN, running.process.kill)
    watch.start()
    try:
        yield running
    finally:
        running.stop()
        watch.cancel()


def test_the_demo_enrolls_devices_that_obey_and_finds_them_again(tmp_path: Path) -> None:
    folder, ports = tmp_path / "var", Ports.free()
    with demo(folder, ports) as first:
        said = first.read_until("Ctrl-C stops everything")
        assert "2 of 2 devices enrolled" in said
        password = re.search(r"Sign in +admin / (\S+)", said)
        assert password is not None
        assert password[1] == (folder / "lab" / "admin-password").read_text()

        assert "200 devices in Apple Business Manager, connected" in said
        devices = first.devices(200)
        # More are enrolling by now.
        enrolled = [
            each["serial_number"]
            for each in devices
            if each["enrollment"] and each["enrollment"]["state"] == "Enrolled"
        ]
        assert len(enrolled) >= 2
        serial = enrolled[0]
        abm = first.abm()
        assert {each["serial_number"] for each in devices} == {
            each["serial"] for each in abm["devices"] if each["server"] == "Lab"
        }
        sent = first.manage("guard", "send", serial, "SecurityInfo", "--wait", "60")
        assert (sent.returncode, sent.stderr) == (0, "")
        said = first.read_until("has no ADE profile, on purpose")
        assert "7 of 8 devices enrolled by Automated Device Enrollment" in said, said
        pids = _processes_of(folder)
        assert len(pids) > 5
        assert first.stop() == 0
        assert _processes_of(folder) == []

    with demo(folder, ports) as second:
        said = second.read_until("Ctrl-C stops everything")
        counts = re.findall(r"(\d) of (\d) devices enrolled", said)
        assert counts == [("2", "2")]
        assert "200 devices in Apple Business Manager, connected" in said
        answers = until(lambda: second.answers("200 /devices/sync"))
        # Token and cursor are still good: neither refused, nor the list read anew.
        assert not answers.keys() & {"401 /session", "200 /server/devices", "400 /devices/sync"}
        again = json.loads(second.manage("lab", "list", "--json").stdout)
        assert serial in [row["serial"] for row in again["devices"]]
        sent = second.manage("guard", "send", serial, "DeviceInformation", "--wait", "60")
        assert sent.returncode == 0


def _processes_of(folder: Path) -> list[int]:
    """Every process that was started with this state folder in its environment."""
    wanted = f"GUARD_STATE_DIR={folder}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]
