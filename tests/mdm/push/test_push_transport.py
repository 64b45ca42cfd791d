"""The way to Apple's push service survives whatever the service does to a connection."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from h2.errors import ErrorCodes

from lab.apns import ApnsStandIn, Fault, FaultKind
from lab.authority import Authority, Pair
from mdm.push.apns import Apns, Limits
from mdm.push.tls import client_context
from mdm.push.transport import Interrupted, NoAnswer, Outcome, Push, Unreachable
from tests.lab.loop import in_loop
from tests.mdm.push.bare import Bare, BareConnection, accept, no_alpn

TOKEN = "ab" * 32
PATIENT = Limits(deadline=30)
BRIEF = Limits(deadline=0.3)


def context_of(apple: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    pair = pair or apple.push
    return client_context(
        pair.certificate.read_bytes(), pair.key.read_bytes(), ca=apple.root.certificate
    )


@functools.cache
def topic_of(apple: Authority) -> str:
    return apple.topic


def push_to(apple: Authority, token: str = TOKEN, magic: str = "the magic") -> Push:
    return Push(token, magic, topic_of(apple), expiration=2_000_000_000)


@asynccontextmanager
async def apple_like(
    apple: Authority, limits: Limits = PATIENT
) -> AsyncIterator[tuple[ApnsStandIn, Apns]]:
    stand_in = ApnsStandIn(apple)
    stand_in.postbox.register(TOKEN, topic_of(apple))
    port = await stand_in.start()
    transport = Apns(f"https://127.0.0.1:{port}", context_of(apple), limits)
    try:
        yield stand_in, transport
    finally:
        await transport.close()
        await stand_in.stop()


@asynccontextmanager
async def bare(apple: Authority, service: Bare, limits: Limits = PATIENT) -> AsyncIterator[Apns]:
    async with service.listening(apple.server_context()) as url:
        transport = Apns(url, context_of(apple), limits)
        yield transport
        await transport.close()


@in_loop
async def test_a_push_is_what_apple_asks_for_and_nothing_else(apple: Authority) -> None:
    service = Bare()
    async with bare(apple, service) as transport:
        assert await transport.send(push_to(apple)) == Outcome(200)
    request = service.requests[0]
    assert json.loads(service.bodies[0]) == {"mdm": "the magic"}
    assert request.pop(":authority").startswith("127.0.0.1:")
    assert request == {
        ":method": "POST",
        ":scheme": "https",
        ":path": f"/3/device/{TOKEN}",
        "apns-topic": topic_of(apple),
        "apns-push-type": "mdm",
        "apns-priority": "10",
        "apns-expiration": "2000000000",
    }


@in_loop
async def test_the_push_certificate_is_shown_and_the_push_held_for_a_device_that_is_away(
    apple: Authority,
) -> None:
    async with apple_like(apple) as (stand_in, transport):
        assert await transport.send(push_to(apple)) == Outcome(200)
        held = stand_in.postbox.held(TOKEN)
    assert held is not None
    assert (held.magic, held.expires) == ("the magic", 2_000_000_000)


@in_loop
async def test_many_pushes_share_one_connection_within_its_windows(
    apple: Authority,
) -> None:
    service = Bare()
    service.max_streams = 7
    async with bare(apple, service) as transport:
        pushes = (transport.send(push_to(apple, magic="m" * 500)) for _ in range(400))
        assert await asyncio.gather(*pushes) == [Outcome(200)] * 400
    assert service.made == 1


@in_loop
async def test_no_more_bytes_are_sent_than_the_service_has_room_for(apple: Authority) -> None:
    def make_room_late(connection: BareConnection, stream_id: int) -> None:
        accept(connection, stream_id)
        read = service.bodies
        if len(read) % 16 == 0:
            connection.http.increment_flow_control_window(sum(map(len, read[-16:])))

    service = Bare(make_room_late)
    service.reads_on = False
    async with bare(apple, service) as transport:
        pushes = (transport.send(push_to(apple, magic="m" * 2000)) for _ in range(100))
        assert await asyncio.gather(*pushes) == [Outcome(200)] * 100
    assert service.made == 1


@in_loop
async def test_a_service_that_stops_reading_holds_nobody_for_ever(apple: Authority) -> None:
    service = Bare()
    service.reads_on = False
    async with bare(apple, service, Limits(deadline=2)) as transport:
        pushes = (transport.send(push_to(apple, magic="m" * 2000)) for _ in range(100))
        results = await asyncio.gather(*pushes, return_exceptions=True)
    kinds = {type(result) for result in results}
    assert kinds <= {Outcome, NoAnswer, Unreachable}
    assert kinds != {Outcome}


@in_loop
async def test_reason_and_time_stamp_come_with_a_410(apple: Authority) -> None:
    async with apple_like(apple) as (stand_in, transport):
        stand_in.faults.order(Fault(FaultKind.UNREGISTERED, timestamp=1_700_000_000_123))
        outcome = await transport.send(push_to(apple))
    assert outcome == Outcome(410, "Unregistered", 1_700_000_000_123)


@in_loop
async def test_a_429_without_a_body_is_an_answer(apple: Authority) -> None:
    async with apple_like(apple) as (stand_in, transport):
        stand_in.faults.order(Fault(FaultKind.TOO_MANY_REQUESTS))
        assert await transport.send(push_to(apple)) == Outcome(429)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"reason": 7}', b'{"reason": "<b>"}', b"[" * 4000, b"\xff"]
)
def test_a_body_that_makes_no_sense_leaves_the_status(apple: Authority, body: bytes) -> None:
    @in_loop
    async def ask() -> None:
        service = Bare(lambda connection, stream: connection.respond(stream, "503", body))
        async with bare(apple, service) as transport:
            assert await transport.send(push_to(apple)) == Outcome(503)

    ask()


@in_loop
async def test_a_reset_stream_is_reported_and_its_place_is_free_again(apple: Authority) -> None:
    service = Bare(lambda connection, stream: connection.reset(stream))
    service.max_streams = 1
    async with bare(apple, service) as transport:
        for _ in range(5):
            with pytest.raises(Interrupted):
                await transport.send(push_to(apple))
        service.answer = accept
        assert await transport.send(push_to(apple)) == Outcome(200)
    assert service.made == 1


@in_loop
async def test_a_refused_stream_is_sent_again_at_once(apple: Authority) -> None:
    def refuse_once(connection: BareConnection, stream_id: int) -> None:
        connection.service.answer = accept
        connection.reset(stream_id, ErrorCodes.REFUSED_STREAM)

    async with bare(apple, Bare(refuse_once)) as transport:
        assert await transport.send(push_to(apple)) == Outcome(200)


@in_loop
async def test_a_push_that_alone_gets_no_answer_gives_its_place_back(apple: Authority) -> None:
    service = Bare()
    service.answer = lambda connection, stream: (
        None if "cc" in service.requests[-1][":path"] else accept(connection, stream)
    )
    service.max_streams = 2
    # Its answered pushes have the same deadline, and a busy machine may be slow.
    async with bare(apple, service, Limits(deadline=1.5)) as transport:
        silent = [asyncio.ensure_future(transport.send(push_to(apple, "cc" * 32)))]
        while not service.requests:
            await asyncio.sleep(0)
        while not silent[0].done():
            assert await transport.send(push_to(apple)) == Outcome(200)
        assert isinstance(silent[0].exception(), NoAnswer)
        both = (transport.send(push_to(apple)) for _ in range(2))
        assert await asyncio.gather(*both) == [Outcome(200)] * 2
    assert service.made == 1


@in_loop
async def test_a_connection_on_which_nothing_is_heard_is_left(apple: Authority) -> None:
    service = Bare()
    async with bare(apple, service, BRIEF) as transport:
        assert await transport.send(push_to(apple)) == Outcome(200)
        service.deaf = True
        with pytest.raises(Unreachable):
            await transport.send(push_to(apple))
        service.deaf = False
        assert await transport.send(push_to(apple)) == Outcome(200)
    assert service.made == 2


@in_loop
async def test_a_connection_that_answers_a_ping_is_kept(apple: Authority) -> None:
    service = Bare(lambda connection, stream: None)
    async with bare(apple, service, BRIEF) as transport:
        with pytest.raises(NoAnswer):
            await transport.send(push_to(apple))
        service.answer = accept
        assert await transport.send(push_to(apple)) == Outcome(200)
    assert service.made == 1


@pytest.mark.parametrize("kind", [FaultKind.GOAWAY, FaultKind.CLOSE])
def test_pushes_in_flight_when_a_connection_ends_are_sent_again(
    apple: Authority, kind: FaultKind
) -> None:
    @in_loop
    async def push_through() -> None:
        async with apple_like(apple) as (stand_in, transport):
            assert await transport.send(push_to(apple)) == Outcome(200)
            stand_in.faults.order(Fault(kind))
            pushes = (transport.send(push_to(apple)) for _ in range(100))
            assert await asyncio.gather(*pushes) == [Outcome(200)] * 100
            assert stand_in.counts[kind] == 1

    push_through()


@in_loop
async def test_a_service_that_hangs_up_is_not_called_without_end(apple: Authority) -> None:
    service = Bare()
    service.greet = lambda connection: connection.transport.abort()  # type: ignore[func-returns-value]
    async with bare(apple, service) as transport:
        for _ in range(20):
            with pytest.raises(Unreachable):
                await transport.send(push_to(apple))
    assert service.made == 2


@in_loop
async def test_a_service_that_says_goaway_to_everything_is_not_called_without_end(
    apple: Authority,
) -> None:
    service = Bare(lambda connection, stream: connection.http.close_connection())
    async with bare(apple, service) as transport:
        for _ in range(20):
            with pytest.raises((Interrupted, Unreachable)):
                await transport.send(push_to(apple))
    assert service.made == 2


@in_loop
async def test_many_that_wait_for_a_connection_make_one_attempt(apple: Authority) -> None:
    service = Bare()
    service.greet = lambda connection: connection.transport.abort()  # type: ignore[func-returns-value]
    async with bare(apple, service) as transport:
        pushes = (transport.send(push_to(apple)) for _ in range(50))
        results = await asyncio.gather(*pushes, return_exceptions=True)
    assert {type(result) for result in results} == {Unreachable}
    assert service.made == 1


@in_loop
async def test_a_port_on_which_nobody_listens_is_unreachable(apple: Authority) -> None:
    async with apple_like(apple) as (stand_in, transport):
        await stand_in.stop()
        with pytest.raises(Unreachable, match=r"refused|Connect"):
            await transport.send(push_to(apple))


@in_loop
async def test_a_service_that_never_finishes_the_handshake_is_unreachable(
    apple: Authority,
) -> None:
    hold = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hold.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(Unreachable, match="no answer"):
        await Apns(url, context_of(apple), Limits(connect=0.2)).send(push_to(apple))
    hold.set()
    server.close()


@in_loop
async def test_a_service_that_speaks_no_http2_is_unreachable(apple: Authority) -> None:
    service = Bare()
    async with service.listening(no_alpn(apple)) as url:
        with pytest.raises(Unreachable, match="HTTP/2"):
            await Apns(url, context_of(apple)).send(push_to(apple))


@in_loop
async def test_a_service_that_breaks_http2_is_unreachable(apple: Authority) -> None:
    service = Bare()
    headers_on_no_stream = b"\0\0\1\1\4\0\0\0\0\0"
    service.greet = lambda connection: connection.transport.write(headers_on_no_stream)  # type: ignore[func-returns-value]
    async with bare(apple, service) as transport:
        with pytest.raises(Unreachable, match="HTTP/2"):
            await transport.send(push_to(apple))


@in_loop
async def test_a_service_whose_certificate_is_not_trusted_is_unreachable(
    apple: Authority,
) -> None:
    async with apple_like(apple) as (stand_in, _):
        port = next(iter(stand_in._server.sockets)).getsockname()[1]  # type: ignore[union-attr]
        context = client_context(apple.push.certificate.read_bytes(), apple.push.key.read_bytes())
        with pytest.raises(Unreachable, match="certificate verify failed"):
            await Apns(f"https://127.0.0.1:{port}", context).send(push_to(apple))


@in_loop
async def test_a_push_certificate_that_the_service_refuses_makes_it_unreachable(
    apple: Authority, tmp_path: Path
) -> None:
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=2)
    pair = apple.issue_push_certificate(
        apple.topic,
        not_before=past,
        not_after=past + dt.timedelta(days=1),
        into=Pair(tmp_path / "expired.pem", tmp_path / "expired.key"),
    )
    async with Bare().listening(apple.server_context()) as url:
        with pytest.raises(Unreachable):
            await Apns(url, context_of(apple, pair)).send(push_to(apple))


@pytest.mark.parametrize("stale", [Limits(age=0), Limits(idle=0)])
def test_a_connection_is_renewed_before_it_goes_stale(apple: Authority, stale: Limits) -> None:
    @in_loop
    async def push_twice() -> None:
        service = Bare()
        async with bare(apple, service, stale) as transport:
            await transport.send(push_to(apple))
            await transport.send(push_to(apple))
            while len(service.open) > 1:
                await asyncio.sleep(0)
        assert service.made == 2

    push_twice()


@in_loop
async def test_a_renewed_connection_first_ends_what_is_in_flight(apple: Authority) -> None:
    waiting: list[tuple[BareConnection, int]] = []
    service = Bare(lambda connection, stream: waiting.append((connection, stream)))
    async with bare(apple, service, Limits(deadline=30, age=0)) as transport:
        early = asyncio.ensure_future(transport.send(push_to(apple)))
        while not waiting:
            await asyncio.sleep(0)
        service.answer = accept
        assert await transport.send(push_to(apple)) == Outcome(200)
        accept(*waiting[0])
        assert await early == Outcome(200)


def test_only_https_is_spoken(apple: Authority) -> None:
    with pytest.raises(ValueError, match="https"):
        Apns("http://127.0.0.1:1", context_of(apple))
