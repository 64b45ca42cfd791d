"""The edge that devices reach: it is served ahead of Django's middleware (mdm/wsgi.py).

No sessions, CSRF, messages or templates; only the hygiene of the database connection and the
request signals are kept. Each endpoint gets a DeviceRequest and returns a DeviceResponse; whatever
goes wrong becomes a clean 4xx or 503, never 401.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import structlog
from django.conf import settings
from django.core import signals
from django.db import InterfaceError, OperationalError, connection

from mdm import bodies, checkin, identity
from mdm.bodies import MAX_BODY
from mdm.env import Serves
from mdm.protocol.connect import is_checkin
from mdm.protocol.errors import ProtocolError
from mdm.refusals import Refused, refuse
from mdm.turns import Turn

log = structlog.get_logger(__name__)

_REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
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
    # Not for devices alone.
    anybody: bool = False


def register(
    path: str,
    handler: Handler,
    *,
    methods: Iterable[str] = ("PUT",),
    max_body: int = MAX_BODY,
    anybody: bool = False,
) -> None:
    """Serve `path` to devices by `handler`; one that ends with a slash stands for all paths with
    one more segment, such as a secret."""
    _endpoints[path] = Endpoint(handler, frozenset(methods), max_body, anybody)


def find(path: str) -> Endpoint | None:
    return _endpoints.get(path) or _endpoints.get(f"{path.rpartition('/')[0]}/")


def show_beside(prefix: str) -> None:
    """Let people see the pages below `prefix` where devices come too: they stand at the public
    address, because someone opens them on the device.
    """
    _beside.append(prefix)


def is_served(path: str, endpoint: Endpoint | None) -> bool:
    """Whether this process has something at `path` for its visitors (GUARD_SERVES)."""
    serves = settings.ENV.serves
    if serves is Serves.ALL or (endpoint is not None and endpoint.anybody):
        return True
    if serves is Serves.PEOPLE:
        return endpoint is None
    return endpoint is not None or path.startswith(tuple(_beside))


def handle_connect_with(handler: Handler) -> None:
    """Let `handler` answer the messages of the connect endpoint."""
    _connect.append(handler)


def serve(
    endpoint: Endpoint, environ: Mapping[str, Any], start_response: StartResponse
) -> list[bytes]:
    """Answer one request of a device, as a WSGI application does."""
    if environ["REQUEST_METHOD"] in endpoint.methods:
        body = _received(environ, endpoint.max_body)
        with Turn():
            response = _answered(endpoint.handler, environ, body)
    else:
        allowed = ", ".join(sorted(endpoint.methods))
        response = DeviceResponse(status=405, headers=(("Allow", allowed),))
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
_beside: list[str] = ["/static/"]
_connect: list[Handler] = []


def _received(environ: Mapping[str, Any], limit: int) -> IO[bytes] | Refused:
    """The body, or why there is none: counting a refusal needs Postgres, and so a turn."""
    try:
        return bodies.read(environ, limit)
    except Refused as refusal:
        return refusal


def _answered(
    handler: Handler, environ: Mapping[str, Any], body: IO[bytes] | Refused
) -> DeviceResponse:
    signals.request_started.send(sender=serve, environ=environ)
    # A dead connection is found by the statement that fails on it (see _answer): asking before
    # each request whether it lives would cost a statement.
    connection.health_check_done = True  # type: ignore[attr-defined]
    try:
        return _answer(handler, environ, body)
    finally:
        signals.request_finished.send(sender=serve)


def _answer(
    handler: Handler, environ: Mapping[str, Any], body: IO[bytes] | Refused
) -> DeviceResponse:
    address = str(environ.get("REMOTE_ADDR", ""))
    try:
        if isinstance(body, Refused):
            raise body
        with body:
            request = DeviceRequest(environ, body.read())
        return _twice_at_most(handler, request)
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


register("/mdm/checkin", device_message)
register("/mdm/connect", device_message)
