"""The supervisor: starts processes, keeps their logs, and stops them all when one ends, when asked
to, or when it is killed itself. Which processes make up a server is said in `server.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from mdm.local.errors import PartFailed

_LEASH = Path(__file__).with_name("leash.py")
_LOOK_EVERY = 0.05
_LONGEST_LOG = 20_000_000


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running. `prepare` runs before each start; it counts as started once
    `ready` says so. It is stopped with `stop_signal`, and killed where that takes longer than
    `grace` seconds.
    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    stop_signal: int = signal.SIGTERM
    grace: float = 10.0
    prepare: Callable[[], None] | None = None
    ready: Callable[[], bool] | None = None
    ready_within: float = 180.0


_Running = Sequence[tuple[Child, subprocess.Popen[bytes]]]


class Stopped(Exception):
    """Asked to stop while something was still starting."""


class Supervisor:
    """Runs children, each in a session of its own so that Ctrl-C reaches only the supervisor.

    A second process, the leash, holds `lock` (a file descriptor) with us and ends the children
    should we be killed; the next start therefore never meets what is left of this one.
    """

    def __init__(
        self,
        logs: Path,
        *,
        lock: int | None = None,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._logs = logs
        self._env = dict(os.environ if env is None else env)
        self._folder = folder
        self._running: list[tuple[Child, subprocess.Popen[bytes]]] = []
        # In which call of `start` a child came; it keeps that when it is started again.
        self._rounds: dict[str, int] = {}
        self._asked_to_stop = threading.Event()
        logs.mkdir(parents=True, exist_ok=True)
        self._leash = subprocess.Popen(
            (sys.executable, "-I", "-S", str(_LEASH)),
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, *children: Child) -> None:
        """Start `children` side by side and return when all of them are ready.

        Raises PartFailed where one ends or is not ready in time, Stopped after `ask_to_stop`.
        """
        now = max(self._rounds.values(), default=0) + 1
        for child in children:
            self._rounds[child.name] = now
            self._launch(child)
        self._wait_until_ready(children, self._running)

    def restart(self, name: str) -> None:
        """Start a child again, ending it first where it still runs. Raises as `start` does, but
        whatever became of the others.
        """
        child, process = self._find(name)
        _end(child, process)
        self._forget(child, process)
        again = self._launch(child)
        self._wait_until_ready([child], [(child, again)])

    def run(self, name: str, command: Sequence[str]) -> None:
        """Run a command to its end, its output in the log `name`. Raises PartFailed, Stopped."""
        child = Child(name, tuple(command))
        process = self._launch(child)
        while process.poll() is None:
            if self._asked_to_stop.wait(_LOOK_EVERY):
                raise Stopped
            self._check([pair for pair in self._running if pair[0] is not child])
        self._forget(child, process)
        if process.returncode != 0:
            raise PartFailed(f"{name} failed{self._last_words(child)}")

    def wait(self) -> None:
        """Return after `ask_to_stop`. Raises PartFailed as soon as a child ends by itself."""
        while not self._asked_to_stop.wait(0.2):
            self._check(self._running)

    def ask_to_stop(self) -> None:
        """Make `start`, `run` and `wait` give up; safe to call from a signal handler."""
        self._asked_to_stop.set()

    def stop(self) -> None:
        """Stop every child, those last started first, and the leash. What was started side by side
        is stopped side by side.
        """
        while self._running:
            last = max(self._round(child) for child, _ in self._running)
            together = [pair for pair in self._running if self._round(pair[0]) == last]
            for child, process in together:
                _ask_to_end(child, process)
            for child, process in together:
                _see_end(child, process)
                self._forget(child, process)
        if self._leash.stdin is not None and not self._leash.stdin.closed:
            self._tell_leash("done")
            with suppress(BrokenPipeError):
                self._leash.stdin.close()
        self._leash.wait()

    def pid(self, name: str) -> int:
        """The process id of a running child. Raises KeyError."""
        return self._find(name)[1].pid

    def _wait_until_ready(self, children: Sequence[Child], watched: _Running) -> None:
        begun = time.monotonic()
        waiting = [child for child in children if child.ready is not None]
        while waiting:
            self._check(watched)
            waiting = [child for child in waiting if child.ready and not child.ready()]
            for child in waiting:
                if time.monotonic() - begun > child.ready_within:
                    raise PartFailed(
                        f"{child.name} did not start in {child.ready_within:.0f} s"
                        f"{self._last_words(child)}"
                    )
            if waiting and self._asked_to_stop.wait(_LOOK_EVERY):
                raise Stopped
        self._check(watched)

    def _launch(self, child: Child) -> subprocess.Popen[bytes]:
        if child.prepare is not None:
            child.prepare()
        path = self._logs / f"{child.name}.log"
        if path.exists() and path.stat().st_size > _LONGEST_LOG:
            path.replace(path.with_suffix(".log.1"))
        try:
            with path.open("ab") as log:
                process = subprocess.Popen(
                    child.command,
                    env={**self._env, **child.env},
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except FileNotFoundError as error:
            raise PartFailed(f"{child.name} did not start: {error.filename} is missing") from None
        self._running.append((child, process))
        started_in = self._round(child)
        self._tell_leash(f"hold {process.pid} {int(child.stop_signal)} {started_in}")
        return process

    def _find(self, name: str) -> tuple[Child, subprocess.Popen[bytes]]:
        return {pair[0].name: pair for pair in self._running}[name]

    def _round(self, child: Child) -> int:
        """In which call of `start` it came; what `run` runs comes after all of them."""
        return self._rounds.get(child.name) or max(self._rounds.values(), default=0) + 1

    def _forget(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        self._running.remove((child, process))
        self._tell_leash(f"free {process.pid}")

    def _tell_leash(self, line: str) -> None:
        # Without its leash the supervisor still does its work, and stops what it started.
        if self._leash.stdin is not None:
            with suppress(BrokenPipeError):
                self._leash.stdin.write(f"{line}\n".encode())
                self._leash.stdin.flush()

    def _check(self, watched: _Running) -> None:
        for child, process in watched:
            if process.poll() is not None:
                raise PartFailed(
                    f"{child.name} {_ending(process.returncode)}{self._last_words(child)}"
                )

    def _last_words(self, child: Child) -> str:
        path = self._logs / f"{child.name}.log"
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 4096))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
        said = next((line for line in reversed(lines) if line), "nothing")
        return f"; it said: {said[:200]} (more in {path})"


def _end(child: Child, process: subprocess.Popen[bytes]) -> None:
    _ask_to_end(child, process)
    _see_end(child, process)


def _ask_to_end(child: Child, process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(child.stop_signal)


def _see_end(child: Child, process: subprocess.Popen[bytes]) -> None:
    """Wait until it has ended, and end what it would not."""
    try:
        process.wait(child.grace)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Also after an orderly end: a worker that its parent lost would hold ports and sockets.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
