"""The edge that devices reach: it is served ahead of Django's middleware (mdm/wsgi.py).

No sessions, CSRF, messages or templates; only the hygiene of the database connection and the
request signals are kept. Each endpoint gets a DeviceRequest and returns a DeviceResponse; whatever
goes wrong becomes a clean 4xx or 503, never 401.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from django.core import signals
from django.db import InterfaceError, OperationalError, connection

from mdm import checkin, identity
from mdm.protocol.connect import is_checkin
from mdm.protocol.errors import ProtocolError
from mdm.refusals import Refused, refuse

log = structlog.get_logger(__name__)

# Results of commands and status reports can be large; nothing that a device sends is larger.
MAX_BODY = 16 * 1024 * 1024

_REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    410: "Gone",
    411: "Length Required",
    413: "Content Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    environ: Mapping[str, Any]
    body: bytes

    @property
    def content_type(self) -> str:
        return str(self.environ.get("CONTENT_TYPE", ""))

    @property
    def address(self) -> str:
        return str(self.environ.get("REMOTE_ADDR", ""))


@dataclass(frozen=True, slots=True)
class DeviceResponse:
    body: bytes = b""
    content_type: str = "application/xml; charset=UTF-8"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = field(default=())


Handler = Callable[[DeviceRequest], DeviceResponse]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


@dataclass(frozen=True, slots=True)
class Endpoint:
    handler: Handler
    methods: frozenset[str]
    max_body: int


def register(
    path: str, handler: Handler, *, methods: Iterable[str] = ("PUT",), max_body: int = MAX_BODY
) -> None:
    """Serve `path` to devices by `handler`."""
    _endpoints[path] = Endpoint(handler, frozenset(methods), max_body)


def find(path: str) -> Endpoint | None:
    return _endpoints.get(path)


def handle_connect_with(handler: Handler) -> None:
    """Let `handler` answer the messages of the connect endpoint."""
    _connect.append(handler)


def serve(
    endpoint: Endpoint, environ: Mapping[str, Any], start_response: StartResponse
) -> list[bytes]:
    """Answer one request of a device, as a WSGI application does."""
    signals.request_started.send(sender=serve, environ=environ)
    # A dead connection is found by the statement that fails on it (see _answer): asking before
    # each request whether it lives would cost a statement.
    connection.health_check_done = True  # type: ignore[attr-defined]
    try:
        response = _answer(endpoint, environ)
    finally:
        signals.request_finished.send(sender=serve)
    reason = _REASONS.get(response.status, "")
    headers = [("Content-Length", str(len(response.body))), *response.headers]
    if response.body:
        headers.append(("Content-Type", response.content_type))
    start_response(f"{response.status} {reason}", headers)
    return [response.body] if response.body else []


def device_message(request: DeviceRequest) -> DeviceResponse:
    """Check-in and connect messages, told apart by Content-Type or, without it, by their body."""
    if is_checkin(request.content_type, request.body):
        signer = identity.speaker(request.environ, request.body)
        answer = checkin.handle(request.body, signer)
        return DeviceResponse(answer.body, answer.content_type, answer.status)
    return _connect[-1](request)


_endpoints: dict[str, Endpoint] = {}
_connect: list[Handler] = []


def _answer(endpoint: Endpoint, environ: Mapping[str, Any]) -> DeviceResponse:
    address = str(environ.get("REMOTE_ADDR", ""))
    try:
        if environ["REQUEST_METHOD"] not in endpoint.methods:
            allowed = ", ".join(sorted(endpoint.methods))
            return DeviceResponse(status=405, headers=(("Allow", allowed),))
        request = DeviceRequest(environ, _read(environ, endpoint.max_body))
        return _twice_at_most(endpoint.handler, request)
    except Refused as refusal:
        refuse(refusal, address=address)
        return DeviceResponse(status=refusal.status)
    except ProtocolError as error:
        refuse(Refused(error.reason, str(error), status=400), address=address)
        return DeviceResponse(status=400)
    except (OperationalError, InterfaceError):
        log.error("database_unavailable", exc_info=True)
        return DeviceResponse(status=503, headers=(("Retry-After", "5"),))
    except Exception:
        log.exception("device_request_failed", path=environ.get("PATH_INFO"))
        return DeviceResponse(status=500)


def _twice_at_most(handler: Handler, request: DeviceRequest) -> DeviceResponse:
    """Run `handler`; where the connection to Postgres was dead, once more on a new one.

    Every device message may be handled twice: check-ins are idempotent and a reply counts once.
    """
    try:
        return handler(request)
    except (OperationalError, InterfaceError):
        if connection.in_atomic_block:
            raise
        connection.close()
        return handler(request)


def _read(environ: Mapping[str, Any], limit: int) -> bytes:
    declared = _declared_length(str(environ.get("CONTENT_LENGTH") or ""))
    if declared is not None and declared > limit:
        raise _too_large(limit)
    body: bytes = environ["wsgi.input"].read(limit + 1 if declared is None else declared)
    if len(body) > limit:
        raise _too_large(limit)
    if declared is not None and len(body) < declared:
        raise Refused("body_cut_short", "The body ended early.", status=400)
    return body


def _declared_length(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refused("bad_length", "The Content-Length is no length.", status=400)
    return int(text)


def _too_large(limit: int) -> Refused:
    return Refused("body_too_large", f"The body is over {limit} bytes.", status=413)


register("/mdm/checkin", device_message)
register("/mdm/connect", device_message)
