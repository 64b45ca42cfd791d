"""How a device speaks HTTP: TLS verified against the certificates it trusts, one answer or one
error. What it says is made in `lab.devices`.

Straight on asyncio and h11: hundreds of devices live in one process, and a client library's pool
costs more processor time than their signatures.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import h11

from lab.errors import ServerRefused, ServerUnreachable

MAX_BODY = 32 * 1024 * 1024
MAX_REDIRECTS = 5
_KEEP = 5.0
_READ = 65536
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Answer:
    """`url` is where the answer came from, redirects followed."""

    status: int
    content_type: str
    body: bytes
    url: str
    location: str = ""


class Web:
    """Connections that trust `authorities` (PEM certificates) and nothing else. Devices of one
    server share them: their keys sign each request, so the connection says nothing of them."""

    def __init__(self, authorities: bytes, *, connections: int = 64, timeout: float = 30.0) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.load_verify_locations(cadata=authorities.decode("ascii"))
        self._timeout = timeout
        self._free = asyncio.Semaphore(connections)
        self._idle: dict[tuple[str, int], deque[_Connection]] = {}

    async def ask(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request; GET follows redirects, as devices do. Raises ServerUnreachable."""
        for _ in range(MAX_REDIRECTS):
            with _as_unreachable(method, url):
                async with self._free, asyncio.timeout(self._timeout):
                    answer = await self._once(method, url, body, headers or {})
            if method != "GET" or answer.status not in _REDIRECTS:
                return answer
            url = urljoin(url, answer.location)
        raise ServerUnreachable(f"{method} {_shown(url)}: too many redirects")

    async def fetch(self, method: str, url: str, body: bytes | None = None) -> bytes:
        """The body of a 2xx answer. Raises ServerRefused and ServerUnreachable."""
        headers = {"Content-Type": "application/x-pki-message"} if body is not None else None
        answer = await self.ask(method, url, body, headers)
        if not 200 <= answer.status < 300:
            raise ServerRefused(answer.status, answer.body)
        return answer.body

    async def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _once(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> Answer:
        host, port = _address(url)
        kept = self._kept(host, port)
        if kept is not None:
            try:
                return await self._use(kept, method, url, body, headers)
            except (OSError, h11.RemoteProtocolError):
                # The server let go of a connection while it was idle: not heard, so said again.
                if kept.heard:
                    raise
        connection = await _Connection.open(host, port, self._context)
        return await self._use(connection, method, url, body, headers)

    async def _use(
        self,
        connection: _Connection,
        method: str,
        url: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> Answer:
        try:
            answer = await connection.exchange(method, url, body, headers)
        except BaseException:
            connection.close()
            raise
        if connection.reusable():
            self._idle.setdefault(_address(url), deque()).append(connection)
        else:
            connection.close()
        return answer

    def _kept(self, host: str, port: int) -> _Connection | None:
        kept = self._idle.get((host, port))
        while kept:
            connection = kept.pop()
            if connection.fresh():
                return connection
            connection.close()
        return None


class Webs:
    """One `Web` for each set of trusted certificates: a TLS context costs more than a request."""

    def __init__(self) -> None:
        self._webs: dict[bytes, Web] = {}

    def trusting(self, authorities: bytes) -> Web:
        if authorities not in self._webs:
            self._webs[authorities] = Web(authorities)
        return self._webs[authorities]

    async def close(self) -> None:
        for web in self._webs.values():
            await web.close()
        self._webs.clear()


class _Connection:
    """`heard`: whether anything came back for the request under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._http = h11.Connection(h11.CLIENT)
        self._used = 0.0
        self.heard = False

    @classmethod
    async def open(cls, host: str, port: int, context: ssl.SSLContext) -> _Connection:
        return cls(*await asyncio.open_connection(host, port, ssl=context))

    async def exchange(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> Answer:
        self.heard = False
        self._send(method, url, body, headers)
        head = await self._next()
        while isinstance(head, h11.InformationalResponse):
            head = await self._next()
        assert isinstance(head, h11.Response)
        found = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        content_type = found.get("content-type", "").partition(";")[0].strip().lower()
        content = await self._read_body()
        location = found.get("location", "")
        return Answer(head.status_code, content_type, content, url, location)

    def reusable(self) -> bool:
        """Whether another request may follow; readies the connection for it."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._used = time.monotonic()
        return True

    def fresh(self) -> bool:
        idle = time.monotonic() - self._used
        return idle < _KEEP and not self._reader.at_eof() and not self._writer.is_closing()

    def close(self) -> None:
        self._writer.close()

    def _send(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        fields = {"Host": parts.netloc, "Accept": "*/*", **headers}
        if body is not None:
            fields["Content-Length"] = str(len(body))
        request = h11.Request(method=method, target=target, headers=list(fields.items()))
        data = self._http.send(request) or b""
        if body:
            data += self._http.send(h11.Data(data=body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        self._writer.write(data)

    async def _read_body(self) -> bytes:
        content = bytearray()
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            assert isinstance(event, h11.Data)
            content += event.data
            if len(content) > MAX_BODY:
                raise h11.RemoteProtocolError("the answer is too large")
        return bytes(content)

    async def _next(self) -> h11.Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(_READ)
            self.heard = self.heard or bool(data)
            self._http.receive_data(data)
        if isinstance(event, h11.Event):
            return event
        raise h11.RemoteProtocolError("the server ended the connection")


@contextmanager
def _as_unreachable(method: str, url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, h11.ProtocolError, TimeoutError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise ServerUnreachable(f"{method} {_shown(url)}: {reason}") from error


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("a device speaks TLS only")
    return parts.hostname, parts.port or 443


def _shown(url: str) -> str:
    """An address without its query, which may hold a secret."""
    return url.partition("?")[0]
