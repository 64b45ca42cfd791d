"""What the dashboard's tests have, and servers, devices and runs to look at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from abm.models import AbmDevice, LedgerEntry, Server, SyncRun
from mdm.models import Device
from tests.mdm.dashboard.conftest import (
    _empty_cache,
    _static_files,
    admin,
    chromium,
    enroll,
    signed_in,
)

__all__ = ["_empty_cache", "_static_files", "admin", "chromium", "enroll", "signed_in"]

Connect = Callable[..., Server]
Listed = Callable[..., AbmDevice]
Ran = Callable[..., SyncRun]
Noted = Callable[..., LedgerEntry]


@pytest.fixture
def connect(db: None) -> Connect:
    """Makes a server that could sync."""

    def make(name: str = "Schools", **more: Any) -> Server:
        now = timezone.now()
        given = {
            "sealed_token": b"sealed",
            "token_expires_at": now + timedelta(days=200),
            "synced_at": now - timedelta(minutes=2),
            "list_finished_at": now - timedelta(days=1),
        }
        return Server.objects.create(name=name, **{**given, **more})

    return make


@pytest.fixture
def server(connect: Connect) -> Server:
    return connect()


@pytest.fixture
def listed(db: None) -> Listed:
    """Puts a serial number on a server's list, with a Device as the sync makes one."""

    def make(serial_number: str, server: Server, **more: Any) -> AbmDevice:
        device, _ = Device.objects.get_or_create(serial_number=serial_number)
        given = {"model": "iPhone 15", "device_family": "iPhone", "os": "iOS"}
        given["profile_status"] = "empty"
        return AbmDevice.objects.create(
            server=server,
            device=more.pop("device", device),
            serial_number=serial_number,
            added_at=more.pop("added_at", timezone.now()),
            **{**given, **more},
        )

    return make


@pytest.fixture
def ran(db: None) -> Ran:
    """Makes a run, which is over unless `state` says otherwise."""

    def make(server: Server, state: str = "Finished", **more: Any) -> SyncRun:
        now = timezone.now()
        over = state not in {"Waiting", "Running"}
        given = {
            "asked_by": "every 5 minutes",
            "started_at": None if state == "Waiting" else now - timedelta(seconds=4),
            "moved_at": None if state == "Waiting" else now,
            "finished_at": now if over else None,
        }
        return SyncRun.objects.create(server=server, state=state, **{**given, **more})

    return make


@pytest.fixture
def noted(db: None) -> Noted:
    """Writes a line of the ledger."""

    def make(server: Server, serial_number: str, decision: str, **more: Any) -> LedgerEntry:
        given = {"source": "feed", "op_type": "modified", "op_date": timezone.now()}
        return LedgerEntry.objects.create(
            server=server, serial_number=serial_number, decision=decision, **{**given, **more}
        )

    return make
