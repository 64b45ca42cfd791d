"""A server of ours that has a token already, without the exchange, which takes its time; and one
that somebody talks with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from abm import conversation
from abm.models import Server
from abm.wire.server_token import ServerToken
from mdm import secrets

_WORDS = {"consumer_key": "CK_1", "consumer_secret": "CS_2", "access_secret": "AS_4"}


def connect(name: str = "Office", words: dict[str, str] | None = None, **more: Any) -> Server:
    """With a token that is good for a year, of these `words` if they matter."""
    expires = timezone.now() + timedelta(days=365)
    token = ServerToken(
        **(words or {**_WORDS, "access_token": f"AT_{name}"}),
        access_token_expiry=expires.astimezone(UTC),
    )
    return Server.objects.create(
        name=name,
        sealed_token=secrets.seal("server_token", token.to_json()),
        **{"token_expires_at": expires, "token_accepted_at": datetime.now(UTC), **more},
    )


@contextmanager
def somebody_talks(server_id: int) -> Iterator[None]:
    """Meanwhile another process has the conversation with Apple for this server."""
    other = connection.copy()
    key = [conversation._LOCK, server_id]
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, %s)", key)
        try:
            yield
        finally:
            # Not by closing: Postgres notices that only some time afterwards.
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)
    other.close()
