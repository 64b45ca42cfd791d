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
_FILE = "secrets.env"


def adopt(environ: MutableMapping[str, str]) -> None:
    """Give `environ` the secrets of the server on this machine, where it has one and `environ`
    does not say otherwise: then every command of manage.py works beside a running `make up`.
    """
    if environ.get("GUARD_ENV", "development") in {"development", "demo"}:
        for name, value in _read(state_dir(environ)).items():
            environ.setdefault(name, value)


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
    if not (path / _FILE).exists():
        made = {
            "GUARD_SECRET_KEY": secrets.token_urlsafe(48),
            "GUARD_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        }
        with plain_errors(path):
            write_whole(
                path / _FILE, "".join(f"{name}={value}\n" for name, value in made.items()), 0o600
            )
    return _read(path)


def _read(path: Path) -> dict[str, str]:
    try:
        lines = (path / _FILE).read_text().splitlines()
    except FileNotFoundError:
        return {}
    except PermissionError:
        # Another user's server; the settings will say what is missing.
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)
