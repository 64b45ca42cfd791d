"""Telling Apple which profile each device gets, in steps: profiles, wishes, a sync, time."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from django.db.models import F

from abm import assignment, sync
from abm.models import AbmDevice, Definition, Server, SyncRun, Wish
from mdm import secrets
from tests.abm.apple import Apple
from tests.abm.patience import PATIENT

ASSIGNED = "200 /profile/devices"
READ_BACK = "200 /devices"


def define(server: Server, reference: int, **document: Any) -> Definition:
    """A profile that the app above wants defined."""
    said = {"profile_name": f"P{reference}", "url": "https://mdm.example.com/x", **document}
    return Definition.objects.create(
        server=server,
        reference=reference,
        name=f"P{reference}",
        sealed_document=secrets.seal(assignment.PURPOSE, json.dumps(said).encode()),
    )


def wish(server: Server, serial: str, definition: Definition | None) -> Wish:
    """As the app above writes a wish: one that changes forgets what Apple said to the last."""
    row = AbmDevice.objects.get(server=server, serial_number=serial)
    given = {"server": server, "definition": definition, "tries": 0, "tried_at": None}
    made, _ = Wish.objects.update_or_create(
        listed=row, defaults={**given, "answer": "", "retry_at": None}
    )
    return made


def synced(server: Server) -> None:
    run = sync.sync(server.pk, PATIENT)
    assert run is not None
    assert run.state == SyncRun.State.FINISHED, run.sentence
    # A wish goes with what left the list.
    Wish.objects.filter(listed__removed_at__isnull=False).delete()


def told(server: Server) -> None:
    assignment.carry_out(server.pk, PATIENT)


def hours_pass(hours: float) -> None:
    """Everything that was noted is so much older."""
    gone = timedelta(hours=hours)
    Wish.objects.update(retry_at=F("retry_at") - gone, tried_at=F("tried_at") - gone)
    Definition.objects.update(retry_at=F("retry_at") - gone, defined_at=F("defined_at") - gone)
    Server.objects.update(retry_at=F("retry_at") - gone)


def start(played: Apple, count: int = 0) -> tuple[Server, list[str]]:
    """A server of ours that lists `count` devices."""
    server, _ = played.link("Office")
    serials = played.portal.buy(count) if count else []
    played.portal.assign(serials, "Office")
    synced(server)
    return server, serials
