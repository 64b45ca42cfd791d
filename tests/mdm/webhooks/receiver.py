"""A receiver of webhooks for tests, on a socket of this machine. It keeps what came, and answers as
told: `answers` are taken one by one, then it is 200 for ever.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Respond = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Came:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)

    def is_signed_with(self, secret: str) -> bool:
        """As a receiver finds out, written from the specification alone."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        stamp = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}."
        wanted = base64.b64encode(hmac.digest(key, stamp.encode() + self.body, hashlib.sha256))
        return f"v1,{wanted.decode()}" in self.headers["webhook-signature"].split(" ")


def status(code: int, body: bytes = b"", **headers: str) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def close(handler: BaseHTTPRequestHandler) -> None:
    """Hang up without a word."""
    handler.connection.close()


def wait_for(moment: threading.Event) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        moment.wait(30)
        status(200)(handler)

    return respond


def trickle(moment: threading.Event) -> Respond:
    """A head that never ends, a byte at a time, until the moment has come."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not moment.wait(0.02):
            handler.wfile.write(b"x")

    return respond


class Receiver:
    """Enter it to have it answer; it is gone afterwards."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.came: list[Came] = []
        self.answers: list[Respond] = []
        self.on_event: Callable[[], None] = lambda: None
        self.over = threading.Event()

    def __enter__(self) -> Receiver:
        self._server = ThreadingHTTPServer((self.host, 0), self._handler())
        self.port = self._server.server_port
        self.url = f"http://{self.host}:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.came.append(Came(self.path, headers, body))
                receiver.on_event()
                answer = receiver.answers.pop(0) if receiver.answers else status(200, b"thanks")
                with suppress(OSError):  # whoever asked may have hung up
                    answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
