"""What each page about ABM costs in SQL statements is held, and does not grow with what it lists.

`WRITE_BASELINES=1` writes what was measured into queries.json.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from abm.models import AbmDevice, Disown, DisownDevice, RunLine, Server, SyncRun
from tests.abm.pages.conftest import Connect, Listed, Noted, Ran
from tests.mdm.dashboard.conftest import Enroll

BASELINE = Path(__file__).with_name("queries.json")
WRITE = bool(os.environ.get("WRITE_BASELINES"))


def _paths() -> dict[str, str]:
    device = AbmDevice.objects.order_by("pk")[0].device_id
    run = SyncRun.objects.order_by("pk")[0].pk
    disown = Disown.objects.order_by("pk")[0].pk
    return {
        "devices": "/abm/devices/",
        "devices, narrowed": "/abm/devices/?q=S01&enrolled=yes&family=iPhone&sort=-seen",
        "devices, removed": "/abm/devices/?listed=removed",
        "export": "/abm/devices/export.csv",
        "serial numbers": "/abm/devices/serial-numbers.csv",
        "import": "/abm/devices/import/",
        "disowns": "/abm/devices/disowns/?q=S",
        "disown": f"/abm/devices/disowns/{disown}/?q=S",
        "servers": "/abm/servers/",
        "sync card": "/abm/sync",
        "running": "/abm/running",
        "runs": "/abm/runs/",
        "runs, all": "/abm/runs/?show=all&state=Finished&sort=took",
        "run": f"/abm/runs/{run}/",
        "run, devices": f"/abm/runs/{run}/devices/?q=S",
        "device, ABM": f"/devices/{device}/abm/",
        "device, timeline": f"/devices/{device}/timeline/",
    }


def _measure(client: Client) -> dict[str, int]:
    counts = {}
    for name, path in _paths().items():
        with CaptureQueriesContext(connection) as statements:
            answer = client.get(path)
            if answer.streaming:
                b"".join(answer.streaming_content)
        assert answer.status_code == 200, name
        counts[name] = len(statements)
    return counts


@pytest.mark.django_db
def test_pages_cost_what_they_are_known_to_cost_however_much_they_list(
    signed_in: Client, connect: Connect, listed: Listed, enroll: Enroll, ran: Ran, noted: Noted
) -> None:
    def populate(serials: list[str]) -> None:
        server: Server = connect(f"Server {serials[0]}")
        run = ran(server, added=1)
        for serial in serials:
            enroll(serial)
            listed(serial, server)
            listed(f"X{serial}", server, removed_at=run.asked_at, current=False)
            ran(server, added=1)
            RunLine.objects.create(run=SyncRun.objects.order_by("pk")[0], sentence=serial)
            noted(server, serial, "added", run_id=SyncRun.objects.order_by("pk")[0].pk)
            noted(server, "S00", "stale")
            Disown.objects.create()
            for which in (Disown.objects.earliest, Disown.objects.latest):
                DisownDevice.objects.create(
                    disown=which("pk"),
                    server=Server.objects.earliest("pk"),
                    serial_number=f"{serial}-{which.__name__}",
                )

    populate(["S00", "S01"])
    few = _measure(signed_in)
    populate([f"S{number}" for number in range(10, 40)])
    many = _measure(signed_in)
    if WRITE:
        BASELINE.write_text(json.dumps(few, indent=2) + "\n")

    assert many == few
    assert few == json.loads(BASELINE.read_text())
