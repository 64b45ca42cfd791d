"""Where the lab of this server keeps its things."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mdm.local import sockets


@dataclass(frozen=True)
class Place:
    """`folder` holds what lasts, `socket` is where a running lab listens for orders."""

    folder: Path
    socket: Path

    @classmethod
    def under(cls, state_dir: Path) -> Place:
        """The lab in a server's state folder."""
        return cls(state_dir / "lab", sockets.folder(state_dir) / "lab.sock")

    @property
    def authority(self) -> Path:
        return self.folder / "apple"

    @property
    def devices(self) -> Path:
        return self.folder / "devices"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def tokens(self) -> Path:
        return self.folder / "apns-tokens.json"

    @property
    def portal(self) -> Path:
        return self.folder / "portal.json"

    @property
    def password(self) -> Path:
        return self.folder / "admin-password"
