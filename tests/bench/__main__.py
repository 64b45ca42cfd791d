"""`make bench`: what the server does per second on this machine, and who used the processors.

The real web process with two workers, the Celery worker and beat, Postgres with its default
durability, in both identity modes: Mdm-Signature over granian's own TLS as devices reach it, and a
client certificate header over plain HTTP as a proxy would send it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from mdm.local.errors import LocalError
from mdm.local.ports import Ports, answers
from mdm.local.server import DEVICES, WORKER, LocalServer
from tests.bench import load

HEADER = "header"
PHASES = ("abm-sync", "resolve", "pages", "idle", "cycles", "enroll", "enqueue", "size")
# No device takes part in these.
WITHOUT_DEVICES = {"abm-sync", "resolve", "pages"}
MODES = {"mdm-signature": "Mdm-Signature over TLS", "client-cert": "certificate header"}


def main() -> int:
    options = _options()
    if not set(options.only) <= WITHOUT_DEVICES and not load.wrk_is_there():
        print("The load generator wrk is missing; install it (Debian: apt-get install wrk).")
        return 1
    folder = Path(options.state or tempfile.mkdtemp(prefix="guardmdm-bench-"))
    results: dict[str, dict[str, object]] = {}
    try:
        for mode in options.modes:
            results[mode] = _measure(folder, mode, options)
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if not options.state:
            shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--crowd", type=int, default=100_000, help="enrollments in the tables")
    parser.add_argument("--history", type=int, default=1_000_000, help="finished commands")
    parser.add_argument("--state", help="a state folder to keep")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--abm-devices", type=int, default=100_000, help="devices that ABM lists")
    parser.add_argument("--only", nargs="+", choices=PHASES, default=list(PHASES))
    return parser.parse_args()


def _measure(folder: Path, mode: str, options: argparse.Namespace) -> dict[str, object]:
    ports = Ports.free()
    environ = {
        "GUARD_ENV": "development",
        "GUARD_IDENTITY_MODE": mode,
        "GUARD_TRUSTED_PROXIES": "127.0.0.1",
        "GUARD_LOG_LEVEL": "WARNING",
        # Nothing listens there: waking is not measured, and must not reach out.
        "GUARD_APNS_URL": "https://127.0.0.1:9",
        # Only the ABM phase has someone listen there.
        "GUARD_DEP_URL": f"http://127.0.0.1:{Ports.free().people}",
    }
    print(f"\n{MODES[mode]}, on {os.cpu_count()} × {_processor()}", flush=True)
    with LocalServer(folder, ports, extra_env=environ) as server:
        os.environ.update({k: v for k, v in server.environ.items() if k.startswith("GUARD_")})
        os.environ["DJANGO_SETTINGS_MODULE"] = "mdm.settings"
        url, name = server.devices_url, DEVICES
        if mode != "mdm-signature":
            url, name = _plain(server), HEADER
        import django
        import django.db

        django.setup()
        from tests.bench import phases

        watch = {
            "web": server.pid(name),
            "Postgres": server.pid("postgres"),
            "worker": server.pid(WORKER),
        }
        run = phases.Run(mode=mode, url=url, watch=watch, seconds=options.seconds)
        try:
            wanted = set(options.only)
            if mode != options.modes[0]:
                # No device takes part in it, so it is the same in every mode.
                wanted -= WITHOUT_DEVICES
            return phases.everything(
                run,
                crowd=options.crowd,
                finished=options.history,
                listed=options.abm_devices,
                wanted=wanted,
            )
        finally:
            # The next mode has a server, and so a Postgres, of its own.
            django.db.connections.close_all()


def _plain(server: LocalServer) -> str:
    """The devices' web process once more, without TLS: as it stands behind a proxy."""
    port = Ports.free().devices
    child = next(child for child in server._children() if child.name == DEVICES)
    command = list(child.command)
    command[command.index("--port") + 1] = str(port)
    for option in ("--ssl-certificate", "--ssl-keyfile", "--ssl-protocol-min"):
        at = command.index(option)
        del command[at : at + 2]
    server.add(replace(child, name=HEADER, command=tuple(command), ready=lambda: answers(port)))
    return f"http://127.0.0.1:{port}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    began = time.monotonic()
    status = main()
    print(f"\nin {time.monotonic() - began:.0f} s")
    sys.exit(status)
