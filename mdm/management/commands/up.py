"""`manage.py up`: the whole server on one machine. What it starts is in `mdm/local/server.py`."""

from __future__ import annotations

import os
import sys
from typing import Any

import httpx
from django.core.management.base import BaseCommand

from mdm.accounts import first_admin
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
        if _leads_to_the_set_up(server.people_url):
            # The server has a secret key of its own, which is not this process's.
            token = first_admin.token(server.environ["GUARD_SECRET_KEY"])
            self._say(f"  Set-up     {server.people_url}/setup/ with the token {token}")
        self._say(f"  Logs       {server.state_dir / 'log'}\nCtrl-C stops it.")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _leads_to_the_set_up(dashboard: str) -> bool:
    """Whether nobody is there yet, as strangers see it."""
    try:
        answer = httpx.get(f"{dashboard}/", follow_redirects=False, trust_env=False, timeout=10)
    except httpx.HTTPError:
        return False
    return str(answer.headers.get("Location", "")).endswith("/setup/")
