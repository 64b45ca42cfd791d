"""`make clean`: removes the state folder, `.venv` and caches, unless a server uses them."""

from __future__ import annotations

import os
import shutil
import sys

from mdm.local.environment import ROOT, state_dir
from mdm.local.errors import LocalError
from mdm.local.state import State

_CACHES = (".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".import_linter_cache")


def main() -> int:
    """Remove it all; 1 with one line on stderr where a server still runs."""
    state = state_dir(os.environ)
    try:
        if state.exists():
            with State.open(state):
                shutil.rmtree(state)
    except LocalError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for name in (".venv", *_CACHES):
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for cache in ROOT.rglob("__pycache__"):
        shutil.rmtree(cache, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
