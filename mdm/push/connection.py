"""One HTTP/2 connection to the push service, as an asyncio protocol over h2; when to make one and
when to leave it is decided in `apns.py`.

After a GOAWAY h2 takes no more answers, so whatever is in flight then is reported as interrupted
and sent again on the next connection: Apple keeps one push per device and topic, so that a push
sent twice wakes a device once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hpack import HeaderTuple

from mdm.push.transport import Interrupted

Header = tuple[str, str] | HeaderTuple

# Apple's error bodies are under 100 bytes.
_LONGEST_BODY = 4096
_LONGEST_WORDS = 100
_PING = b"guardmdm"


@dataclass(frozen=True, slots=True)
class Reply:
    """`status` is 0 where the server sent none that can be read."""

    status: int
    body: bytes


@dataclass(slots=True)
class _Stream:
    reply: asyncio.Future[Reply]
    status: int = 0
    body: bytearray = field(default_factory=bytearray)


class Connection(asyncio.Protocol):
    """`ready` is done once the server has sent its settings. Times are of the running loop."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.open = False
        self.answered = 0
        self.made_at = self.heard_at = loop.time()
        self._loop = loop
        # The headers are ours: having them looked over costs a third of a push.
        self._http = H2Connection(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._streams: dict[int, _Stream] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._retiring = self._pinging = False
        self._transport: asyncio.Transport

    async def request(self, headers: Iterable[Header], body: bytes) -> Reply:
        """Send a request and wait for its answer. Raises Interrupted.

        Takes its turn while the server's limits on streams and bytes are used up. A caller that
        gives up waiting gives its stream back.
        """
        await self._turn(len(body))
        stream_id, reply = self._begin(headers, body)
        try:
            return await reply
        finally:
            self._forget(stream_id)

    def ping(self) -> None:
        """Have the server say something, if only that it is there; `heard_at` will tell."""
        if self.open and not self._pinging:
            self._pinging = True
            self._http.ping(_PING)
            self._flush()

    def retire(self) -> None:
        """Take no more requests; close as soon as those in flight have ended."""
        self.open = False
        self._retiring = True
        self._call_waiting()
        self._hang_up_when_idle()

    def abort(self, why: str) -> None:
        """Drop the connection; requests in flight are interrupted."""
        self._fail(why)
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            self.abort("it does not speak HTTP/2")
            return
        self._http.initiate_connection()
        self._http.update_settings({SettingCodes.ENABLE_PUSH: 0})
        self._flush()

    def data_received(self, data: bytes) -> None:
        self.heard_at = self._loop.time()
        try:
            for event in self._http.receive_data(data):
                self._handle(event)
        except ProtocolError as error:
            self._flush()
            self.abort(f"it broke HTTP/2: {type(error).__name__}")
            return
        self._flush()
        self._call_waiting()
        self._hang_up_when_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(str(exc) if exc else "it closed the connection")

    def _handle(self, event: Event) -> None:
        match event:
            case ResponseReceived(stream_id=int(stream_id), headers=headers):
                if stream := self._streams.get(stream_id):
                    stream.status = _status(headers or [])
            case DataReceived(stream_id=int(stream_id)):
                self._read(stream_id, event)
            case StreamEnded(stream_id=int(stream_id)):
                self._finish(stream_id)
            case StreamReset(stream_id=int(stream_id)):
                self._interrupt(stream_id, event)
            case RemoteSettingsChanged() if not self.ready.done():
                self.open = True
                self.ready.set_result(None)
            case PingAckReceived():
                self._pinging = False
            case ConnectionTerminated():
                words = bytes(event.additional_data or b"")[:_LONGEST_WORDS]
                self._fail(f"it said GOAWAY {words.decode(errors='replace')}".rstrip())
                self._transport.close()

    def _read(self, stream_id: int, event: DataReceived) -> None:
        if event.flow_controlled_length:
            self._http.acknowledge_received_data(event.flow_controlled_length, stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None and len(stream.body) < _LONGEST_BODY:
            stream.body += (event.data or b"")[:_LONGEST_BODY]

    def _finish(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None and not stream.reply.done():
            self.answered += 1
            stream.reply.set_result(Reply(stream.status, bytes(stream.body)))

    def _interrupt(self, stream_id: int, event: StreamReset) -> None:
        """A refused stream was not looked at (RFC 9113 §8.7), so it may be sent again at once."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None and not stream.reply.done():
            again = event.error_code == ErrorCodes.REFUSED_STREAM
            stream.reply.set_exception(Interrupted("the stream was reset", again=again))

    def _begin(self, headers: Iterable[Header], body: bytes) -> tuple[int, asyncio.Future[Reply]]:
        try:
            stream_id = self._http.get_next_available_stream_id()
            self._http.send_headers(stream_id, headers)
            self._http.send_data(stream_id, body, end_stream=True)
        except ProtocolError as error:
            self.abort(f"HTTP/2 gave out: {type(error).__name__}")
            raise Interrupted("HTTP/2 gave out") from error
        reply: asyncio.Future[Reply] = self._loop.create_future()
        self._streams[stream_id] = _Stream(reply)
        self._flush()
        return stream_id, reply

    def _forget(self, stream_id: int) -> None:
        """Nobody waits for this answer any more: an unanswered stream must not use up a place."""
        if self._streams.pop(stream_id, None) is None:
            return
        self._http.reset_stream(stream_id, ErrorCodes.CANCEL)
        self._flush()
        self._call_waiting()
        self._hang_up_when_idle()

    async def _turn(self, size: int) -> None:
        while self.open and not self._room(size):
            turn: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                # It may have been this one's turn: then it is the next one's.
                self._call_waiting()
                raise
        if not self.open:
            raise Interrupted("the connection is closed")

    def _room(self, size: int) -> bool:
        settings = self._http.remote_settings
        return (
            len(self._streams) < settings.max_concurrent_streams
            and self._http.outbound_flow_control_window >= size
            and settings.initial_window_size >= size
        )

    def _call_waiting(self) -> None:
        places = self._http.remote_settings.max_concurrent_streams - len(self._streams)
        while self._waiting and (places > 0 or not self.open):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                places -= 1

    def _hang_up_when_idle(self) -> None:
        if self._retiring and not self._streams and not self._transport.is_closing():
            self._http.close_connection()
            self._flush()
            self._transport.close()

    def _fail(self, why: str) -> None:
        """Every caller hears of the end once; `ready` tells whoever waits for the beginning."""
        self.open = False
        if not self.ready.done():
            self.ready.set_exception(Interrupted(why))
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            if not stream.reply.done():
                stream.reply.set_exception(Interrupted(why))
        self._call_waiting()

    def _flush(self) -> None:
        data = self._http.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)


def _status(headers: Iterable[tuple[bytes | str, bytes | str]]) -> int:
    for name, value in headers:
        if name == b":status" and value.isdigit() and len(value) == 3:
            return int(value)
    return 0
