"""The real WSGI application behind a socket, for clients outside this process."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from django.db import connection

from mdm.wsgi import application


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(capabilities: bytes | None = None) -> Iterator[str]:
    """The application on a port of its own; gives its base URL.

    `capabilities` takes the place of what the server says to GetCACaps: some clients read that
    wrongly, and are told what makes them try the algorithm that a test is about.
    """

    def serve(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if capabilities is not None and "GetCACaps" in environ["QUERY_STRING"]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [capabilities]
        if not environ.get("CONTENT_LENGTH"):
            # Unlike the server that we run, this one lets a reader wait for a body for ever.
            environ["wsgi.input"] = io.BytesIO()
        # This thread's own connection, which goes with it.
        connection.ensure_connection()
        try:
            return [b"".join(application(environ, start_response))]
        finally:
            connection.close()

    server: WSGIServer = make_server("127.0.0.1", 0, serve, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
