"""Where the unix sockets of a state folder are; ports are in `ports.py`."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from mdm.local.errors import StateError

# sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included.
LONGEST_SOCKET_PATH = 103
_LONGEST_NAME = len("/.s.PGSQL.5432")


def folder(state_dir: Path) -> Path:
    """The folder for the sockets of `state_dir`: inside it, or where its path is too long for a
    socket, a short one of our own under the system's temporary folder.
    """
    inside = state_dir / "run"
    if len(os.fsencode(inside)) + _LONGEST_NAME <= LONGEST_SOCKET_PATH:
        return inside
    key = hashlib.sha256(os.fsencode(state_dir)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"guardmdm-{os.getuid()}-{key}"


def make_folder(state_dir: Path) -> Path:
    """Create the folder for sockets, closed to other users. Raises StateError where someone else
    made it first: whoever owns it could put their own database behind its name.
    """
    path = folder(state_dir)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StateError(f"{path} belongs to someone else; remove it or move the checkout.")
    path.chmod(0o700)
    return path
