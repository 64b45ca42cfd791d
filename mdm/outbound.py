"""Requests to addresses that people type in: to the public internet alone, or to networks that the
environment names; short, small, and never to where an answer redirects.

A name is resolved once, all that it leads to is checked, and the connection goes to what was
checked: a name that leads elsewhere a moment later (rebinding) wins nothing.

OutboundError
├── NotThere   the address is not one that this server may speak to
└── Unreached  no answer came in time, or none that is one
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore
import httpx

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[..., Iterable[tuple[Any, ...]]]

SECONDS = 10.0
_LARGEST = 2_000

# What ipaddress calls global and is not, or leads on to an address within (6to4, 192.0.0.0/24), or
# is where a machine at Azure finds its host. All other unicast addresses of the internet are in
# 2000::/3 (RFC 4291), so NAT64 is not.
_PUBLIC_6 = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",
            "192.0.0.0/24",
            "192.88.99.0/24",
            "2002::/16",
            "2001::/23",
            "3fff::/20",
        ),
    )
)
_HOST = re.compile(rb"[a-z0-9.:_-]+")


class OutboundError(Exception):
    """Its message is a sentence for people."""


class NotThere(OutboundError):
    """This server does not speak to that address."""


class Unreached(OutboundError):
    """No answer came."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`said` is how the body begins, without characters that do something; anybody wrote it."""

    status: int
    said: str


def check(url: str, *, plain: bool, allowed: Sequence[Network]) -> str:
    """The address as it can be asked; `plain` lets http be. Raises NotThere with what to put right.

    Where a name leads is found out when it is asked.
    """
    parsed = _parsed(url, plain)
    if parsed.userinfo or parsed.fragment:
        raise NotThere("An address with a user, a password or a # cannot be asked.")
    try:
        literal = ipaddress.ip_address(parsed.host)
    except ValueError:
        return str(parsed)
    _check_address(literal, allowed)
    return str(parsed)


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    allowed: Sequence[Network],
    *,
    plain: bool,
    resolve: Resolve = socket.getaddrinfo,
    seconds: float = SECONDS,
) -> Answer:
    """Send `body` and read how the answer begins; `plain` lets http be. Raises NotThere and
    Unreached.
    """
    parsed = _parsed(url, plain)
    target = httpcore.URL(
        scheme=parsed.raw_scheme,
        host=parsed.raw_host,
        port=parsed.port,
        target=parsed.raw_path,
    )
    network = _Checked(allowed, resolve, time.monotonic() + seconds)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_context(), network_backend=network) as pool,
            pool.stream(
                "POST",
                target,
                headers=[("Host", parsed.netloc.decode("ascii")), *headers.items()],
                content=body,
            ) as answer,
        ):
            return Answer(answer.status, _beginning(answer))
    except (httpcore.TimeoutException, TimeoutError):
        raise Unreached(f"No answer within {seconds:.0f} seconds.") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise Unreached(f"The connection failed: {str(error)[:200]}") from None


def may_ask(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether this server may speak to it: it is public, or in a network that is allowed."""
    plain = _unmapped(address)
    if any(plain in network for network in allowed):
        return True
    if any(plain in network for network in _NOT_PUBLIC) or not plain.is_global:
        return False
    if isinstance(plain, ipaddress.IPv6Address):
        return plain in _PUBLIC_6
    return not plain.is_multicast and not plain.is_reserved


def _parsed(url: str, plain: bool) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
        # Read back from what is sent: not all that can be is a host (xn--).
        _ = parsed.host
    except (httpx.InvalidURL, ValueError):
        parsed = None
    port = parsed.port if parsed else None
    if parsed is None or (port is not None and not 0 < port < 65536):
        raise NotThere("This is no address. One begins with https:// and a host.")
    if parsed.host and not _HOST.fullmatch(parsed.raw_host):
        raise NotThere("The address has a host that cannot be.")
    if parsed.scheme not in ({"https", "http"} if plain else {"https"}) or not parsed.host:
        raise NotThere("Give a whole address that begins with https://")
    return parsed


class _Checked(httpcore.NetworkBackend):
    """Resolves, checks and connects in one go, all of it until `end`."""

    def __init__(self, allowed: Sequence[Network], resolve: Resolve, end: float) -> None:
        self._allowed, self._resolve, self._end = allowed, resolve, end
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        found = self._found(host, port)
        for address in found:
            _check_address(address, self._allowed)
        trouble: Exception = OSError(f"{host} leads nowhere")
        for address in found:
            try:
                stream = self._plain.connect_tcp(str(address), port, _left(self._end))
                return _Hurried(stream, self._end)
            except httpcore.ConnectError as error:
                trouble = error
        raise trouble

    def _found(self, host: str, port: int) -> list[Address]:
        try:
            rows = self._resolve(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise Unreached(f"There is no host {host[:100]}.") from None
        found = (ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in rows)
        return list(dict.fromkeys(found))


class _Hurried(httpcore.NetworkStream):
    """A stream that ends at `end`, however slowly the other side trickles."""

    def __init__(self, stream: httpcore.NetworkStream, end: float) -> None:
        self._stream, self._end = stream, end

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._end))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._end))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        inner = self._stream.start_tls(ssl_context, server_hostname, _left(self._end))
        return _Hurried(inner, self._end)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left


def _check_address(address: Address, allowed: Sequence[Network]) -> None:
    if not may_ask(address, allowed):
        raise NotThere(
            f"{address} is not on the public internet, so it is not asked. Whoever runs this server"
            " can allow its network with GUARD_WEBHOOK_NETWORKS."
        )


def _unmapped(address: Address) -> Address:
    """The IPv4 address inside of one written as IPv6."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _beginning(answer: httpcore.Response) -> str:
    body = b""
    for piece in answer.iter_stream():
        body += piece
        if len(body) >= _LARGEST:
            break
    text = body[:_LARGEST].decode("utf-8", "replace")
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:300]


@cache
def _context() -> ssl.SSLContext:
    """It trusts the CAs that the system does."""
    return ssl.create_default_context()
