"""Apple's push service over HTTP/2: one long-lived connection, renewed before it goes stale. The
frames are exchanged in `connection.py`, what an answer means is judged in `verdict.py`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from hpack import NeverIndexedHeaderTuple

from mdm.push.connection import Connection, Header, Reply
from mdm.push.transport import Interrupted, NoAnswer, Outcome, Push, Unreachable

_LONGEST_REASON = 60
_LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds, except for counts. A connection that carried nothing for `idle` may have been
    dropped on the way without a word, and one older than `age` sits on an address that DNS may
    no longer name: both are replaced before they are used again."""

    deadline: float = 10.0
    connect: float = 5.0
    in_flight: int = 200
    attempts: int = 3
    age: float = 3600.0
    idle: float = 240.0


class Apns:
    """A `Transport` for one push certificate, which `context` holds. `url` is https://host[:port].

    Source: "Sending notification requests to APNs", "Handling notification responses from APNs".
    """

    def __init__(self, url: str, context: ssl.SSLContext, limits: Limits | None = None) -> None:
        address = urlsplit(url)
        if address.scheme != "https" or not address.hostname:
            raise ValueError(f"the push service is reached over https, not at {url}")
        self._host, self._port = address.hostname, address.port or 443
        self._authority = address.netloc
        self._context = context
        self._limits = limits or Limits()
        self._in_flight = asyncio.Semaphore(self._limits.in_flight)
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection | None] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._why = ""

    async def send(self, push: Push) -> Outcome:
        """Apple's answer. Raises Unreachable, Interrupted, NoAnswer; never waits longer than the
        deadline, the time in which it waits for its turn included."""
        loop = asyncio.get_running_loop()
        half_time = loop.time() + self._limits.deadline / 2
        doubt = loop.call_at(half_time, self._ping)
        try:
            async with asyncio.timeout(self._limits.deadline), self._in_flight:
                return await self._persist(push)
        except TimeoutError:
            raise self._silence(half_time) from None
        finally:
            doubt.cancel()

    async def close(self) -> None:
        """Let what is in flight end, and hang up."""
        if self._connecting is not None:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._connecting
        if self._connection is not None:
            self._connection.retire()
            self._connection = None

    async def _persist(self, push: Push) -> Outcome:
        for _ in range(self._limits.attempts - 1):
            try:
                return await self._attempt(push)
            except Interrupted as error:
                if not error.again:
                    raise
        return await self._attempt(push)

    async def _attempt(self, push: Push) -> Outcome:
        connection = await self._connected()
        try:
            reply = await connection.request(self._headers(push), _payload(push))
        except Interrupted as error:
            self._drop(connection, str(error))
            raise
        self._failures = 0
        return _outcome(reply)

    async def _connected(self) -> Connection:
        """The connection in use, or a new one: however many wait for it, it is made once."""
        connection = self._connection
        if connection is not None and self._fresh(connection):
            return connection
        if self._connecting is None:
            if asyncio.get_running_loop().time() < self._not_before:
                raise Unreachable(self._why)
            self._connecting = asyncio.create_task(self._connect())
        made = await asyncio.shield(self._connecting)
        if made is None:
            raise Unreachable(self._why)
        return made

    async def _connect(self) -> Connection | None:
        """A new connection in place of the old one; None, with the reason in `_why`, for none."""
        made: Connection | None = None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limits.connect):
                _, made = await loop.create_connection(
                    Connection, self._host, self._port, ssl=self._context
                )
                await made.ready
        except (OSError, Interrupted) as error:
            self._failed(str(error) or f"no answer within {self._limits.connect:g} s")
            if made is not None:
                made.abort("given up")
            return None
        finally:
            self._connecting = None
        if self._connection is not None:
            self._connection.retire()
        self._connection = made
        return made

    def _fresh(self, connection: Connection) -> bool:
        now = asyncio.get_running_loop().time()
        return (
            connection.open
            and now - connection.made_at < self._limits.age
            and now - connection.heard_at < self._limits.idle
        )

    def _ping(self) -> None:
        if self._connection is not None:
            self._connection.ping()

    def _silence(self, half_time: float) -> NoAnswer | Unreachable:
        """Why a push has no answer: it alone, or the whole connection, which then did not answer
        to the ping at half time either."""
        connection = self._connection
        if connection is None or connection.heard_at >= half_time:
            return NoAnswer(f"no answer within {self._limits.deadline:g} s")
        connection.abort("nothing is heard from it")
        self._drop(connection, "nothing is heard from it")
        return Unreachable(self._why or "nothing is heard from it")

    def _drop(self, connection: Connection, why: str) -> None:
        """Leave a connection that has ended. One that ended before it ever answered counts as a
        failure, so that a service that hangs up on us is not called without end."""
        if connection.open or self._connection is not connection:
            return
        self._connection = None
        if not connection.answered:
            self._failed(why)

    def _failed(self, why: str) -> None:
        """The first failure costs nothing, each further one doubles the pause."""
        self._failures += 1
        self._why = why
        if self._failures > 1:
            pause = min(2.0 ** min(self._failures - 2, 10), _LONGEST_PAUSE)
            self._not_before = asyncio.get_running_loop().time() + pause

    def _headers(self, push: Push) -> list[Header]:
        return [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", self._authority),
            NeverIndexedHeaderTuple(":path", f"/3/device/{push.token_hex}"),
            ("apns-topic", push.topic),
            ("apns-push-type", "mdm"),
            ("apns-priority", "10"),
            ("apns-expiration", str(push.expiration)),
        ]


def _payload(push: Push) -> bytes:
    return json.dumps({"mdm": push.magic}).encode()


def _outcome(reply: Reply) -> Outcome:
    """The body is `{"reason": ..., "timestamp": ...}`, or nothing, whatever Apple documents."""
    try:
        content = json.loads(reply.body)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        return Outcome(reply.status)
    reason, timestamp = content.get("reason"), content.get("timestamp")
    return Outcome(
        reply.status,
        reason[:_LONGEST_REASON] if isinstance(reason, str) and reason.isalnum() else "",
        timestamp if type(timestamp) is int and 0 < timestamp < 10**14 else None,
    )
