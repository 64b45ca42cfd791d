"""What each page about profiles, groups and arrivals costs in SQL statements is held, and does not
grow with what it lists.

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

from abm.models import Assigning, LedgerEntry, Server
from enrollment.models import Arrival, RefusedArrival
from mdm.accounts.models import User
from mdm.models import Group
from profiles import editing, following, giving, groups
from profiles.models import Profile
from profiles.wire.content import new_content
from tests.abm.pages.conftest import Connect, Listed
from tests.profiles.steps import ADMIN, make_profile

BASELINE = Path(__file__).with_name("queries.json")
WRITE = bool(os.environ.get("WRITE_BASELINES"))


def _paths(server: Server) -> dict[str, str]:
    profile = Profile.objects.earliest("pk").pk
    group = Group.objects.earliest("rank").pk
    return {
        "profiles": "/ade-profiles/?q=P",
        "profile": f"/ade-profiles/{profile}/",
        "edit": f"/ade-profiles/{profile}/edit/",
        "draft": f"/ade-profiles/{profile}/versions/2/",
        "defaults": "/ade-profiles/defaults/",
        "groups": "/groups/?q=G",
        "group": f"/groups/{group}/?q=S",
        "new smart group": "/groups/new-smart/",
        "assignments": "/abm/assignment/",
        "assignment": f"/abm/assignment/{server.pk}/",
        "arrivals": "/enrollment/arrivals/?q=S",
        "refused": "/enrollment/arrivals/refused/?q=S",
        "settings": "/enrollment/arrivals/settings/",
    }


def _measure(client: Client, server: Server) -> dict[str, int]:
    counts = {}
    for name, path in _paths(server).items():
        with CaptureQueriesContext(connection) as statements:
            answer = client.get(path)
        assert answer.status_code == 200, name
        counts[name] = len(statements)
    return counts


@pytest.mark.django_db
def test_pages_cost_what_they_are_known_to_cost_however_much_they_list(
    signed_in: Client, admin: User, server: Server, connect: Connect, listed: Listed
) -> None:
    first = make_profile("P")
    giving.set_default(ADMIN, "iOS", None, first)
    giving.give_group(ADMIN, groups.create_static(ADMIN, "G"), first)
    editing.draft(ADMIN, first, {**new_content(), "department": "IT"})

    def populate(serials: list[str]) -> None:
        other = connect(f"Server {serials[0]}")
        Assigning.objects.create(server=other, requests=1, moved_at="2026-01-01T00:00Z")
        cart = groups.create_static(ADMIN, f"G {serials[0]}", serials)
        giving.give_group(ADMIN, cart, first)
        groups.add(ADMIN, Group.objects.earliest("rank"), serials)
        for serial in serials:
            listed(serial, server)
            giving.give_devices(ADMIN, [serial], make_profile(f"P {serial}"))
            groups.create_static(ADMIN, f"G of {serial}")
            Arrival.objects.create(serial_number=serial, version=first.current)
            RefusedArrival.objects.create(serial_number=serial, reason="foreign", sentence="x")
            Assigning.objects.create(server=server, finished_at="2026-01-01T00:00Z")
            LedgerEntry.objects.create(
                server=server, serial_number=serial, source="assign", decision="asked"
            )
        following.follow()

    populate(["S00", "S01"])
    few = _measure(signed_in, server)
    populate([f"S{number}" for number in range(10, 25)])
    many = _measure(signed_in, server)
    if WRITE:
        BASELINE.write_text(json.dumps(few, indent=2) + "\n")

    assert many == few
    assert few == json.loads(BASELINE.read_text())
