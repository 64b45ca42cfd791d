"""Which rows someone may see or act on: those of devices that their rights reach.

Rights are in `mdm/accounts/rights.py`; a device belongs to the groups that have its serial number.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from django.db.models import Exists, Model, OuterRef, QuerySet

from mdm.accounts.rights import Where
from mdm.audit.actor import Actor
from mdm.models import Device, Enrollment, GroupMember

Row = TypeVar("Row", bound=Model)


def within(rows: QuerySet[Row, Any], where: Where, serial_number: str) -> QuerySet[Row, Any]:
    """The `rows` whose device `where` covers; `serial_number` is the way to it from a row, such as
    "enrollment__device__serial_number".
    """
    if where.everywhere:
        return rows
    if not where:
        return rows.none()
    return rows.filter(
        Exists(
            GroupMember.objects.filter(
                group__in=where.groups, serial_number=OuterRef(serial_number)
            )
        )
    )


def devices(actor: Actor, action: str = "device.read") -> QuerySet[Device]:
    """The devices to which `actor` may do this."""
    return within(Device.objects.all(), actor.where(action), "serial_number")


def beyond(enrollments: Collection[int], where: Where) -> set[int]:
    """Those of these enrollments (by id) whose devices `where` does not cover."""
    if where.everywhere:
        return set()
    rows = Enrollment.objects.extra(
        where=["mdm_enrollment.id = ANY(%s)"], params=[list(enrollments)]
    )
    covered = within(rows, where, "device__serial_number").values_list("pk", flat=True)
    return set(enrollments) - set(covered)


def groups_of(device: Device) -> frozenset[int]:
    """The ids of the groups that a device is in."""
    members = GroupMember.objects.filter(serial_number=device.serial_number or None)
    return frozenset(members.values_list("group_id", flat=True))


class On:
    """What an actor may do to one device, so that its page can ask
    `{% if "device.retire" in may %}`.
    """

    def __init__(self, actor: Actor, device: Device) -> None:
        self._actor = actor
        self._device = device
        self._groups: frozenset[int] | None = None

    def __contains__(self, action: object) -> bool:
        where = self._actor.where(*str(action).split(" "))
        if where.everywhere or not where:
            return bool(where)
        if self._groups is None:
            self._groups = groups_of(self._device)
        return where.covers(self._groups)
