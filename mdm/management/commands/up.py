"""`manage.py up`: the whole server on one machine. What it starts is in `mdm/local/server.py`."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand

from mdm.local import environment
from mdm.local.errors import LocalError
from mdm.local.ports import Ports
from mdm.local.server import LocalServer, serve


class Command(BaseCommand):
    help = "Run the whole server on this machine until Ctrl-C."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            server = LocalServer(
                environment.state_dir(os.environ),
                Ports.from_environment(os.environ),
                say=lambda line: self._say(f"· {line}"),
            )
            serve(server, lambda: self._ready(server))
        except LocalError as error:
            self.stderr.write(str(error))
            sys.exit(1)

    def _ready(self, server: LocalServer) -> None:
        self._say(f"\nGuardMDM runs.\n  Dashboard  {server.people_url}")
        self._say(f"  Devices    {server.devices_url}")
        missing = server.manage("first_admin").split()
        if missing:
            self._say("  Set-up     {} with the token {}".format(*missing))
        self._say(f"  Logs       {server.state_dir / 'log'}\nCtrl-C stops it.")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
