"""`guard sync`: have the servers in Apple Business Manager synced now."""

from __future__ import annotations

import argparse
import time
from typing import Any

from django.core.management.base import CommandError

from abm import runs, servers
from abm.models import Server, SyncRun
from abm.pages.words import outcome
from abm.serializers import RunSerializer
from mdm.audit.actor import Actor
from mdm.management.acts import Printer

FAILED, NOT_UNDERSTOOD, NO_ANSWER = 1, 2, 3
_LOOK_EVERY = 0.2


def arguments(acts: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser(
        "sync", help="sync with Apple Business Manager now"
    )
    parser.add_argument("server", nargs="?", help="the name of a server; all of them without one")
    parser.add_argument("--full", action="store_true", help="read the whole list again")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="wait so long for the end")
    return parser


def run(actor: Actor, options: dict[str, Any], out: Printer) -> int:
    """Returns the exit code: 1 where a run failed, 3 where one goes on after --wait."""
    started = [_ask(actor, server, options["full"]).pk for server in _servers(options["server"])]
    deadline = time.monotonic() + (options["wait"] or 0)
    while True:
        found = list(SyncRun.objects.filter(pk__in=started).select_related("server").order_by("pk"))
        if all(each.over for each in found) or time.monotonic() >= deadline:
            break
        time.sleep(_LOOK_EVERY)
    if options["json"]:
        out.json(RunSerializer(found, many=True).data)
    else:
        heads = ("RUN", "SERVER", "STATE", "WHAT CAME OF IT")
        out.table(heads, [(str(r.pk), r.server.name, r.state, outcome(r)) for r in found])
    if any(each.state in _BAD for each in found):
        return FAILED
    waiting = options["wait"] is not None and not all(each.over for each in found)
    return NO_ANSWER if waiting else 0


def _servers(name: str | None) -> list[Server]:
    connected = servers.connected().order_by("name")
    found = list(connected.filter(name=name) if name else connected)
    if not found:
        raise CommandError(
            f"No server in Apple Business Manager is called {name}."
            if name
            else "No server is connected yet: Settings > ABM Integration connects one.",
            returncode=NOT_UNDERSTOOD,
        )
    return found


def _ask(actor: Actor, server: Server, full: bool) -> SyncRun:
    try:
        return runs.ask(actor, server, full=full)[0]
    except runs.CannotSync as error:
        raise CommandError(f"{server.name}: {error}") from None


_BAD = (SyncRun.State.FAILED, SyncRun.State.INTERRUPTED)
