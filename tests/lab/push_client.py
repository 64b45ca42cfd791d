"""Two clients of the push stand-in: aioapns as the product uses it, and bare HTTP/2 for what a
library would never send."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from aioapns import APNs, NotificationRequest, PushType
from aioapns.common import NotificationResult
from aioapns.connection import APNsProductionClientProtocol
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from lab.authority import Authority

TOKEN = "ab" * 32


def aioapns_client(authority: Authority, port: int, folder: Path, attempts: int = 1) -> APNs:
    """aioapns with the lab's push certificate, aimed at the stand-in."""
    context = ssl.create_default_context(cafile=str(authority.root.certificate))
    both = folder / "push-both.pem"
    both.write_bytes(authority.push.certificate.read_bytes() + authority.push.key.read_bytes())
    client = APNs(client_cert=str(both), ssl_context=context, max_connection_attempts=attempts)
    client.pool.protocol_class = type(
        "Local", (APNsProductionClientProtocol,), {"APNS_SERVER": "localhost", "APNS_PORT": port}
    )
    return client


async def push(client: APNs, token: str = TOKEN, magic: str = "magic") -> NotificationResult:
    request = NotificationRequest(
        device_token=token,
        message={"mdm": magic},
        time_to_live=3600,
        push_type=PushType.MDM,
    )
    return await client.send_notification(request)


@dataclass
class Response:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: bool = False
    goaway: bytes | None = None


class RawClient:
    """One HTTP/2 connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = H2Connection()
        self._http.initiate_connection()
        self.narrow = False

    @classmethod
    async def connect(cls, authority: Authority, port: int, *, certificate: bool = True) -> Self:
        context = ssl.create_default_context(cafile=str(authority.root.certificate))
        context.set_alpn_protocols(["h2"])
        if certificate:
            context.load_cert_chain(authority.push.certificate, authority.push.key)
        return cls(*await asyncio.open_connection("localhost", port, ssl=context))

    async def request(
        self,
        body: bytes,
        *,
        method: str = "POST",
        path: str = f"/3/device/{TOKEN}",
        **headers: Any,
    ) -> Response:
        """Send and read to the end of the stream; an empty Response where the connection ends."""
        stream = self._http.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "https"), (":path", path)]
        fields += [(":authority", "localhost")]
        fields += [(k.replace("_", "-"), v) for k, v in headers.items() if v is not None]
        self._http.send_headers(stream, fields, end_stream=not body)
        if body:
            self._http.send_data(stream, body, end_stream=True)
        await self._flush()
        return await self._read(Response())

    async def narrow_windows(self, size: int) -> None:
        """Let the server send no more than `size` bytes of a body until it is told otherwise."""
        self._http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: size})
        await self._flush()
        self.narrow = True

    async def widen_window(self, size: int) -> Response:
        """Allow `size` bytes more on the newest stream, and read on."""
        self.narrow = False
        self._http.increment_flow_control_window(size, self._http.highest_outbound_stream_id)
        await self._flush()
        return await self._read(Response())

    async def talk_nonsense(self) -> None:
        """Send what is no HTTP/2, and wait for the connection to end."""
        self._writer.write(b"GET / HTTP/1.1\r\n\r\n" * 10)
        await self._writer.drain()
        await self._receive()
        while await self._receive():
            pass

    async def _receive(self) -> bytes:
        try:
            return await self._reader.read(65536)
        except ConnectionResetError:
            return b""

    async def _flush(self) -> None:
        self._writer.write(self._http.data_to_send())
        await self._writer.drain()

    async def _read(self, response: Response) -> Response:
        while data := await self._receive():
            for event in self._http.receive_data(data):
                if isinstance(event, ResponseReceived):
                    response.headers = {k.decode(): v.decode() for k, v in event.headers or []}
                    response.status = int(response.headers[":status"])
                    if self.narrow:
                        return response
                elif isinstance(event, DataReceived):
                    response.body += event.data or b""
                elif isinstance(event, StreamReset):
                    response.reset = True
                    return response
                elif isinstance(event, ConnectionTerminated):
                    response.goaway = event.additional_data
                elif isinstance(event, StreamEnded):
                    return response
            await self._flush()
        return response


def good_headers(authority: Authority) -> dict[str, str]:
    """What a right push carries beside its payload."""
    return {
        "apns_topic": authority.topic,
        "apns_push_type": "mdm",
        "apns_id": str(uuid4()),
        "apns_expiration": "9999999999",
        "apns_priority": "10",
    }
