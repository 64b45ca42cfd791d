"""The ports that a server on one machine listens on; its unix sockets are in `sockets.py`."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from mdm.env import BadEnvironment, Env
from mdm.local.errors import LocalError, PortInUse


@dataclass(frozen=True)
class Ports:
    """One port for people (plain HTTP, this machine only), one for devices (TLS, every address)."""

    people: int
    devices: int
    devices_host: str = "127.0.0.1"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """The ports that the environment names, or the usual ones. Raises LocalError."""
        try:
            env = Env.load(environ)
        except BadEnvironment as error:
            raise LocalError(str(error)) from None
        return cls(env.people_port, env.devices_port, env.devices_host)

    @classmethod
    def free(cls) -> Self:
        """Two ports that nobody uses at the moment, on loopback only: for tests and tools."""
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            return cls(one.getsockname()[1], other.getsockname()[1])

    def check(self) -> None:
        """Raises PortInUse or LocalError where we could not listen on one of them."""
        _check("127.0.0.1", self.people, "GUARD_PEOPLE_PORT")
        _check(self.devices_host, self.devices, "GUARD_DEVICES_PORT")


def answers(port: int, *, tls: bool = False) -> bool:
    """Whether an HTTP server on this machine answers at `port`, with whatever status."""
    if tls:
        # Only whether anybody answers is asked; who it is, is checked by those who then talk.
        context = ssl._create_unverified_context()  # noqa: S323
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=5, context=context
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": "localhost"})
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def _check(host: str, port: int, name: str) -> None:
    with socket.socket() as listener:
        # As the web server sets it: a port that was given back just now is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"Port {port} is in use by another program; stop it, or set {name}."
                ) from None
            raise LocalError(
                f"Port {port} on {host} cannot be used: {error.strerror}; set {name}."
            ) from None
