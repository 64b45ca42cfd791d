"""`make clean` removes what was made, but not from under a running server."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mdm.local.environment import ROOT
from mdm.local.state import State, claim
from tests import environ


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("mdm/__init__.py", "mdm/local"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, tmp_path / name)
    for made in (".venv", ".ruff_cache", "commands/__pycache__"):
        (tmp_path / made).mkdir(parents=True)
    claim(tmp_path / "var")
    return tmp_path


def clean(checkout: Path) -> subprocess.CompletedProcess[str]:
    # -S: as on a machine where nothing is installed yet.
    command = (sys.executable, "-B", "-S", "-m", "mdm.local.clean")
    return subprocess.run(
        command, cwd=checkout, env=environ.fresh(), capture_output=True, text=True, check=False
    )


def test_everything_made_is_removed_and_nothing_else(checkout: Path) -> None:
    done = clean(checkout)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in checkout.iterdir()) == ["commands", "mdm"]
    assert list((checkout / "commands").iterdir()) == []


def test_a_running_server_keeps_its_data(checkout: Path) -> None:
    with State.open(checkout / "var"):
        done = clean(checkout)
    assert done.returncode == 1
    assert "in use by another GuardMDM" in done.stderr
    assert done.stderr.count("\n") == 1
    assert (checkout / "var").exists()
    assert (checkout / ".venv").exists()


def test_a_state_folder_of_others_is_left_alone(checkout: Path) -> None:
    (checkout / "var" / "guardmdm.json").unlink()
    (checkout / "var" / "thesis.txt").write_text("years of work")
    assert clean(checkout).returncode == 1
    assert (checkout / "var" / "thesis.txt").exists()
