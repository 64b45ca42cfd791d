"""What Apple's service really answered is read, all of it.

The answers lie in a folder beside the checkout; where it is missing, these tests are skipped.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from abm.wire import records

ANSWERS = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "abm"

pytestmark = pytest.mark.skipif(
    not ANSWERS.is_dir(), reason="the folder of captured answers is missing"
)


def answer(name: str) -> Any:
    return json.loads((ANSWERS / f"{name}.json").read_bytes())


def test_the_account_is_read_with_its_limits_and_kept_whole():
    said = answer("account_response")

    account = records.read_account(said)

    assert (account.server_uuid, account.org_name) == (said["server_uuid"], said["org_name"])
    assert records.maximum(account.more, "/devices/sync") == 5000
    assert records.maximum(account.more, "/session") is None
    assert account.more == said


def test_a_page_of_devices_is_read_key_by_key():
    said = answer("device_response")

    page = records.read_page(said)

    [device], [expected] = page.devices, said["devices"]
    assert (page.cursor, page.more_to_follow) == (said["cursor"], False)
    assert page.fetched_until == datetime(2018, 9, 8, 17, 28, 18, tzinfo=UTC)
    for key, value in expected.items():
        read = getattr(device, key)
        assert read == (datetime.fromisoformat(value) if isinstance(read, datetime) else value)
    assert device.more == {}
    assert page.unreadable == ()


def test_a_page_without_devices_is_read():
    assert records.read_page(answer("empty_sync_response")).devices == ()


def test_unknown_keys_are_kept_and_missing_ones_are_fine():
    said = answer("device_response")
    said["devices"] = [{"serial_number": "A1", "imei": ["1"], "color": 7, "new_key": {"a": None}}]

    [device] = records.read_page(said).devices

    assert device.serial_number == "A1"
    assert device.color == ""
    assert device.more == {"imei": ["1"], "color": 7, "new_key": {"a": None}}
