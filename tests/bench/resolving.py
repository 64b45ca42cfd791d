"""Who gets which profile, for many devices at once: `python -m tests.bench.resolving COUNT`, which
the phase `resolve` starts. Writes a line of JSON for each thing it measured. Apple is not told.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django

if __name__ == "__main__":
    django.setup()

from django.db import connection

from mdm.audit.actor import Actor

ADMIN = Actor.system("bench")
_TABLES = (
    "abm_server, abm_abmdevice, abm_ledgerentry, mdm_device, mdm_group, profiles_profile,"
    " profiles_version, profiles_deviceprofile, profiles_news"
)
_DEVICES = """
INSERT INTO mdm_device (serial_number, platform, udid, device_name, product_name, model, model_name,
                        os_version, build_version, imei, meid)
SELECT 'BENCH' || lpad(n::text, 7, '0'), 'iOS', '', '', '', '', 'iPhone', '26.1', '', '', ''
FROM generate_series(1, %s) n"""
_LISTED = """
INSERT INTO abm_abmdevice (server_id, device_id, serial_number, model, description, color,
                           asset_tag, device_family, os, profile_status, profile_uuid,
                           device_assigned_by, current, added_at, more, doubtful, list_number)
SELECT %s, d.id, d.serial_number, 'IPHONE 17', '',
       CASE d.id %% 2 WHEN 0 THEN 'BLACK' ELSE 'SAGE' END, '', 'iPhone', 'iOS', 'empty', '', '',
       true, now(), '{}', false, 0
FROM mdm_device d"""


def measure(devices: int) -> Iterator[dict[str, Any]]:
    """What a process of its own measured."""
    asked = [sys.executable, "-m", "tests.bench.resolving", str(devices)]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode != 0:
        raise RuntimeError("Resolving ended with an error; it stands above.")


def line(measured: dict[str, Any]) -> str:
    return (
        f"  {measured['name']:42} {measured['seconds']:8.2f} s   {measured['devices']:,} devices"
        f"   {measured['memory_before']:.0f} MB, peak {measured['memory_peak']:.0f} MB"
    )


def _measure_here(devices: int) -> None:
    from abm import assignment
    from abm.models import Server
    from profiles import editing, following, giving, groups
    from profiles.wire.content import new_content

    # Nobody is there to tell Apple.
    assignment.publish = lambda server_id: None
    following._publish = lambda: None
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {_TABLES} CASCADE")
        server = Server.objects.create(name="Bench")
        cursor.execute(_DEVICES, [devices])
        cursor.execute(_LISTED, [server.pk])
        cursor.execute("ANALYZE")
    office = editing.create(ADMIN, "Office", new_content())
    kiosk = editing.create(ADMIN, "Kiosk", new_content())

    def follow(expected: int) -> Callable[[], None]:
        def followed() -> None:
            changed = sum(following.follow().values())
            assert changed == expected, (changed, expected)

        return followed

    giving.set_default(ADMIN, "iOS", None, office)
    _time("a first default", devices, follow(devices))
    giving.set_default(ADMIN, "iOS", None, kiosk)
    _time("a change of default", devices, follow(devices))
    editing.apply(ADMIN, editing.draft(ADMIN, kiosk, {**new_content(), "department": "IT"}))
    _time("a new version", devices, follow(devices))
    black = {"match": "all", "conditions": [{"field": "color", "op": "is", "value": "BLACK"}]}
    _time("a smart group of half of them", devices // 2, lambda: _make(groups, black))
    following.follow()
    giving.give_group(ADMIN, groups.Group.objects.get(), office)
    _time("a profile for that group", devices // 2, follow(devices // 2))
    following.tell_everything()
    _time("looking at all without a change", devices, follow(0))


def _make(groups: Any, rule: dict[str, Any]) -> None:
    groups.create_smart(ADMIN, "Black", rule)


def _time(name: str, devices: int, act: Callable[[], None]) -> None:
    memory, began = _memory("VmRSS"), time.monotonic()
    act()
    said = {
        "name": f"resolve: {name}",
        "devices": devices,
        "seconds": time.monotonic() - began,
        "memory_before": memory,
        "memory_peak": _memory("VmHWM"),
    }
    print(json.dumps(said), flush=True)


def _memory(line: str) -> float:
    for each in Path("/proc/self/status").read_text().splitlines():
        if each.startswith(line):
            return int(each.split()[1]) / 1024
    raise LookupError(line)


if __name__ == "__main__":
    _measure_here(int(sys.argv[1]))
