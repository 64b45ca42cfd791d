"""What tests about profiles do again and again, in the words of the product."""

from __future__ import annotations

from typing import Any

from abm import assignment, sync
from abm.models import AbmDevice, Server, SyncRun
from mdm.audit.actor import Actor
from profiles import editing, following
from profiles.models import Profile
from profiles.wire.content import new_content
from tests.abm.patience import PATIENT

ADMIN = Actor.system("tests")


def make_profile(name: str = "Office", **content: Any) -> Profile:
    return editing.create(ADMIN, name, {**new_content(), **content})


def synced(server: Server) -> SyncRun:
    """A sync as the worker runs it, with all that follows from it."""
    run = sync.sync(server.pk, PATIENT)
    assert run is not None
    assert run.state == SyncRun.State.FINISHED, run.sentence
    told(server)
    return run


def told(server: Server) -> None:
    """What is news is followed, and Apple hears of it."""
    following.follow()
    assignment.carry_out(server.pk, PATIENT)
    server.refresh_from_db()


def wanted(serial: str) -> str:
    """The name of the version that a device is to have, as it is defined; "" for none."""
    listed = AbmDevice.objects.get(serial_number=serial, current=True, removed_at=None)
    definition = listed.wish.definition
    return definition.name if definition else ""
