"""Talking with Apple as one of our servers: one conversation per server at a time, by an advisory
lock of Postgres, and the session token passed on from one conversation to the next.

No transaction is open while Apple is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.cache import cache
from django.db import connection

from abm.client import Client, Credentials, Patience
from abm.models import Server
from abm.wire.server_token import ServerToken
from mdm import secrets

_LOCK = 0x41424D
# Apple forgets a session that is not used for about three minutes.
_SESSION_SECONDS = 150

Pause = Callable[[float, str], None]


class Busy(Exception):
    """Somebody else talks with Apple as this server."""


@contextmanager
def alone(server_id: int) -> Iterator[None]:
    """Hold the server's lock. Raises Busy at once where another process holds it; that process's
    end, however it comes, gives it back.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCK, server_id])
        [taken] = cursor.fetchone() or [False]
    if not taken:
        raise Busy
    try:
        yield
    finally:
        _give_back(server_id)


def taken(server_id: int) -> bool:
    """Whether a conversation is under way."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = %s"
            " AND objid = %s AND objsubid = 2 AND granted AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database()))",
            [_LOCK, server_id],
        )
        [held] = cursor.fetchone() or [False]
    return bool(held)


@contextmanager
def with_apple(server: Server, patience: Patience) -> Iterator[Client]:
    """A client that goes on with the server's last session. Call it inside `alone`."""
    token = token_of(server)
    key = _session_key(token)
    kept = cache.get(key)
    session = secrets.unseal("abm_session", kept).decode() if kept else ""
    with client_for(token, patience, session) as client:
        try:
            yield client
        finally:
            if client.session:
                sealed = secrets.seal("abm_session", client.session.encode())
                cache.set(key, sealed, _SESSION_SECONDS)
            else:
                cache.delete(key)


def client_for(token: ServerToken, patience: Patience, session: str = "") -> Client:
    """A client that speaks for `token`."""
    credentials = Credentials(
        token.consumer_key, token.consumer_secret, token.access_token, token.access_secret
    )
    return Client(settings.ENV.dep_url, credentials, session=session, patience=patience)


def token_of(server: Server) -> ServerToken:
    """The token in use. Raises Unsealable."""
    if server.sealed_token is None:
        raise secrets.Unsealable(f"{server} has no server token")
    return ServerToken.from_json(secrets.unseal("server_token", server.sealed_token))


def _session_key(token: ServerToken) -> str:
    return f"abm:session:{hashlib.sha256(token.to_json()).hexdigest()[:32]}"


def _give_back(server_id: int) -> None:
    if connection.connection is None or connection.connection.closed:
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCK, server_id])
