"""The state folder: whose it is, who uses it now, and whether there is room. What stands in it is
the business of each part (`postgres.py`, `valkey.py`, `assets.py`, `environment.py`).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mdm.local.errors import DiskFull, LocalError, StateError

# Raised by one when an older GuardMDM could no longer make sense of the folder.
LAYOUT = 1
ROOM_NEEDED = 400_000_000

_MARKER = "guardmdm.json"
_LOCK = "lock"
# A server that was killed leaves its lock to the process that ends its children.
_WAIT_FOR_ORPHANS = 20.0


class State:
    """The state folder, held by this process until `close`.

    `State.open` raises StateError where it is in use, someone else's, or newer.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.lock = lock

    @classmethod
    def open(cls, path: Path) -> State:
        """Make the folder where it is missing, and take its lock."""
        claim(path)
        with plain_errors(path):
            return cls(path, _take_lock(path))

    @property
    def logs(self) -> Path:
        return self.path / "log"

    def close(self) -> None:
        """Give the lock back."""
        os.close(self.lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def claim(path: Path) -> None:
    """Make sure that `path` is a folder of ours that this version understands: a new or empty one
    is marked as such. Raises StateError, DiskFull or LocalError.
    """
    with plain_errors(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_uid != os.geteuid():
            raise StateError(f"{path} belongs to another user; remove it, or run as that user.")
        marker = path / _MARKER
        if marker.exists():
            _check_marker(marker)
        elif any(path.iterdir()):
            raise StateError(
                f"{path} is not empty and was not made by GuardMDM; move it away, "
                "or set GUARD_STATE_DIR to another folder."
            )
        else:
            write_whole(marker, json.dumps({"product": "GuardMDM", "layout": LAYOUT}) + "\n")


def check_room(path: Path, needed: int = ROOM_NEEDED) -> None:
    """Raises DiskFull where fewer than `needed` bytes are free at `path`."""
    free = shutil.disk_usage(path).free
    if free < needed:
        raise DiskFull(
            f"The disk of {path} is full: {free // 1_000_000} MB are free "
            f"and {needed // 1_000_000} MB are needed."
        )


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that it is there whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turn what the system says about `path` into one line: DiskFull, StateError, LocalError."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(f"The disk of {path} is full.") from None
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise StateError(f"{path} is in the way: it should be a folder.") from None
        raise LocalError(f"{path} cannot be used: {error.strerror or error}.") from None


def _check_marker(marker: Path) -> None:
    try:
        found = json.loads(marker.read_text())
        layout = found["layout"] if found["product"] == "GuardMDM" else None
    except (ValueError, KeyError, TypeError):
        layout = None
    if not isinstance(layout, int):
        raise StateError(f"{marker.parent} was not made by GuardMDM; move it away.")
    if layout > LAYOUT:
        raise StateError(
            f"{marker.parent} was made by a newer GuardMDM; use that version, "
            "or set GUARD_STATE_DIR to another folder."
        )


def _take_lock(path: Path) -> int:
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _WAIT_FOR_ORPHANS
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
            return lock
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
        if _lives(owner) or time.monotonic() > deadline:
            os.close(lock)
            raise StateError(
                f"{path} is in use by another GuardMDM (process {owner or 'unknown'}); "
                "stop that one first."
            )
        time.sleep(0.05)


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
