"""Django's own list of what a server in production should have set."""

from __future__ import annotations

import secrets
import subprocess
import sys

from mdm.local.environment import ROOT
from tests import environ


def test_the_checks_for_production_find_nothing() -> None:
    production = environ.fresh(
        GUARD_ENV="production",
        GUARD_SECRET_KEY=secrets.token_urlsafe(60),
        GUARD_ENCRYPTION_KEYS="k" * 43 + "=",
        DATABASE_URL="postgresql://guard@127.0.0.1:9/guard",
        REDIS_URL="redis://127.0.0.1:9/0",
        GUARD_PUBLIC_URL="https://mdm.example.com",
        GUARD_DASHBOARD_URL="https://guard.example.com",
    )
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=production,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout
