"""The environment for servers that tests start as processes of their own."""

from __future__ import annotations

import os


def fresh(**more: str) -> dict[str, str]:
    """This process's environment without any setting of GuardMDM, and `more`."""
    settings = ("GUARD_", "DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "PROMETHEUS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    return {**kept, **more}
