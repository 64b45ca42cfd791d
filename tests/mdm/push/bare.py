"""A push service that does exactly what a test tells it to, request by request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.settings import SettingCodes, Settings

from lab.authority import Authority


class BareConnection(asyncio.Protocol):
    """The server's end of a connection, for the test's own `answer` to use."""

    def __init__(self, service: Bare) -> None:
        self.service = service
        self.http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.service.made += 1
        self.service.open.add(self)
        if self.service.greet(self):
            limits = {SettingCodes.MAX_CONCURRENT_STREAMS: self.service.max_streams}
            self.http.local_settings = Settings(client=False, initial_values=limits)
            self.http.initiate_connection()
            self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.service.open.discard(self)

    def data_received(self, data: bytes) -> None:
        if self.service.deaf:
            return
        for event in self.http.receive_data(data):
            if isinstance(event, RequestReceived):
                self.service.requests.append({str(n): str(v) for n, v in event.headers})
            elif isinstance(event, DataReceived):
                self.service.bodies.append(bytes(event.data or b""))
                if self.service.reads_on:
                    self.http.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
            elif isinstance(event, StreamEnded):
                self.service.answer(self, event.stream_id)
        self.flush()

    def respond(self, stream_id: int, status: str, body: bytes = b"") -> None:
        self.http.send_headers(stream_id, [(":status", status)], end_stream=not body)
        if body:
            self.http.send_data(stream_id, body, end_stream=True)
        self.flush()

    def reset(self, stream_id: int, code: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        self.http.reset_stream(stream_id, code)

    def flush(self) -> None:
        self.transport.write(self.http.data_to_send())


def accept(connection: BareConnection, stream_id: int) -> None:
    connection.respond(stream_id, "200")


class Bare:
    """`answer` is called for each whole request; `greet` says whether HTTP/2 is to be begun.
    Where it does not `reads_on`, the client soon may send no more; `deaf`, it hears nothing."""

    def __init__(self, answer: Callable[[BareConnection, int], None] = accept) -> None:
        self.answer = answer
        self.greet: Callable[[BareConnection], bool] = lambda connection: True
        self.max_streams = 1000
        self.reads_on = True
        self.deaf = False
        self.made = 0
        self.open: set[BareConnection] = set()
        self.requests: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    @asynccontextmanager
    async def listening(self, context: ssl.SSLContext) -> AsyncIterator[str]:
        """Gives the URL."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: BareConnection(self), "127.0.0.1", 0, ssl=context)
        try:
            yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for connection in tuple(self.open):
                connection.transport.abort()
            await server.wait_closed()


def no_alpn(apple: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(apple.apns.certificate, apple.apns.key)
    return context
