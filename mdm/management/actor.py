"""Who uses the command line."""

from __future__ import annotations

import getpass

from mdm.audit.actor import Actor


def command_line() -> Actor:
    """The system's user, who may do everything."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return Actor.system(f"command line ({user})")
