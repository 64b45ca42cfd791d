"""What the dashboard's tests have, and profiles, groups and devices to look at."""

from __future__ import annotations

from tests.abm.pages.conftest import (
    _empty_cache,
    _static_files,
    admin,
    chromium,
    connect,
    enroll,
    listed,
    noted,
    ran,
    server,
    signed_in,
)

__all__ = [
    "_empty_cache",
    "_static_files",
    "admin",
    "chromium",
    "connect",
    "enroll",
    "listed",
    "noted",
    "ran",
    "server",
    "signed_in",
]
