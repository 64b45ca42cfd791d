"""A server on a real socket that speaks TLS with a certificate of our own making."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.utils import timezone

from enrollment.wire.authority import Authority, create_authority, issue_server_certificate
from mdm.health import readiness
from tests.machines import authority, key


@contextmanager
def answering(
    folder: Path,
    host: str = "localhost",
    *,
    by: Authority | None = None,
    at: datetime | None = None,
    status: int = 200,
    body: str | None = None,
) -> Iterator[int]:
    """The port of a server whose certificate is for `host`, issued `by` the authority of these
    tests, and which answers as this server's readiness does."""
    own = by or authority()
    leaf = issue_server_certificate(own, key().public_key(), [host], at or timezone.now())
    pem = key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / "server.pem"
    file.write_bytes(pem + leaf.public_bytes(Encoding.PEM))
    said = f"ready {readiness.who()}\n" if body is None else body

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with _Quiet(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Quiet(ThreadingHTTPServer):
    """A client that does not like the certificate hangs up, which is no news."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass


@cache
def stranger() -> Authority:
    """A CA that nobody trusts."""
    return create_authority("Strangers", timezone.now() - timedelta(days=1))


def ends(port: int) -> datetime:
    """When the certificate ends that is served there."""
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc
