"""What Apple Business Manager adds to the list of devices: filters by what it says of them."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q, QuerySet

from abm.models import AbmDevice, Server
from abm.pages import words
from mdm.models import Device
from mdm.tables import Choices, Filter, add_filters

Rows = QuerySet[Device]

# Of a server and of nothing else: no server has this number.
_NONE = "none"


def register() -> None:
    add_filters(
        "devices",
        Filter(
            key="abm",
            label="ABM server",
            choices=_servers,
            apply=_by_server,
            right="server.read",
        ),
        Filter(
            key="profile",
            label="Profile",
            choices=lambda: [(key, look.word) for key, look in words.PROFILE_LOOKS.items()],
            apply=lambda rows, value: rows.filter(_listed(profile_status=value)),
            right="server.read",
        ),
    )


def _servers() -> Choices:
    listed = [(str(each.pk), str(each)) for each in Server.objects.order_by("pk")[:200]]
    return [*listed, (_NONE, "not in ABM")] if listed else []


def _by_server(rows: Rows, value: str) -> Rows:
    if value == _NONE:
        return rows.exclude(_listed())
    number = value.isascii() and value.isdigit() and len(value) < 19
    return rows.filter(_listed(server=int(value))) if number else rows.none()


def _listed(**what: object) -> Q:
    """That a device is listed in ABM now, with this about it."""
    listed = AbmDevice.objects.filter(current=True, removed_at=None, **what)
    return Q(Exists(listed.filter(device=OuterRef("pk"))))
