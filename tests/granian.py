"""A real web process on the test's own database, for tests that speak to it over sockets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection

from mdm.local import postgres
from mdm.local.environment import ROOT
from mdm.local.ports import answers
from mdm.local.processes import Child, Supervisor
from mdm.local.server import WEB_OPTIONS
from tests import environ


@contextmanager
def running(folder: Path, parts: Path, port: int, *more: Child, **given: str) -> Iterator[None]:
    """granian at `port` of this machine and `more` beside it, their logs in `folder`."""
    with Supervisor(folder / "logs", env=_environment(parts, given), folder=ROOT) as supervisor:
        supervisor.start(_granian(port, folder), *more)
        yield


def _granian(port: int, folder: Path) -> Child:
    # TLS where the test has made a certificate.
    certificate, key = folder / "granian.pem", folder / "granian.key"
    tls = ("--ssl-certificate", str(certificate), "--ssl-keyfile", str(key))
    return Child(
        "granian",
        (
            *(sys.executable, "-m", "granian", *WEB_OPTIONS),
            *("--host", "127.0.0.1", "--port", str(port)),
            *(tls if certificate.exists() else ()),
            *("--workers-kill-timeout", "5", "mdm.wsgi:application"),
        ),
        ready=lambda: answers(port, tls=certificate.exists()),
    )


def _environment(parts: Path, more: dict[str, str]) -> dict[str, str]:
    usual = {
        "GUARD_ENV": "test",
        "GUARD_STATE_DIR": str(parts),
        "DATABASE_URL": postgres.url(parts, connection.settings_dict["NAME"]),
        "REDIS_URL": settings.REDIS_URL,
    }
    return environ.fresh(**{**usual, **more})
