"""A server of ours that has a token already, without the exchange, which takes its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

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
