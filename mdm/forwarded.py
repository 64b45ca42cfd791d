"""Who is behind a proxy. What a request says of that counts only where the peer is one of
GUARD_TRUSTED_PROXIES; from anybody else it is taken away, so that nothing believes it later.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Networks = tuple[Network, ...]

# Where the peer's own address is kept once REMOTE_ADDR is the client's.
PEER = "guard.peer"
_FOR, _PROTO = "HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"
_HEADERS = (_FOR, _PROTO, "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT", "HTTP_FORWARDED")


def believe(environ: dict[str, Any], proxies: Networks) -> None:
    """Let REMOTE_ADDR be the client's address, and wsgi.url_scheme the client's scheme, where a
    trusted proxy says so. The address is the last one in X-Forwarded-For that is no trusted proxy:
    what stands before it, the client may have written.
    """
    said = {name: environ.pop(name) for name in _HEADERS if name in environ}
    peer = environ[PEER] = str(environ.get("REMOTE_ADDR", ""))
    if not said or not is_in(peer, proxies):
        return
    if said.get(_PROTO, "").rpartition(",")[2].strip().lower() == "https":
        environ["wsgi.url_scheme"] = "https"
    for text in reversed(said.get(_FOR, "").split(",")):
        address = _plain(text)
        if address is None:
            return
        environ["REMOTE_ADDR"] = address
        if not is_in(address, proxies):
            return


def peer(environ: Mapping[str, Any]) -> str:
    """The address that the connection comes from."""
    return str(environ.get(PEER) or environ.get("REMOTE_ADDR", ""))


@lru_cache(maxsize=1024)
def is_in(address: str, networks: Networks) -> bool:
    """Whether an address belongs to one of these networks; what is no address does not."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    # How a server that listens on IPv6 names its IPv4 peers.
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in network for network in networks)


def _plain(text: str) -> str | None:
    """An address as some proxies write it, with a port or in brackets; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
