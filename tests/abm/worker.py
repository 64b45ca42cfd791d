"""Worker processes of a test. Each syncs a server, stops at the steps that it was given, says
"here", and goes on when it is told to; in the end it says "ran" or "left". They are forked from a
process that has loaded Django already, so that each starts at once.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import django
from django.apps import apps
from django.conf import settings
from django.db import connection

if not apps.ready:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mdm.settings")
    django.setup()

from abm import sync
from tests.abm import steps
from tests.abm.patience import PATIENT

# Of one page: before Apple is asked, after it answered, and when all is written.
STEPS = ("ask", "asked", *steps.WITHIN, "committed")
GO_ON, RECONNECT = "go on", "reconnect"

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])
_LONGEST = 60

Stop = tuple[str, int]


@dataclasses.dataclass(frozen=True)
class Worker:
    """A worker, as its test sees it."""

    process: BaseProcess
    pipe: Connection

    def says(self) -> str:
        """The next word; an empty one when it has ended."""
        assert self.pipe.poll(_LONGEST), "The worker says nothing."
        try:
            return str(self.pipe.recv())
        except (EOFError, ConnectionResetError):
            return ""

    def tell(self, word: str = GO_ON) -> None:
        self.pipe.send(word)

    def kill(self) -> None:
        self.process.kill()
        self.ended()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def ended(self) -> int | None:
        """Its exit code, once it has one."""
        self.process.join(_LONGEST)
        return self.process.exitcode

    def _signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)


@contextmanager
def worker(url: str, server_id: int, *stops: Stop) -> Iterator[Worker]:
    """A worker for the Apple at `url`. A stop is a step and the how manieth time it is come to."""
    ours, theirs = _processes.Pipe()
    database = {key: connection.settings_dict[key] for key in ("NAME", "HOST", "PORT", "USER")}
    process = _processes.Process(target=_work, args=(theirs, database, url, server_id, stops))
    process.start()
    theirs.close()
    started = Worker(process, ours)
    try:
        yield started
    finally:
        started.kill()
        ours.close()


# --- In the worker's process ---------------------------------------------------------------------


def _work(
    pipe: Connection, database: dict[str, Any], url: str, server_id: int, stops: list[Stop]
) -> None:
    connection.settings_dict.update(database)
    settings.ENV = dataclasses.replace(settings.ENV, dep_url=url)

    def stop() -> None:
        pipe.send("here")
        if pipe.recv() == RECONNECT:
            connection.close()

    for step, number in stops:
        _stop_at(step, number, stop)
    pipe.send("ran" if sync.sync(server_id, PATIENT) else "left")


def _stop_at(step: str, number: int, stop: Callable[[], None]) -> None:
    if step == "begin":
        stop()
        return
    setattr(*steps.place_of(step), steps.at(step, number, stop))
