"""What load balancers ask, ahead of Django's middleware and for anybody: `/livez`, whether this
process lives, and `/readyz`, whether it can serve, which takes Postgres alone.

Redis is not asked: without it devices are served still. The answers say nothing that is secret.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import cache
from http import HTTPStatus
from typing import Any

from django.conf import settings

from mdm import endpoints, statements
from mdm.endpoints import DeviceRequest, DeviceResponse

LIVE_PATH, READY_PATH = "/livez", "/readyz"
READY = "ready"
_METHODS = ("GET", "HEAD")
_TEXT = "text/plain; charset=utf-8"


def register() -> None:
    endpoints.register(READY_PATH, ready, methods=_METHODS, anybody=True)


def ready(request: DeviceRequest) -> DeviceResponse:
    """Whether the database answers; where it does not, whoever serves this says 503."""
    statements.first("SELECT 1", {})
    return DeviceResponse(f"{READY} {who()}\n".encode(), _TEXT)


def live(start_response: Any) -> list[bytes]:
    """It is no endpoint: those wait for a turn, and with it for the database."""
    body = b"alive\n"
    headers = [("Content-Type", _TEXT), ("Content-Length", str(len(body)))]
    start_response(f"200 {HTTPStatus.OK.phrase}", headers)
    return [body]


@cache
def who() -> str:
    """Which server this is: the same in all its processes, and no secret."""
    key = settings.SECRET_KEY.encode()
    return hmac.new(key, b"which server this is", hashlib.sha256).hexdigest()[:16]
