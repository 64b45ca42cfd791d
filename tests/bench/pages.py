"""What each page costs with full tables: `python -m tests.bench.pages DEVICES FINISHED`, which the
phase `pages` starts. Writes a line of JSON for each page: the best and the median of its times in
this process, without a socket, and its SQL statements.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import django

if __name__ == "__main__":
    django.setup()

from django.db import connection, reset_queries
from django.test import Client
from django.utils import timezone

from mdm.audit.actor import Actor

ADMIN = Actor.system("bench")
TIMES = 7
_PAGES = Path(__file__).parents[1] / "mdm" / "dashboard" / "roles.json"
# More ways to look at the long lists: narrowed, sorted, far down.
_LOOKS = (
    "/devices/?q=X1",
    "/devices/?state=managed&platform=iOS",
    "/devices/?sort=-seen",
    "/devices/?page=900",
    "/abm/devices/?q=X1",
    "/abm/devices/?page=900",
    "/commands/?page=3",
    "/search/?q=X1A",
    "/settings/audit/?page=900",
)


def measure(devices: int, finished: int) -> Iterator[dict[str, Any]]:
    """What a process of its own measured."""
    asked = [sys.executable, "-m", "tests.bench.pages", str(devices), str(finished)]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for each in process.stdout:
            yield json.loads(each)
    if process.returncode != 0:
        raise RuntimeError("Looking at the pages ended with an error; it stands above.")


def line(measured: dict[str, Any]) -> str:
    return (
        f"  {measured['page']:46} {measured['best_ms']:6.0f} ms   median"
        f" {measured['median_ms']:6.0f}   {measured['statements']:3} statements,"
        f" {measured['sql_ms']:5.0f} ms   {measured['kilobytes']:5.0f} kB"
    )


def _measure_here(devices: int, finished: int) -> None:
    # Not every page of the list has something to show here.
    logging.disable(logging.WARNING)
    from mdm.accounts.models import Grant, User
    from mdm.accounts.rights import Role

    admin = User.objects.create_user("bench", "bench@example.com")
    for role in Role:
        Grant.objects.create(user=admin, role=role, given_by="bench")
    real = {**_fill(devices, finished), "/settings/people/": str(admin.pk)}
    client = Client(headers={"host": "localhost"})
    client.force_login(admin)
    for path in _paths(real):
        _time(client, path)


def _paths(real: dict[str, str]) -> Iterator[str]:
    """Every page, with the ids of things that are there, and the long lists in other ways."""
    for known in json.loads(_PAGES.read_text()):
        method, path = known.split(" ")
        if method != "GET" or ".csv" in path or ".pem" in path:
            continue
        for prefix, found in real.items():
            if path.startswith(prefix) and path[len(prefix) :][:1].isdigit():
                path = prefix + found + path[path.index("/", len(prefix)) :]
                break
        yield path
    device = real["/devices/"]
    yield from (f"/devices/{device}/{tab}/" for tab in ("commands", "inventory", "identity", "abm"))
    yield from _LOOKS


def _time(client: Client, path: str) -> None:
    """Look at a page; one that has nothing to show here is left out."""
    connection.force_debug_cursor = False
    if client.get(path).status_code != 200:
        return
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        answer = client.get(path)
        size = len(answer.getvalue())
        times.append(1000 * (time.perf_counter() - began))
    connection.force_debug_cursor = True
    reset_queries()
    client.get(path)
    said = {
        "page": path,
        "best_ms": min(times),
        "median_ms": median(times),
        "statements": len(connection.queries),
        "sql_ms": 1000 * sum(float(query["time"]) for query in connection.queries),
        "kilobytes": size / 1000,
    }
    print(json.dumps(said), flush=True)


# --- What there is to look at -------------------------------------------------------------------


def _fill(devices: int, finished: int) -> dict[str, str]:
    """Full tables; for the beginning of an address the id of something there."""
    from abm.models import Server, SyncRun
    from commands import queue, tally
    from commands.models import Command, QueueEntry, Tally
    from enrollment import links
    from mdm import figures
    from mdm.health import readings
    from mdm.health.models import Reading
    from mdm.models import Device, Group
    from profiles import editing, following, giving, groups
    from profiles.wire.content import new_content
    from tests.bench import fleet

    fleet.push_certificate()
    enrollments = fleet.crowd(devices)
    fleet.history(enrollments[: devices // 10], finished)
    server = Server.objects.create(name="Bench")
    with connection.cursor() as cursor:
        for statement in _ROWS:
            cursor.execute(statement, {"server": server.pk, "count": devices})
    for number in range(5):
        profile = editing.create(ADMIN, f"Profile {number}", new_content())
    giving.set_default(ADMIN, "iOS", None, profile)
    half = {"match": "all", "conditions": [{"field": "color", "op": "is", "value": "BLACK"}]}
    groups.create_smart(ADMIN, "Black", half)
    following.follow()
    sent = queue.enqueue(
        ADMIN, request_type="DeviceInformation", parameters={}, enrollments=enrollments
    )
    link = links.create(ADMIN, name="Bench", max_uses=30)
    with connection.cursor() as cursor:
        cursor.execute(_HALF_DONE, [sent.command.pk])
        # No fleet changes all its rows at once, as was done here: the dead ones would stay.
        cursor.execute("VACUUM FULL ANALYZE mdm_device, mdm_enrollment")
        cursor.execute("VACUUM ANALYZE")
    # What workers do meanwhile.
    with connection.cursor() as cursor:
        cursor.execute(_TALLIES)
    Tally.objects.update(due_at=timezone.now())
    tally.count_due()
    Reading.objects.filter(name=figures.NAME).delete()
    readings.take_due()
    device = Device.objects.filter(enrollment=enrollments[0]).get()
    return {
        "/abm/assignment/": str(server.pk),
        "/abm/runs/": str(SyncRun.objects.latest("pk").pk),
        "/abm/servers/": str(server.pk),
        "/ade-profiles/version-": str(profile.current_id),
        "/ade-profiles/": str(profile.pk),
        "/commands/entries/": str(QueueEntry.objects.latest("pk").pk),
        "/commands/": str(Command.objects.get(pk=sent.command.pk).uuid),
        "/devices/": str(device.pk),
        "/enrollment/links/": str(link.pk),
        "/groups/": str(Group.objects.get().pk),
    }


_ROWS = (
    "UPDATE mdm_device d SET enrollment_id = e.id FROM mdm_enrollment e WHERE e.device_id = d.id",
    """UPDATE mdm_enrollment SET last_seen_at = now() - random() * interval '20 days',
       state = CASE WHEN random() < 0.05 THEN 'CheckedOut' ELSE state END""",
    """INSERT INTO mdm_enrollmentperiod (enrollment_id, began_at, completed_at, ended_by)
       SELECT id, now(), now() - random() * interval '90 days', '' FROM mdm_enrollment""",
    """INSERT INTO abm_abmdevice (server_id, device_id, serial_number, model, color, device_family,
           os, profile_status, current, added_at)
       SELECT %(server)s, id, serial_number, 'IPHONE 17',
              CASE id %% 2 WHEN 0 THEN 'BLACK' ELSE 'SAGE' END, 'iPhone', 'iOS', 'empty', true,
              now() - random() * interval '90 days'
       FROM mdm_device""",
    """INSERT INTO abm_syncrun (server_id, state, asked_by, asked_at, started_at, finished_at,
                                "full")
       SELECT %(server)s, 'Finished', 'beat', at, at, at + interval '2 seconds', false
       FROM generate_series(now() - interval '30 days', now(), interval '5 minutes') at""",
    """INSERT INTO abm_ledgerentry (server_id, serial_number, run_id, page, source, op_type,
                                    decision)
       SELECT %(server)s, serial_number, (SELECT max(id) FROM abm_syncrun), 1, 'list', '', 'added'
       FROM mdm_device, generate_series(1, 5)""",
    """INSERT INTO audit_auditevent (at, actor_kind, actor_id, actor_name, address, request_id,
                                     action, subject_kind, subject_id)
       SELECT now() - n * interval '1 minute', 'person', '1', 'bench', '127.0.0.1', '',
              'command.send', 'command', n::text
       FROM generate_series(1, 2 * %(count)s) n""",
)
# The history was written without asking the queue.
_TALLIES = """
INSERT INTO commands_tally (command_id, states, unfinished, slowest, errors)
SELECT command_id, '{}', 0, '[]', '[]' FROM commands_queueentry
GROUP BY 1 HAVING count(*) > 1000 ON CONFLICT DO NOTHING"""
_HALF_DONE = """
UPDATE commands_queueentry
SET sent_at = now(),
    state = CASE WHEN enrollment_id %% 20 = 0 THEN 'Error' ELSE 'Acknowledged' END,
    finished_at = now() + random() * interval '1 hour'
WHERE command_id = %s AND enrollment_id %% 3 > 0"""


if __name__ == "__main__":
    _measure_here(int(sys.argv[1]), int(sys.argv[2]))
