"""Installing says in one line why it cannot go on, and needs no network where nothing changed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mdm.local.environment import ROOT
from tests import environ

OFFLINE = ("unshare", "--user", "--map-root-user", "--net")
LOCKS = ("mdm/local/installer.lock", "requirements.lock", "requirements-dev.lock")


@pytest.fixture
def offline() -> tuple[str, ...]:
    """What to put before a command so that it has no network."""
    if (
        shutil.which("unshare") is None
        or subprocess.run((*OFFLINE, "true"), check=False, capture_output=True).returncode
    ):
        pytest.skip("the network cannot be taken away here")
    return OFFLINE


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What of the checkout is needed to install."""
    for name in ("Makefile", "mdm/local/install.py", *LOCKS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def run(
    folder: Path, *command: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    settings = environ.fresh() if env is None else env
    return subprocess.run(
        command, cwd=folder, env=settings, capture_output=True, text=True, timeout=300, check=False
    )


def stamp(checkout: Path, kind: str) -> None:
    digest = hashlib.sha256(b"\0".join((checkout / lock).read_bytes() for lock in LOCKS))
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(sys.executable)
    (checkout / ".venv/guardmdm.stamp").write_text(f"{kind} {digest.hexdigest()}\n")


@pytest.mark.parametrize(
    ("installed", "wanted"), [("run", []), ("dev", []), ("dev", ["--dev"])], ids=str
)
def test_what_is_installed_needs_no_network(
    checkout: Path, offline: tuple[str, ...], installed: str, wanted: list[str]
) -> None:
    stamp(checkout, installed)
    done = run(checkout, *offline, sys.executable, "-I", "mdm/local/install.py", *wanted)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_first_install_without_a_network_is_one_line(
    checkout: Path, offline: tuple[str, ...]
) -> None:
    done = run(checkout, *offline, sys.executable, "-I", "mdm/local/install.py")
    assert done.returncode == 1
    assert "the package index cannot be reached" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (checkout / ".venv/guardmdm.stamp").exists()


def test_a_changed_lock_is_installed(checkout: Path, offline: tuple[str, ...]) -> None:
    stamp(checkout, "dev")
    with (checkout / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    done = run(checkout, *offline, sys.executable, "-I", "mdm/local/install.py")
    assert "Installing" in done.stdout
    assert done.returncode == 1


def test_a_machine_without_a_fitting_python_is_told_so(checkout: Path) -> None:
    programs = checkout / "programs"
    programs.mkdir()
    (programs / "python3").write_text("#!/bin/sh\nexit 1\n")
    (programs / "python3").chmod(0o755)
    make = shutil.which("make") or "make"
    done = run(checkout, make, "-s", "install", env={"PATH": str(programs)})
    assert done.returncode != 0
    assert done.stderr.startswith("GuardMDM needs Python 3.11 or newer")


def test_built_assets_need_no_network(offline: tuple[str, ...]) -> None:
    if run(ROOT, *offline, sys.executable, "-m", "mdm.local.assets").returncode:
        pytest.skip("the assets are not built; run `make assets`")
    done = run(ROOT, *offline, sys.executable, "-m", "mdm.local.assets")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_first_build_without_a_network_is_one_line(
    tmp_path: Path, offline: tuple[str, ...]
) -> None:
    script = f"""
import sys
from pathlib import Path
from mdm.local import assets
from mdm.local.errors import LocalError
try:
    assets.build(Path({str(tmp_path)!r}))
except LocalError as error:
    sys.exit(str(error))
"""
    # Caches that hold nothing: otherwise this machine's could serve every package.
    settings = environ.fresh(
        npm_config_cache=str(tmp_path / "npm"), UV_CACHE_DIR=str(tmp_path / "uv")
    )
    done = run(ROOT, *offline, sys.executable, "-c", script, env=settings)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert done.stderr.count("\n") == 1


def test_vendor_files_name_no_source_maps() -> None:
    vendor = ROOT / "var" / "assets" / "dist" / "vendor"
    if not vendor.exists():
        pytest.skip("the assets are not built; run `make assets`")
    names = sorted(path.name for path in vendor.iterdir())
    scripts = ["chart.umd.min.js", "htmx.min.js", "tabler.min.js", "zxing.min.js"]
    assert names == sorted([*scripts, "tabler.min.css"])
    assert all(b"sourceMappingURL" not in path.read_bytes() for path in vendor.iterdir())


def test_lock_files_name_no_host() -> None:
    locks = [ROOT / name for name in (*LOCKS, "mdm/assets/node.lock")]
    assert all("://" not in lock.read_text() for lock in locks)
    assert '"resolved"' not in (ROOT / "mdm/assets/package-lock.json").read_text()
