"""The embedded Postgres and Valkey as one thing to start and stop, for tests and tools that need
no more; the whole server is in `server.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mdm.local.postgres import Postgres
from mdm.local.processes import Supervisor
from mdm.local.valkey import Valkey


class Parts:
    """Embedded Postgres and Valkey in `state_dir`, with logs in its folder `log`."""

    def __init__(
        self, state_dir: Path, *, postgres_settings: Mapping[str, str] | None = None
    ) -> None:
        self._postgres = Postgres(state_dir, postgres_settings or {})
        self._valkey = Valkey(state_dir)
        self._logs = state_dir / "log"
        self._supervisor: Supervisor | None = None

    def start(self) -> None:
        """Start both and return when they answer; nothing happens where they already run."""
        if self._supervisor is not None:
            return
        self._supervisor = Supervisor(self._logs)
        try:
            self._supervisor.start(self._postgres.child(), self._valkey.child())
            self._postgres.create_database()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop both; nothing happens where they do not run."""
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None
