"""What tests with bad input share: a device with something to lose, and how to see what it lost."""

from __future__ import annotations

import uuid

from django.db import connection
from hypothesis import HealthCheck, settings

from commands import queue
from mdm.audit.actor import Actor
from tests import machines
from tests.machines import CHECKIN, CONNECT, Answered, Machine

EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
ENDPOINTS = {"/mdm/checkin": CHECKIN, "/mdm/connect": CONNECT}


def enrolled_mac() -> tuple[Machine, dict[str, dict[str, object]]]:
    """A device with a user and a command to answer, and by endpoint a message of it that would
    change something.
    """
    mac = Machine.enrolled(product_name="Mac15,3")
    mac.token_update(UserID=str(uuid.uuid4()), UserShortName="ada")
    made = queue.enqueue(
        Actor.system("test"),
        request_type="DeviceInformation",
        parameters={},
        enrollments=[mac.enrollment.pk],
    )
    mac.idle()
    check_out = {"MessageType": "CheckOut", "Topic": mac.topic, **mac.ids}
    answer = {"Status": "Acknowledged", "CommandUUID": str(made.command.uuid), **mac.ids}
    return mac, {"/mdm/checkin": check_out, "/mdm/connect": answer}


def everything() -> dict[str, str]:
    """A fingerprint of each table; refusals and cases for an admin, with the event that tells of
    one, are what may change.
    """
    tables = set(connection.introspection.table_names()) - {"mdm_refusal", "mdm_quarantine"}
    less = {"webhooks_event": "WHERE kind <> 'quarantine.opened'"}
    parts = [
        f"SELECT '{name}', md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {name} t"
        f" {less.get(name, '')}"
        for name in sorted(tables)
    ]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts))
        return dict(cursor.fetchall())


def send(path: str, body: bytes, signature: str | None = None, **environ: object) -> Answered:
    headers = {} if signature is None else {"HTTP_MDM_SIGNATURE": signature}
    return machines.put(path, body, ENDPOINTS.get(path, ""), **headers, **environ)


def is_clean(answered: Answered) -> bool:
    """A 4xx that means no more to a device than that this message is not wanted."""
    return 400 <= answered.status < 500 and answered.status != 401 and answered.body == b""
