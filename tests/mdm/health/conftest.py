"""Apple on real sockets, devices and servers as rows: what other tests have."""

from tests.abm.conftest import script, server
from tests.abm.pages.conftest import connect, listed
from tests.mdm.dashboard.conftest import _empty_cache, enroll
from tests.mdm.push.conftest import apple, push_certificate, service, topic

__all__ = [
    "_empty_cache",
    "apple",
    "connect",
    "enroll",
    "listed",
    "push_certificate",
    "script",
    "server",
    "service",
    "topic",
]
