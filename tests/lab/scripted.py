"""A tiny MDM server on a real TLS socket: it issues identities with the product's wire formats,
hands out the commands it is given, and remembers what devices said."""

from __future__ import annotations

import asyncio
import plistlib
import ssl
import tempfile
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from enrollment.wire import certrep, scep
from enrollment.wire.authority import (
    Authority,
    create_authority,
    issue_identity,
    issue_server_certificate,
)
from enrollment.wire.profile import EnrollmentProfile, profile_plist, sign_profile
from mdm.protocol.binding import Binding, Purpose
from mdm.protocol.client_certificate import certificate_from_header
from mdm.protocol.signature import verify_mdm_signature

TOPIC = "com.apple.mgmt.External.00000000-aaaa-bbbb-cccc-000000000000"


@dataclass
class Said:
    """One message of a device, its proof of identity verified."""

    path: str
    message: dict[str, Any]
    signer: bytes
    headers: dict[str, str]


@dataclass
class ScriptedServer:
    """`commands` are handed out one after the other, to whichever channel asks. `statuses` are
    given instead of a 200 to the next messages, `scep_statuses` to the next that ask for an
    identity, `refuse` to every message of a type."""

    commands: deque[dict[str, Any]] = field(default_factory=deque)
    statuses: deque[int] = field(default_factory=deque)
    scep_statuses: deque[int] = field(default_factory=deque)
    refuse: dict[str, int] = field(default_factory=dict)
    refusal_body: bytes = b""
    said: list[Said] = field(default_factory=list)
    payload: dict[str, Any] = field(default_factory=dict)
    identity_header: str | None = None
    page: str | None = None
    served: Counter[str] = field(default_factory=Counter)
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def start(self) -> None:
        self.authority = _authority()
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0, ssl=_context())
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"https://localhost:{port}"

    async def __aenter__(self) -> ScriptedServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def ca_pem(self) -> bytes:
        return self.authority.certificate.public_bytes(Encoding.PEM)

    def messages(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What devices said: check-in messages by type, or reports by status."""
        found = [said.message for said in self.said]
        return [m for m in found if kind is None or kind in (m.get("MessageType"), m.get("Status"))]

    async def until(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th message of a kind, waited for."""
        async with self.heard:
            await self.heard.wait_for(lambda: len(self.messages(kind)) >= count)
        return self.messages(kind)[count - 1]

    def profile(self, **changes: Any) -> bytes:
        """A fresh enrollment profile, signed; `changes` go into the MDM payload."""
        content = EnrollmentProfile(
            organization="Scripted",
            ca_certificate=self.authority.certificate,
            scep_url=f"{self.url}/scep",
            challenge="let me in",
            topic=TOPIC,
            server_url=f"{self.url}/mdm/connect",
            check_in_url=f"{self.url}/mdm/checkin",
        )
        plist = profile_plist(content)
        plist["PayloadContent"][2] |= {**self.payload, **changes}  # type: ignore[index]
        return sign_profile(plistlib.dumps(plist), self.authority.certificate, self.authority.key)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, target, _ = head[0].split(" ")
                headers = {k.lower(): v for k, _, v in (h.partition(": ") for h in head[1:] if h)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                status, content_type, answer = await self._answer(method, target, headers, body)
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n"
                    f"Content-Length: {len(answer)}\r\n\r\n".encode()
                    + answer
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            writer.close()

    async def _answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, str, bytes]:
        parts = urlsplit(target)
        self.served[f"{method} {parts.path}"] += 1
        if parts.path == "/enroll":
            page = self.page or '<a href="/enroll.mobileconfig">Download</a>'
            return 200, "text/html; charset=utf-8", page.encode()
        if parts.path == "/enroll.mobileconfig":
            return 200, "application/x-apple-aspen-config", self.profile()
        if parts.path == "/scep":
            if self.scep_statuses:
                return self.scep_statuses.popleft(), "text/plain", b""
            return self._scep(parts.query, body)
        return await self._device(parts.path, headers, body)

    def _scep(self, query: str, body: bytes) -> tuple[int, str, bytes]:
        if "operation=GetCACaps" in query:
            return 200, "text/plain", "\n".join(scep.CAPABILITIES).encode()
        if "operation=GetCACert" in query:
            der = self.authority.certificate.public_bytes(Encoding.DER)
            return 200, "application/x-x509-ca-cert", der
        message = scep.read_message(body)
        request = scep.open_request(message, self.authority)
        assert request.challenge == "let me in"
        binding = Binding(purpose=Purpose.DEVICE, way="link", reference="scripted")
        issued = issue_identity(self.authority, request.public_key, binding, datetime.now(UTC))
        answer = certrep.success(self.authority, message, request, issued)
        return 200, "application/x-pki-message", answer

    async def _device(
        self, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, str, bytes]:
        if self.identity_header is not None:
            form = "rfc9440" if self.identity_header == "client-cert" else "nginx"
            signer = certificate_from_header(headers[self.identity_header], form).sha256
        else:
            signer = verify_mdm_signature(headers["mdm-signature"], body).sha256
        message = plistlib.loads(body)
        status = self.refuse.get(message.get("MessageType", message.get("Status")))
        if status is None and self.statuses:
            status = self.statuses.popleft()
        async with self.heard:
            self.said.append(Said(path, message, signer, headers))
            self.heard.notify_all()
        if status not in (None, 200):
            return status or 500, "application/json", self.refusal_body
        return 200, "application/xml", self._next(path)

    def _next(self, path: str) -> bytes:
        if path != "/mdm/connect" or not self.commands:
            return b""
        command = self.commands.popleft()
        uuid = f"COMMAND-{command.get('RequestType')}"
        return plistlib.dumps({"CommandUUID": uuid, "Command": command})


@cache
def _authority() -> Authority:
    return create_authority("Scripted CA", datetime.now(UTC))


@cache
def _context() -> ssl.SSLContext:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = issue_server_certificate(
        _authority(), key.public_key(), ["localhost"], datetime.now(UTC)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.pem"
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(certificate.public_bytes(Encoding.PEM) + pem)
        context.load_cert_chain(path)
    return context
