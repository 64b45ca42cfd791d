"""What a device remembers between two runs of the lab: its identity, its place on the server, its
profiles. One JSON file for each device; keys and tokens are in it, so only its owner may read."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from lab.authority import write_private
from lab.errors import LabError


@dataclass
class Management:
    """What the MDM payload said, and the identity that came with it."""

    server_url: str
    check_in_url: str
    topic: str
    access_rights: int
    sign_message: bool
    check_out_when_removed: bool
    capabilities: list[str]
    profile_identifier: str
    authorities: str
    certificate: str
    key: str

    @property
    def x509(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate.encode())


@dataclass
class ChannelMemory:
    """`unsent` is a report that the server has not taken yet, in XML. `deferred`: the device has
    something to ask for, and will connect by itself as soon as it can."""

    token: str = ""
    push_magic: str = ""
    unsent: str | None = None
    deferred: bool = False


@dataclass
class Memory:
    """`profiles` maps an identifier to the profile as it was installed, base64 of its plist."""

    state: str = "new"
    name: str = ""
    link: str = ""
    link_authorities: str = ""
    locked: bool = False
    pin_locked: bool = False
    powered: bool = True
    passcode: bool = True
    large: bool = False
    unlock_token: str = ""
    bootstrap_token: str = ""
    # The version that an update brought; "" for the one it was sold with.
    os_version: str = ""
    # Whether it enrolls by ADE when it is switched on.
    activates: bool = False
    # What the ADE profile said that it enrolled with; None for a link.
    ade: dict[str, Any] | None = None
    # Whether Setup Assistant waits for DeviceConfigured.
    awaiting: bool = False
    management: Management | None = None
    profiles: dict[str, str] = field(default_factory=dict)
    channels: dict[str, ChannelMemory] = field(default_factory=dict)

    def profile(self, identifier: str) -> bytes | None:
        text = self.profiles.get(identifier)
        return base64.b64decode(text) if text is not None else None

    def channel(self, name: str) -> ChannelMemory:
        return self.channels.setdefault(name, ChannelMemory())

    def forget_management(self) -> None:
        """What leaves with the MDM profile: everything that came through it."""
        self.management = None
        self.profiles.clear()
        self.channels.clear()
        self.unlock_token = self.bootstrap_token = ""
        self.ade, self.awaiting = None, False

    @property
    def supervised(self) -> bool:
        return self.ade is not None and bool(self.ade.get("is_supervised", True))

    @property
    def shared(self) -> bool:
        return self.ade is not None and bool(self.ade.get("is_multi_user"))


class MemoryFile:
    """Where a device's memory is kept; nowhere when `path` is None."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def load(self) -> Memory:
        """What was saved; a blank memory when nothing was. Raises LabError when it is damaged."""
        if self._path is None or not self._path.exists():
            return Memory()
        try:
            return _memory(json.loads(self._path.read_bytes()))
        except (ValueError, TypeError, KeyError) as error:
            raise LabError(f"{self._path.name} is damaged: {error}.") from error

    def save(self, memory: Memory) -> None:
        if self._path is not None:
            write_private(self._path, json.dumps(asdict(memory), indent=1).encode())


def pem_of(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def pem_of_key(key: rsa.RSAPrivateKey) -> str:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return pem.decode("ascii")


def _memory(saved: dict[str, Any]) -> Memory:
    known = {f.name for f in fields(Memory)}
    values = {name: value for name, value in saved.items() if name in known}
    if values.get("management"):
        values["management"] = Management(**values["management"])
    values["channels"] = {n: ChannelMemory(**c) for n, c in values.get("channels", {}).items()}
    return Memory(**values)
