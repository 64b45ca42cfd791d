"""The environment of a server on one machine: its secrets, made once and kept in the state folder.
Which variables exist at all is the table in `mdm/env.py`.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from mdm.local.errors import Refused
from mdm.local.state import claim, plain_errors, write_whole

ROOT = Path(__file__).resolve().parent.parent.parent
_SECRETS = "secrets.env"
_RUNNING = "running.env"
_SETTINGS = ("GUARD_", "DATABASE_URL", "REDIS_URL")


def adopt(environ: MutableMapping[str, str], command: str) -> None:
    """Give `environ` what the server of this machine runs with, where `environ` does not say
    otherwise: then a command of manage.py beside `make up` or `make demo` meets the same database,
    keys, addresses and stand-ins. The two commands that start a server adopt nothing.
    """
    if command in {"up", "demo"}:
        return
    if environ.get("GUARD_ENV", "development") in {"development", "demo"}:
        folder = state_dir(environ)
        for name, value in {**_read(folder / _SECRETS), **_read(folder / _RUNNING)}.items():
            environ.setdefault(name, value)


def announce(path: Path, environ: Mapping[str, str]) -> None:
    """Write down what the server of the state folder `path` runs with, for `adopt`."""
    settings = {name: value for name, value in environ.items() if name.startswith(_SETTINGS)}
    with plain_errors(path):
        write_whole(path / _RUNNING, _lines(settings), 0o600)


def withdraw(path: Path) -> None:
    """Undo `announce`, when the server stops."""
    (path / _RUNNING).unlink(missing_ok=True)


def state_dir(environ: Mapping[str, str]) -> Path:
    """GUARD_STATE_DIR, or `var` in the checkout."""
    given = environ.get("GUARD_STATE_DIR")
    return Path(given).expanduser().resolve() if given else ROOT / "var"


def check_local(environ: Mapping[str, str]) -> None:
    """Raises Refused in production: there each part is run by what runs services there."""
    if environ.get("GUARD_ENV") == "production":
        raise Refused(
            "GUARD_ENV is production: `manage.py up` and the demo are for trying GuardMDM out; "
            "docker-compose.yml shows how to run it in production."
        )


def secrets_of(path: Path) -> dict[str, str]:
    """The secrets of the state folder `path`, made at the first call.

    They are never replaced: without these keys what is encrypted in the database is lost.
    """
    claim(path)
    if not (path / _SECRETS).exists():
        made = {
            "GUARD_SECRET_KEY": secrets.token_urlsafe(48),
            "GUARD_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        with plain_errors(path):
            write_whole(path / _SECRETS, _lines(made), 0o600)
    return _read(path / _SECRETS)


def _lines(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _read(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text().splitlines()
    except (FileNotFoundError, PermissionError):
        # No server here, or another user's: the settings say what they miss.
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)
