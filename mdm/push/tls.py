"""How we show ourselves to the push service: a TLS context that holds the push certificate."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def client_context(certificate: bytes, key: bytes, *, ca: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/2, the client certificate (PEM) with its key (PEM, unencrypted).

    `ca` is trusted instead of the system's authorities. Raises ssl.SSLError where certificate and
    key do not fit, OSError where `ca` cannot be read.
    """
    context = ssl.create_default_context(cafile=str(ca) if ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    with _as_file(certificate + b"\n" + key) as path:
        context.load_cert_chain(path)
    return context


@contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """OpenSSL takes a client certificate from a path only. The key never touches a disk where the
    system has files in memory."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            yield file.name
        return
    handle = os.memfd_create("push-certificate")
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(data)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)
