"""Children live and die together, and none outlives its supervisor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mdm.local.environment import ROOT
from mdm.local.errors import PartFailed
from mdm.local.processes import Child, Stopped, Supervisor
from mdm.local.state import State

# Holds a lock while it lives: whoever gets the lock knows that it is gone.
HOLDER = """
import fcntl, pathlib, signal, sys
lock, started = open(sys.argv[1], "w"), pathlib.Path(sys.argv[2])
fcntl.flock(lock, fcntl.LOCK_EX)
{before}
started.touch()
signal.pause()
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
PARENT = "import subprocess; subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], pass_fds=[lock.fileno()])"  # noqa: E501

# At its end it waits until another has begun to end, and says whether a third still lives.
WAITS = """
def end(*_):
    import os, time
    mine, other, base = map(pathlib.Path, {paths})
    mine.touch()
    while not other.exists():
        time.sleep(0.01)
    os._exit(0 if base.exists() else 1)
signal.signal(signal.SIGTERM, end)
"""
LEAVES = """
def end(*_):
    pathlib.Path({path}).unlink()
    raise SystemExit
signal.signal(signal.SIGTERM, end)
"""


def holder(folder: Path, name: str = "holder", *, before: str = "", grace: float = 10) -> Child:
    script = HOLDER.format(before=before)
    started = folder / f"{name}.started"
    command = (sys.executable, "-c", script, str(folder / f"{name}.lock"), str(started))
    return Child(name, command, grace=grace, ready=started.exists)


def assert_gone(folder: Path, name: str = "holder") -> None:
    script = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX)"
    command = (sys.executable, "-c", script, str(folder / f"{name}.lock"))
    subprocess.run(command, check=True, timeout=30)


def test_stopping_stops_every_child(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    supervisor.start(holder(tmp_path, "one"), holder(tmp_path, "two"))
    supervisor.stop()
    assert_gone(tmp_path, "one")
    assert_gone(tmp_path, "two")


def test_those_started_last_end_first_and_those_started_together_end_together(
    tmp_path: Path,
) -> None:
    base, marks = tmp_path / "base.lives", [tmp_path / f"{name}.ends" for name in ("one", "two")]
    base.touch()
    supervisor = Supervisor(tmp_path)
    supervisor.start(holder(tmp_path, "base", before=LEAVES.format(path=repr(str(base)))))
    pairs = (marks, marks[::-1])
    waits = [WAITS.format(paths=[*map(str, pair), str(base)]) for pair in pairs]
    one, two = (
        holder(tmp_path, name, before=before, grace=60)
        for name, before in zip(("one", "two"), waits, strict=True)
    )
    supervisor.start(one, two)
    processes = {child.name: process for child, process in supervisor._running}
    supervisor.stop()
    assert [processes[name].returncode for name in ("one", "two", "base")] == [0, 0, 0]
    assert not base.exists()


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(holder(tmp_path, before=DEAF, grace=0.1))
    assert_gone(tmp_path)


def test_what_a_child_started_goes_with_it(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(holder(tmp_path, before=PARENT))
    assert_gone(tmp_path)


def test_a_child_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "print('no more beans'); raise SystemExit(3)")
    web = Child("web", command, ready=lambda: False)
    with Supervisor(tmp_path) as supervisor, pytest.raises(PartFailed) as failed:
        supervisor.start(web)
    assert "web ended with code 3; it said: no more beans" in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_killed_child_is_reported_as_killed(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(holder(tmp_path))
        os.kill(supervisor.pid("holder"), signal.SIGKILL)
        with pytest.raises(PartFailed, match="holder was ended by SIGKILL"):
            supervisor.wait()


def test_a_child_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    child = Child("slow", holder(tmp_path).command, ready=lambda: False, ready_within=0.1)
    with Supervisor(tmp_path) as supervisor, pytest.raises(PartFailed, match="did not start"):
        supervisor.start(child)
    assert_gone(tmp_path)


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor, pytest.raises(PartFailed, match="/no/such"):
        supervisor.start(Child("ghost", ("/no/such/program",)))


def test_a_step_that_fails_says_why(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor, pytest.raises(PartFailed, match="migrate failed"):
        supervisor.run("migrate", (sys.executable, "-c", "raise SystemExit('no table')"))


def test_asking_to_stop_breaks_off_what_is_starting(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.ask_to_stop()
        with pytest.raises(Stopped):
            supervisor.start(Child("slow", holder(tmp_path).command, ready=lambda: False))
    assert_gone(tmp_path)


def test_a_supervisor_that_is_killed_leaves_no_child_and_no_lock(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from mdm.local.processes import Supervisor
from mdm.local.state import State
from tests.mdm.local.test_processes import DEAF, holder
folder = Path({str(tmp_path)!r})
state = State.open(folder / "var")
supervisor = Supervisor(folder / "var", lock=state.lock)
supervisor.start(holder(folder, "one"), holder(folder, "two"))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run((sys.executable, "-c", script), check=False, timeout=60, cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    State.open(tmp_path / "var").close()
    assert_gone(tmp_path, "one")
    assert_gone(tmp_path, "two")


def test_a_child_can_be_started_again(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(holder(tmp_path))
        before = supervisor.pid("holder")
        os.kill(before, signal.SIGKILL)
        supervisor.restart("holder")
        assert supervisor.pid("holder") != before
    assert_gone(tmp_path)
