"""The whole server on one machine: embedded parts where none are given, web for people, web for
devices, worker and beat. `manage.py up` runs it, and so do the demo, whole-story tests and
benchmarks, each with a state folder and ports of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from mdm.local import environment
from mdm.local.environment import ROOT
from mdm.local.errors import PartFailed
from mdm.local.ports import Ports, answers
from mdm.local.postgres import Postgres
from mdm.local.processes import Child, Stopped, Supervisor
from mdm.local.state import State, check_room
from mdm.local.valkey import Valkey
from mdm.patience import THREADS

PEOPLE, DEVICES, WORKER, BEAT = "people", "devices", "worker", "beat"
ABM_WORKER, WEBHOOK_WORKER = "abm-worker", "webhook-worker"

# Of every web process, in docker-compose.yml too. Not HTTP/2: there, granian waits for ever for the
# body of a client that has gone.
WEB_OPTIONS = (
    *("--interface", "wsgi", "--http", "1", "--no-ws", "--backlog", "1024"),
    *("--blocking-threads", str(THREADS)),
)
_DEVICE_WORKERS = 2
_TASK_WORKERS = 2
_ABM_WORKERS = 2
_WEBHOOK_WORKERS = 2


class LocalServer:
    """Every process of the server, started by `start` and stopped by `stop`.

    `extra_env` goes over `environ` (this process's own by default); `say` gets a line for each
    step. `start` raises LocalError, its message the one line to show.
    """

    def __init__(
        self,
        state_dir: Path,
        ports: Ports,
        *,
        extra_env: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.state_dir = state_dir.resolve()
        self.ports = ports
        self.environ = {**(os.environ if environ is None else environ), **(extra_env or {})}
        self._say = say
        self._stack = ExitStack()
        self._supervisor: Supervisor | None = None
        self._asked_to_stop = False

    @property
    def people_url(self) -> str:
        return self.environ.get("GUARD_DASHBOARD_URL") or f"http://localhost:{self.ports.people}"

    @property
    def devices_url(self) -> str:
        return self.environ.get("GUARD_PUBLIC_URL") or f"https://localhost:{self.ports.devices}"

    def start(self) -> None:
        """Start everything; returns when people and devices are answered."""
        environment.check_local(self.environ)
        state = self._stack.enter_context(State.open(self.state_dir))
        check_room(self.state_dir)
        self.ports.check()
        self._complete_environ()
        environment.announce(self.state_dir, self.environ)
        self._stack.callback(environment.withdraw, self.state_dir)
        self._supervisor = self._stack.enter_context(
            Supervisor(state.logs, lock=state.lock, env=self.environ, folder=ROOT)
        )
        if self._asked_to_stop:
            raise Stopped
        self._start_parts(self._supervisor)
        self._say("Preparing the database and the pages")
        self._supervisor.run("prepare", self._manage("prepare"))
        self._say("Starting web, worker and beat")
        self._supervisor.start(*self._children())

    def add(self, *children: Child) -> None:
        """Start more processes beside the server's own; they share its fate."""
        self._running().start(*children)

    def wait(self) -> None:
        """Return when asked to stop. Raises PartFailed as soon as a process ends by itself."""
        self._running().wait()

    def restart(self, name: str) -> None:
        """Start a part again, ending it first where it still runs. Raises KeyError, LocalError."""
        self._running().restart(name)

    def ask_to_stop(self) -> None:
        """Make `start` or `wait` give up; safe to call from a signal handler."""
        self._asked_to_stop = True
        if self._supervisor is not None:
            self._supervisor.ask_to_stop()

    def stop(self) -> None:
        """Stop every process, the last started first, and give the state folder back."""
        self._stack.close()

    def pid(self, name: str) -> int:
        """The process id of a part, such as "postgres" or DEVICES. Raises KeyError."""
        return self._running().pid(name)

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py as this server and return what it prints. Raises PartFailed
        with the last line it said.
        """
        done = subprocess.run(
            self._manage(*arguments),
            env=self.environ,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or ["nothing"]
            raise PartFailed(f"manage.py {arguments[0]} failed; it said: {said[-1]}")
        return done.stdout

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise PartFailed("The server has not been started.")
        return self._supervisor

    def _complete_environ(self) -> None:
        metrics = self.state_dir / "run" / "metrics"
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(parents=True, mode=0o700)
        given = {name: value for name, value in self.environ.items() if value}
        self.environ = {
            "GUARD_ENV": "development",
            "GUARD_PUBLIC_URL": self.devices_url,
            "GUARD_DASHBOARD_URL": self.people_url,
            **environment.secrets_of(self.state_dir),
            **given,
            "GUARD_STATE_DIR": str(self.state_dir),
            "PYTHONUNBUFFERED": "1",
        }

    def _start_parts(self, supervisor: Supervisor) -> None:
        cluster = None if self.environ.get("DATABASE_URL") else Postgres(self.state_dir)
        cache = None if self.environ.get("REDIS_URL") else Valkey(self.state_dir)
        parts = [part for part in (cluster, cache) if part is not None]
        if parts:
            self._say("Starting " + " and ".join(type(part).__name__ for part in parts))
        supervisor.start(*(part.child() for part in parts))
        if cluster is not None:
            cluster.create_database()

    def _children(self) -> tuple[Child, ...]:
        return (
            self._web(
                PEOPLE,
                "people",
                ("--host", "127.0.0.1", "--port", str(self.ports.people), "--workers", "1"),
                lambda: answers(self.ports.people),
            ),
            self._web(
                DEVICES,
                "devices",
                (
                    *("--host", self.ports.devices_host, "--port", str(self.ports.devices)),
                    *("--workers", str(_DEVICE_WORKERS)),
                    *("--ssl-certificate", str(self.state_dir / "tls" / "server.pem")),
                    *("--ssl-keyfile", str(self.state_dir / "tls" / "server.key")),
                    *("--ssl-protocol-min", "tls1.2"),
                ),
                lambda: answers(self.ports.devices, tls=True),
            ),
            self._worker(WORKER, _TASK_WORKERS, "celery"),
            self._worker(ABM_WORKER, _ABM_WORKERS, "abm"),
            self._worker(WEBHOOK_WORKER, _WEBHOOK_WORKERS, "webhooks"),
            self._celery(
                BEAT, "beat", "--pidfile", "", "--schedule", str(self.state_dir / "beat-schedule")
            ),
        )

    def _web(
        self, name: str, serves: str, options: tuple[str, ...], ready: Callable[[], bool]
    ) -> Child:
        # A worker that is killed comes back; one that hangs does not hold up the end.
        mend = ("--respawn-failed-workers", "--respawn-interval", "0.2")
        end = ("--workers-kill-timeout", "5")
        command = ("-m", "granian", *WEB_OPTIONS, *mend, *end, *options)
        metrics = str(self.state_dir / "run" / "metrics")
        env = {"PROMETHEUS_MULTIPROC_DIR": metrics, "GUARD_SERVES": serves}
        return Child(name, (sys.executable, *command, "mdm.wsgi:application"), env=env, ready=ready)

    def _worker(self, name: str, processes: int, queue: str) -> Child:
        return self._celery(
            *(name, "worker", "--concurrency", str(processes), "--queues", queue),
            *("--hostname", f"{name}@%h", "--without-mingle"),
        )

    def _celery(self, name: str, *arguments: str) -> Child:
        return Child(
            name,
            (sys.executable, "-m", "celery", "-A", "mdm", *arguments, "--loglevel", "WARNING"),
            # Django's checks are about the code, and `make lint` runs them.
            env={"CELERY_SKIP_CHECKS": "yes"},
        )

    def _manage(self, *arguments: str) -> tuple[str, ...]:
        return (sys.executable, str(ROOT / "manage.py"), *arguments)


def serve(server: LocalServer, when_ready: Callable[[], None]) -> None:
    """Run `server` in the foreground until Ctrl-C, SIGTERM or the end of one of its processes;
    everything is stopped on return. Raises LocalError.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        server.ask_to_stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    try:
        server.start()
        when_ready()
        server.wait()
    except Stopped:
        pass
    finally:
        server.stop()
