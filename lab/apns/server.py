"""The push stand-in's sockets: TLS, HTTP/2, and the faults that happen to a connection. What is
answered to a sound request is decided in `lab.apns.rules`."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections import Counter
from dataclasses import dataclass, field

from cryptography import x509
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes

from lab.apns import rules
from lab.apns.faults import Fault, FaultBoard, FaultKind
from lab.apns.postbox import Postbox
from lab.authority import Authority, topic_of

MAX_STREAMS = 1000


class ApnsStandIn:
    """`counts` says how often each outcome was given: "200", "410 Unregistered", "goaway"."""

    def __init__(self, authority: Authority, postbox: Postbox | None = None) -> None:
        self.postbox = postbox or Postbox()
        self.faults = FaultBoard()
        self.counts: Counter[str] = Counter()
        self.connections: set[_Connection] = set()
        self._context = authority.server_context()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> int:
        """Listen; returns the port. Raises OSError when it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), host, port, ssl=self._context, backlog=256
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self.connections):
            connection.abort()
        await self._server.wait_closed()
        self._server = None


@dataclass(slots=True)
class _Stream:
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)


class _Connection(asyncio.Protocol):
    def __init__(self, stand_in: ApnsStandIn) -> None:
        self._stand_in = stand_in
        self._http = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._streams: dict[int, _Stream] = {}
        self._unsent: dict[int, bytes] = {}
        self._topic: str | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._topic = _client_topic(transport.get_extra_info("ssl_object"))
        self._stand_in.connections.add(self)
        self._http.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS})
        self._http.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stand_in.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._http.receive_data(data):
                self._handle(event)
        except ProtocolError:
            self._flush()
            self._transport.close()
            return
        self._flush()

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._transport.abort()

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._streams[event.stream_id] = _Stream([(str(n), str(v)) for n, v in event.headers])
        elif isinstance(event, DataReceived):
            self._read_body(event)
        elif isinstance(event, StreamEnded):
            stream = self._streams.pop(event.stream_id, None)
            if stream is not None:
                self._answer(event.stream_id, stream)
        elif isinstance(event, StreamReset):
            self._streams.pop(event.stream_id, None)
            self._unsent.pop(event.stream_id, None)
        elif isinstance(event, WindowUpdated):
            self._send_waiting()
        elif isinstance(event, ConnectionTerminated):
            self._transport.close()

    def _read_body(self, event: DataReceived) -> None:
        self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is not None and len(stream.body) <= rules.MAX_PAYLOAD:
            stream.body += event.data

    def _answer(self, stream_id: int, stream: _Stream) -> None:
        request = rules.read(stream.headers, bytes(stream.body), self._topic)
        if isinstance(request, rules.Answer):
            self._respond(stream_id, stream, request)
            return
        fault = self._stand_in.faults.take_for(request.token)
        if fault is None:
            self._accept(stream_id, stream, request)
        else:
            self._spoil(stream_id, stream, request, fault)

    def _accept(self, stream_id: int, stream: _Stream, request: rules.PushRequest) -> None:
        assert self._topic is not None
        answer = rules.deliver(request, self._topic, self._stand_in.postbox)
        self._respond(stream_id, stream, answer)

    def _spoil(
        self, stream_id: int, stream: _Stream, request: rules.PushRequest, fault: Fault
    ) -> None:
        answer = _answer_of(fault, self._stand_in.postbox)
        if answer is not None:
            self._respond(stream_id, stream, answer)
            return
        self._stand_in.counts[fault.kind] += 1
        if fault.kind is FaultKind.GOAWAY:
            self._go_away(stream_id)
        elif fault.kind is FaultKind.RESET:
            self._http.reset_stream(stream_id, ErrorCodes.INTERNAL_ERROR)
        elif fault.kind is FaultKind.CLOSE:
            self._transport.abort()
        elif fault.kind is FaultKind.SLOW:
            asyncio.get_running_loop().call_later(
                fault.seconds, self._accept_late, stream_id, stream, request
            )

    def _accept_late(self, stream_id: int, stream: _Stream, request: rules.PushRequest) -> None:
        if self._transport.is_closing():
            return
        self._accept(stream_id, stream, request)
        self._flush()

    def _go_away(self, stream_id: int) -> None:
        """As when Apple takes a server out of service: what is in flight is lost."""
        self._http.close_connection(
            error_code=ErrorCodes.NO_ERROR,
            additional_data=json.dumps({"reason": "Shutdown"}).encode(),
            last_stream_id=max(stream_id - 2, 0),
        )
        self._flush()
        self._transport.close()

    def _respond(self, stream_id: int, stream: _Stream, answer: rules.Answer) -> None:
        self._stand_in.counts[" ".join(filter(None, [str(answer.status), answer.reason]))] += 1
        body = answer.body()
        headers = [
            (":status", str(answer.status)),
            ("apns-id", rules.apns_id(stream.headers)),
        ]
        try:
            self._http.send_headers(stream_id, headers, end_stream=not body)
        except StreamClosedError:
            return
        if body:
            self._unsent[stream_id] = body
            self._send_waiting()

    def _send_waiting(self) -> None:
        """A client that never widens its window gets no more bodies, exactly as at Apple."""
        for stream_id, body in tuple(self._unsent.items()):
            if self._http.local_flow_control_window(stream_id) < len(body):
                continue
            self._http.send_data(stream_id, body, end_stream=True)
            del self._unsent[stream_id]

    def _flush(self) -> None:
        data = self._http.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)


def _answer_of(fault: Fault, postbox: Postbox) -> rules.Answer | None:
    """The answer that a fault consists of; None where it happens to the connection instead."""
    match fault.kind:
        case FaultKind.BAD_TOKEN:
            return rules.Answer(400, "BadDeviceToken")
        case FaultKind.FORBIDDEN:
            return rules.Answer(403, "BadCertificate")
        case FaultKind.UNREGISTERED:
            return rules.Answer(410, "Unregistered", fault.timestamp or postbox.now_ms())
        case FaultKind.TOO_MANY_REQUESTS:
            return rules.Answer(429, "TooManyRequests", with_body=fault.body)
        case FaultKind.INTERNAL_ERROR:
            return rules.Answer(500, "InternalServerError")
        case FaultKind.UNAVAILABLE:
            return rules.Answer(503, "ServiceUnavailable")
    return None


def _client_topic(tls: ssl.SSLObject) -> str | None:
    der = tls.getpeercert(binary_form=True)
    return topic_of(x509.load_der_x509_certificate(der)) if der else None
