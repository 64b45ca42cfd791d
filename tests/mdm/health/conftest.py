"""Apple on real sockets, devices and servers as rows: what other tests have."""

from tests.abm.conftest import script, server
from tests.abm.pages.conftest import connect, listed, ran
from tests.mdm.dashboard.conftest import (
    _empty_cache,
    _static_files,
    admin,
    chromium,
    enroll,
    signed_in,
)
from tests.mdm.push.conftest import apple, push_certificate, service, topic

__all__ = [
    "_empty_cache",
    "_static_files",
    "admin",
    "apple",
    "chromium",
    "connect",
    "enroll",
    "listed",
    "push_certificate",
    "ran",
    "script",
    "server",
    "service",
    "signed_in",
    "topic",
]
