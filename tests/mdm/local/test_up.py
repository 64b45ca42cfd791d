"""`manage.py up` starts a whole server, ends with all of it, and says in one line why it cannot."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from mdm.local.environment import ROOT
from mdm.local.ports import Ports
from mdm.local.state import State
from tests import environ

Up = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def ports() -> Ports:
    return Ports.free()


@pytest.fixture
def settings(tmp_path: Path, ports: Ports) -> dict[str, str]:
    return environ.fresh(
        GUARD_STATE_DIR=str(tmp_path / "var"),
        GUARD_PEOPLE_PORT=str(ports.people),
        GUARD_DEVICES_PORT=str(ports.devices),
        GUARD_DEVICES_HOST=ports.devices_host,
    )


@pytest.fixture
def up(settings: dict[str, str]) -> Iterator[Up]:
    """Starts the server and returns when it says that it runs."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = (sys.executable, "manage.py", "up")
        process = subprocess.Popen(
            command,
            env=settings,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert any("GuardMDM runs" in line for line in process.stdout), process.stderr.read()
        return process

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=120)


def refused(settings: dict[str, str], *before: str) -> str:
    """The one line that `manage.py up` says when it does not start."""
    command = (*before, sys.executable, "manage.py", "up")
    done = subprocess.run(
        command, env=settings, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def processes_of(state_dir: Path) -> list[str]:
    found = []
    wanted = f"GUARD_STATE_DIR={state_dir}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def test_a_server_ends_as_a_whole_and_starts_again(up: Up, ports: Ports, tmp_path: Path) -> None:
    """However it ends: killed itself, by one of its parts, by Ctrl-C."""
    process = up()
    assert len(processes_of(tmp_path / "var")) > 8
    process.kill()
    process.wait()
    State.open(tmp_path / "var").close()
    assert processes_of(tmp_path / "var") == []

    process = up()
    postmaster = (tmp_path / "var" / "postgres" / "postmaster.pid").read_text().split()[0]
    os.kill(int(postmaster), signal.SIGKILL)
    _, complaints = process.communicate(timeout=120)
    assert process.returncode == 1
    assert complaints.startswith("postgres was ended by SIGKILL")
    assert complaints.count("\n") == 1
    assert processes_of(tmp_path / "var") == []

    process = up()
    assert process.stdout is not None
    token = next(line for line in process.stdout if "with the token" in line).split()[-1]
    with httpx.Client(base_url=f"http://localhost:{ports.people}", trust_env=False) as first:
        assert first.get("/").headers["Location"] == "/setup/"
        first.get("/setup/")
        filled = {
            "token": token,
            "email": "first@example.com",
            "password": "correct horse battery staple",
            "csrfmiddlewaretoken": first.cookies["csrftoken"],
        }
        assert first.post("/setup/", data=filled).headers["Location"] == "/"
        assert first.get("/settings/people/").status_code == 200
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=120)
    assert (process.returncode, complaints) == (0, "")
    assert processes_of(tmp_path / "var") == []


def test_a_port_in_use_is_one_line(settings: dict[str, str], ports: Ports) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports.people))
        other.listen()
        assert f"Port {ports.people} is in use" in refused(settings)


def test_a_locked_state_folder_is_one_line(settings: dict[str, str], tmp_path: Path) -> None:
    with State.open(tmp_path / "var"):
        assert "in use by another GuardMDM" in refused(settings)


def test_a_foreign_state_folder_is_one_line(settings: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "var" / "music").mkdir(parents=True)
    assert "not made by GuardMDM" in refused(settings)


def test_production_is_refused_in_one_line(settings: dict[str, str], tmp_path: Path) -> None:
    production = {
        "GUARD_ENV": "production",
        "GUARD_SECRET_KEY": "x" * 50,
        "GUARD_ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        "GUARD_PUBLIC_URL": "https://mdm.example.com",
        "GUARD_DASHBOARD_URL": "https://mdm.example.com",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    assert "GUARD_ENV is production" in refused({**settings, **production})
    assert not (tmp_path / "var").exists()


def test_a_setting_that_makes_no_sense_is_one_line(settings: dict[str, str]) -> None:
    assert "GUARD_PEOPLE_PORT" in refused({**settings, "GUARD_PEOPLE_PORT": "http"})


def test_a_full_disk_is_one_line(settings: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    mount = f"mount -t tmpfs -o size=1M tmpfs {tmp_path / 'var'}"
    alone = ("unshare", "--user", "--map-root-user", "--mount")
    if (
        shutil.which("unshare") is None
        or subprocess.run((*alone, "sh", "-c", mount), check=False, capture_output=True).returncode
    ):
        pytest.skip("a small file system cannot be mounted here")
    assert "is full" in refused(settings, *alone, "sh", "-c", f'{mount} && exec "$@"', "sh")
