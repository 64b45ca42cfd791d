"""What a caller of the API may ask for, and which rows it then gets.

Each view names its rights: `rights` maps the names of its actions, or of its methods where it has
none, to rights of the table (`mdm/accounts/rights.py`); "post token" says it for one method of an
action. A view whose rows belong to devices says with `serial_number_at` how a row leads to the
device's serial number. The domain asks again, for the very devices.
"""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework.filters import BaseFilterBackend
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from mdm import scope
from mdm.audit.actor import Actor
from mdm.audit.record import somewhere


class HasRight(BasePermission):
    """Someone who is signed in, or a token, with the right that the view names."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user or not request.user.is_authenticated:
            return False
        right = right_of(view, request.method or "")
        if right is None:
            return True  # no such method: the view says so
        somewhere(Actor.of(request), right)
        return True


def right_of(view: Any, method: str) -> str | None:
    """The right that this method of the view takes; None where there is no such method."""
    method = method.lower()
    name = getattr(view, "action", method)
    if name is None or not hasattr(view, name):
        return None
    rights: dict[str, str] = view.rights
    return rights.get(f"{method} {name}") or rights[name]


class Seen(BaseFilterBackend):
    """Rows of devices that the caller may see; those of others are not there."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: Any
    ) -> QuerySet[Any]:
        way = getattr(view, "serial_number_at", None)
        if way is None:
            return queryset
        return scope.within(queryset, Actor.of(request).where("device.read"), way)
