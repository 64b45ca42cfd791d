"""The devices' HTTP client on real TLS sockets: connections kept, lost and replaced."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from lab.authority import Authority
from lab.errors import ServerRefused, ServerUnreachable
from lab.http import MAX_BODY, Web
from tests.lab.loop import in_loop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Server:
    """Answers each request with the next of `answers`, b"" meaning: hang up instead."""

    url: str
    answers: list[bytes]
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def serving(apple: Authority, *answers: bytes) -> AsyncIterator[tuple[Server, Web]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(apple.apns.certificate, apple.apns.key)
    state = Server("", list(answers))

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        try:
            while state.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]
                state.requests.append(head + await reader.readexactly(int(length or 0)))
                answer = state.answers.pop(0)
                if not answer:
                    break
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0, ssl=context)
    state.url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    web = Web(apple.root.certificate.read_bytes(), timeout=20)
    try:
        yield state, web
    finally:
        await web.close()
        server.close()


@in_loop
async def test_one_connection_carries_many_requests(apple: Authority) -> None:
    async with serving(apple, OK, OK, OK) as (server, web):
        for number in range(3):
            answer = await web.ask("PUT", f"{server.url}/mdm?a=b", b"body %d" % number)
            assert (answer.status, answer.body) == (200, b"ok")
        assert server.connections == 1
        assert server.requests[2].startswith(b"PUT /mdm?a=b HTTP/1.1\r\n")
        assert server.requests[2].endswith(b"\r\n\r\nbody 2")


@in_loop
async def test_a_kept_connection_that_the_server_dropped_costs_nobody_a_request(
    apple: Authority,
) -> None:
    async with serving(apple, OK, b"", OK) as (server, web):
        assert (await web.ask("GET", server.url)).status == 200
        assert (await web.ask("PUT", server.url, b"again")).status == 200
        assert server.connections == 2


@in_loop
async def test_a_fresh_connection_that_is_dropped_is_an_error(apple: Authority) -> None:
    async with serving(apple, b"") as (server, web):
        with pytest.raises(ServerUnreachable):
            await web.ask("PUT", server.url, b"body")
        assert len(server.requests) == 1


@in_loop
async def test_an_answer_cut_short_is_an_error_and_not_asked_for_twice(apple: Authority) -> None:
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    async with serving(apple, OK, short, b"") as (server, web):
        await web.ask("GET", server.url)
        server.answers.pop()
        with pytest.raises(ServerUnreachable):
            await web.ask("GET", server.url)
        assert len(server.requests) == 2


@in_loop
async def test_chunks_and_answers_up_to_the_end_of_the_connection_are_read(
    apple: Authority,
) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    to_the_end = b"HTTP/1.1 200 OK\r\n\r\nto the end"
    async with serving(apple, chunked, to_the_end) as (server, web):
        assert (await web.ask("GET", server.url)).body == b"abc"
        assert (await web.ask("GET", server.url)).body == b"to the end"


@in_loop
async def test_a_get_follows_redirects_and_a_put_does_not(apple: Authority) -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"
    async with serving(apple, moved, OK, moved) as (server, web):
        assert (await web.ask("GET", f"{server.url}/here")).url == f"{server.url}/there"
        assert (await web.ask("PUT", server.url, b"body")).status == 302


@in_loop
async def test_redirects_without_end_are_an_error(apple: Authority) -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    async with serving(apple, *[moved] * 20) as (server, web):
        with pytest.raises(ServerUnreachable, match="too many redirects"):
            await web.ask("GET", server.url)


@pytest.mark.parametrize(
    "url", [lambda u: u.replace("https", "http"), lambda _: "https://", lambda _: "nonsense"]
)
@in_loop
async def test_what_is_not_https_is_not_spoken(apple: Authority, url: Callable[[str], str]) -> None:
    async with serving(apple, OK) as (server, web):
        with pytest.raises(ServerUnreachable, match="TLS only"):
            await web.ask("GET", url(server.url))
        assert server.connections == 0


@in_loop
async def test_an_answer_without_end_is_cut_off(apple: Authority) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY * 2)
    async with serving(apple, head + b"x" * (MAX_BODY + 100_000)) as (server, web):
        with pytest.raises(ServerUnreachable, match="too large"):
            await web.ask("GET", server.url)


@in_loop
async def test_a_status_that_is_no_success_is_told_with_its_body(apple: Authority) -> None:
    refused = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"
    async with serving(apple, refused) as (server, web):
        with pytest.raises(ServerRefused) as caught:
            await web.fetch("GET", server.url)
        assert (caught.value.status, caught.value.body) == (404, b"gone")


@in_loop
async def test_an_error_names_the_address_without_its_query(apple: Authority) -> None:
    async with serving(apple, b"") as (server, web):
        with pytest.raises(ServerUnreachable) as caught:
            await web.ask("GET", f"{server.url}/page?secret=1")
        assert "secret" not in str(caught.value)
