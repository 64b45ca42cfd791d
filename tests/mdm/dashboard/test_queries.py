"""What each page costs in SQL statements is held, and does not grow with what it lists.

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
from django.utils import timezone

from commands import queue
from commands.models import Command, QueueEntry
from mdm import figures
from mdm.accounts.models import User
from mdm.accounts.rights import EVERYWHERE
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.models import Device, Identity
from mdm.webhooks import deliveries, subscriptions
from mdm.webhooks.models import Subscription
from mdm.webhooks.outbox import emit
from tests import steps
from tests.mdm.dashboard.conftest import Enroll

BASELINE = Path(__file__).with_name("queries.json")
WRITE = bool(os.environ.get("WRITE_BASELINES"))


def _paths() -> dict[str, str]:
    device = Device.objects.order_by("pk")[0]
    entry = QueueEntry.objects.order_by("pk")[0]
    job = Command.objects.order_by("pk")[0].uuid
    send = f"/commands/send/?enrollment={device.enrollment_id}"
    return {
        "overview": "/",
        "search": "/search/?q=S00",
        "search, by place": "/search/?q=00008030",
        "devices": "/devices/",
        "devices, narrowed": "/devices/?q=S&state=managed&platform=iOS&sort=-seen",
        "device": f"/devices/{device.pk}/",
        "device, commands": f"/devices/{device.pk}/commands/",
        "device, inventory": f"/devices/{device.pk}/inventory/",
        "device, identity": f"/devices/{device.pk}/identity/",
        "device, audit": f"/devices/{device.pk}/audit/",
        "device, live": f"/devices/{device.pk}/live/commands/?mark=old",
        "jobs": "/commands/",
        "job": f"/commands/{job}/",
        "entry": f"/commands/entries/{entry.pk}/",
        "running": "/commands/running",
        "work": "/work/",
        "choose a command": send,
        "command form": f"{send}&type=EraseDevice",
        "catalog": "/commands/catalog/",
        "links": "/enrollment/links/",
        "refused": "/enrollment/refused/",
        "quarantine": "/enrollment/quarantine/",
        "identities": "/enrollment/identities/?q=S0&sort=ends",
        "push certificate": "/settings/push-certificate/",
        "approvals": "/commands/approvals/",
        "people": "/settings/people/",
        "person": f"/settings/people/{User.objects.order_by('pk')[0].pk}/",
        "roles": "/settings/people/roles/",
        "invite": "/settings/people/invite/",
        "tokens": "/settings/tokens/",
        "webhooks": "/settings/webhooks/",
        "webhook": f"/settings/webhooks/{Subscription.objects.order_by('pk')[0].pk}/",
        "audit": "/settings/audit/",
        "health": "/settings/health/",
        "audit, narrowed": "/settings/audit/?q=admin&action=command.send&since=2026-01-01",
        "audit event": f"/settings/audit/{AuditEvent.objects.order_by('pk')[0].pk}/",
        "audit, refused": "/settings/audit/refused/",
    }


def _measure(client: Client) -> dict[str, int]:
    counts = {}
    for name, path in _paths().items():
        with CaptureQueriesContext(connection) as statements:
            answer = client.get(path)
        assert answer.status_code in {200, 302}, name
        counts[name] = len(statements)
    return counts


def _populate(enroll: Enroll, admin: User, serials: list[str]) -> None:
    devices = [enroll(serial) for serial in serials]
    for request_type in ("ProfileList", "EraseDevice"):
        queue.enqueue(
            Actor.person(admin),
            request_type=request_type,
            parameters={},
            enrollments=[device.enrollment_id for device in devices],
        )
    now = timezone.now()
    for device in devices:
        Identity.objects.create(
            sha256=device.udid.encode(), expires_at=now, enrollment=device.enrollment
        )
    for serial in serials:
        subscriptions.create(
            Actor.system("test"), name=serial, url="https://hook.example/", kinds=["device.*"]
        )
        emit("device.retired", "1", {"serial_number": serial, "udid": "", "name": ""})
    deliveries.spread()
    failed = QueueEntry.objects.filter(enrollment__device=devices[-1])
    failed.filter(command__request_type="ProfileList").update(state="Error")


@pytest.mark.django_db
def test_pages_cost_what_they_are_known_to_cost_however_much_they_list(
    signed_in: Client, admin: User, enroll: Enroll
) -> None:
    _populate(enroll, admin, ["S00", "S01"])
    few = _measure(signed_in)
    _populate(enroll, admin, [f"T{number:02}" for number in range(25)])
    many = _measure(signed_in)
    if WRITE:
        BASELINE.write_text(json.dumps(few, indent=2) + "\n")

    assert many == few
    assert few == json.loads(BASELINE.read_text())


@pytest.mark.django_db
def test_the_overview_reads_the_periods_of_the_last_days_alone(enroll: Enroll) -> None:
    device = enroll()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO mdm_enrollmentperiod (enrollment_id, began_at, completed_at, ended_by)
            SELECT %s, at, at, '' FROM (
                SELECT now() - n * interval '1 hour' AS at FROM generate_series(30000, 1, -1) AS n
            ) AS hours
            """,
            [device.enrollment_id],
        )
        cursor.execute("SELECT brin_summarize_new_values('period_completed')")
        cursor.execute("ANALYZE mdm_enrollmentperiod")

    with steps.plans("mdm_enrollmentperiod") as found:
        figures._completed(EVERYWHERE)

    assert "Bitmap Index Scan on period_completed" in "".join(found)
