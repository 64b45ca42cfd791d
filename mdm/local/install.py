"""Makes `.venv` and installs the packages of the lock files into it. Run by the Makefile with
nothing but Python at hand, so it imports the standard library alone; the front end's packages are
installed by `assets.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = ROOT / ".venv"
_PYTHON = VENV / "bin" / "python"
_STAMP = VENV / "guardmdm.stamp"
_INSTALLER = Path(__file__).with_name("installer.lock")
_LOCKS = {"run": ROOT / "requirements.lock", "dev": ROOT / "requirements-dev.lock"}
_NO_NETWORK = ("resolve", "dns", "connect", "network", "timed out", "unreachable", "retries")


class InstallError(Exception):
    """Why the packages could not be installed, in one line."""


def main() -> int:
    """Bring `.venv` up to date; 0 where that worked, or where nothing had to be done."""
    parser = argparse.ArgumentParser(description="Install what GuardMDM stands on into .venv.")
    parser.add_argument("--dev", action="store_true", help="with the tools for tests and lint")
    try:
        install("dev" if parser.parse_args().dev else "run")
    except InstallError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"The packages could not be installed: {error}\n")
        return 1
    return 0


def install(kind: str) -> None:
    """Install the packages of `kind`, "run" or "dev". What is up to date needs no network; dev
    contains run, so a folder that once was dev stays so. Raises InstallError.
    """
    had_kind, had_digest = _read_stamp()
    if had_kind == "dev":
        kind = "dev"
    if (had_kind, had_digest) in {("dev", _digest()), (kind, _digest())}:
        return
    _make_venv()
    _STAMP.unlink(missing_ok=True)
    _say("Installing the installer (uv)")
    _run(*_pip(), "install", "-q", "--retries", "2", "--require-hashes", "-r", str(_INSTALLER))
    _say("Installing the packages")
    uv = (str(VENV / "bin" / "uv"), *_certificates())
    # Where nothing may be written later, as in a container, each process would compile them anew.
    sync = ("pip", "sync", "--compile-bytecode", "--python", str(_PYTHON), "--require-hashes")
    _run(*uv, *sync, str(_LOCKS[kind]))
    _STAMP.write_text(f"{kind} {_digest()}\n")


def _read_stamp() -> tuple[str, str]:
    if not _PYTHON.exists() or not _STAMP.exists():
        return ("", "")
    kind, _, digest = _STAMP.read_text().strip().partition(" ")
    return (kind, digest)


def _digest() -> str:
    locks = (_INSTALLER, *_LOCKS.values())
    return hashlib.sha256(b"\0".join(lock.read_bytes() for lock in locks)).hexdigest()


def _make_venv() -> None:
    if VENV.exists() and not _PYTHON.exists():
        shutil.rmtree(VENV)
    if VENV.exists():
        return
    _say(f"Making .venv with Python {sys.version.split()[0]}")
    pip = [] if importlib.util.find_spec("ensurepip") else ["--without-pip"]
    if pip and not importlib.util.find_spec("pip"):
        raise InstallError("This Python has neither pip nor venv; install python3-venv.")
    _run(sys.executable, "-m", "venv", *pip, str(VENV), log=Path("/dev/null"))


def _pip() -> tuple[str, ...]:
    if any((VENV / "lib").glob("python3*/site-packages/pip")):
        return (str(_PYTHON), "-m", "pip")
    return (sys.executable, "-m", "pip", "--python", str(_PYTHON))


def _certificates() -> tuple[str, ...]:
    """Trust what the machine trusts, as pip does: a company's proxy may have its own CA. uv's own
    list is for machines that have none.
    """
    return ("--system-certs",) if ssl.get_default_verify_paths().cafile else ()


def _run(*command: str, log: Path = VENV / "install.log") -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if log.parent.exists():
        log.write_text(done.stdout)
    if done.returncode == 0:
        return
    said = done.stdout.lower()
    if "no space left" in said:
        raise InstallError("The packages could not be installed: the disk is full.")
    if any(word in said for word in _NO_NETWORK):
        raise InstallError(
            "The packages could not be installed: the package index cannot be reached. "
            f"Check the network and run make again (details in {log})."
        )
    raise InstallError(f"The packages could not be installed; {log} says why.")


def _say(what: str) -> None:
    sys.stdout.write(f"· {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
