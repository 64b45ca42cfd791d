"""The enrollment service's socket: HTTP/1.1, and the faults that happen to a connection or to an
answer on its way. What is answered is `lab.dep.service`."""

from __future__ import annotations

import asyncio
from email.utils import format_datetime

import h11

from lab.dep.faults import Fault, FaultBoard, FaultKind
from lab.dep.portal import Portal
from lab.dep.service import Answer, Service

MAX_BODY = 4 * 1024 * 1024
_READ = 65536
_ON_THE_WAY = frozenset(
    {
        FaultKind.SLOW,
        FaultKind.RESET,
        FaultKind.CUT,
        FaultKind.AFTER,
        FaultKind.NONSENSE,
        FaultKind.WRONG_SHAPE,
        FaultKind.HTML,
    }
)
_HTML = b"<html><head><title>Maintenance</title></head><body>We will be back soon.</body></html>"
_INSTEAD = {
    FaultKind.NONSENSE: (b'{"cursor": "MTox", "devices": [{"serial', "application/json"),
    FaultKind.WRONG_SHAPE: (b'{"devices": "none", "cursor": 7}', "application/json"),
    FaultKind.HTML: (_HTML, "text/html"),
}


class DepStandIn:
    """Apple's device enrollment service on a port of its own."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self.service = Service(portal)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def faults(self) -> FaultBoard:
        return self.service.faults

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> int:
        """Listen; returns the port. Raises OSError when it is taken."""
        self._server = await asyncio.start_server(self._converse, host, port, backlog=128)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is None:
            return
        self._server.close()
        for writer in tuple(self._open):
            writer.transport.abort()
        await self._server.wait_closed()
        self._server = None

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER)
        self._open.add(writer)
        try:
            while await self._exchange(http, reader, writer):
                http.start_next_cycle()
        except (OSError, h11.ProtocolError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _exchange(
        self, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """One request and its answer; whether another may follow."""
        request = await _next(http, reader)
        if not isinstance(request, h11.Request):
            return False
        body = bytearray()
        while isinstance(event := await _next(http, reader), h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                return False
        if not isinstance(event, h11.EndOfMessage):
            return False
        method, target = request.method.decode(), request.target.decode("ascii", "replace")
        headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        fault = self.service.fault(target, headers, _ON_THE_WAY)
        if fault is not None and not await _before(fault, writer):
            return False
        answer = self.service.answer(method, target, headers, bytes(body))
        if fault is not None and fault.kind is FaultKind.AFTER:
            writer.transport.abort()
            return False
        if fault is not None:
            _garble(fault, answer)
        data = self._bytes_of(http, answer)
        if fault is not None and fault.kind is FaultKind.CUT:
            writer.write(data[: len(data) - max(1, len(answer.body) // 2)])
            await writer.drain()
            return False
        writer.write(data)
        await writer.drain()
        return http.our_state is h11.DONE and http.their_state is h11.DONE

    def _bytes_of(self, http: h11.Connection, answer: Answer) -> bytes:
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Date": format_datetime(self.portal.clock.now(), usegmt=True),
            **answer.headers,
        }
        response = h11.Response(status_code=answer.status, headers=list(headers.items()))
        parts = (response, h11.Data(data=answer.body), h11.EndOfMessage())
        return b"".join(http.send(part) or b"" for part in parts)


async def _next(http: h11.Connection, reader: asyncio.StreamReader) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await reader.read(_READ))
    return event


async def _before(fault: Fault, writer: asyncio.StreamWriter) -> bool:
    """What happens before the request is heard; False where it never is."""
    if fault.kind is FaultKind.RESET:
        writer.transport.abort()
        return False
    if fault.kind is FaultKind.SLOW:
        await asyncio.sleep(5.0 if fault.seconds is None else fault.seconds)
    return True


def _garble(fault: Fault, answer: Answer) -> None:
    if fault.kind in _INSTEAD:
        answer.body, answer.content_type = _INSTEAD[fault.kind]
        answer.status = 200
