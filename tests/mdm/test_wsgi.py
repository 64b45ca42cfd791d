"""What a web process has done before its first request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mdm.local.environment import ROOT
from tests import environ


def test_the_client_of_the_cache_is_there_before_anybody_waits_for_it(tmp_path: Path) -> None:
    """Celery, which would load it too, is not asked for anything here."""
    said = subprocess.run(
        [sys.executable, "-c", "import sys, mdm.wsgi; print('redis.client' in sys.modules)"],
        cwd=ROOT,
        env=environ.fresh(GUARD_STATE_DIR=str(tmp_path), GUARD_ENV="demo"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "True\n"
