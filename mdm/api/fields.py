"""`?fields=id,serial_number`: an answer with these fields alone. What is not asked for is not
worked out either.
"""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

# Where it counts: the list of a resource, and one of its things.
ACTIONS = {"list", "retrieve"}


def asked(request: Request) -> list[str] | None:
    """The names that were asked for; None where all are wanted."""
    given = request.query_params.getlist("fields")
    return [name.strip() for name in ",".join(given).split(",")] if given else None


def narrow(serializer: Any, request: Request) -> None:
    """Leave the fields that were asked for. Raises ValidationError for a name that is none."""
    names = asked(request)
    if names is None:
        return
    known = getattr(serializer, "child", serializer).fields
    unknown = sorted(set(names) - set(known))
    if unknown:
        said = ", ".join(name[:60] or '""' for name in unknown[:10])
        raise ValidationError(
            {"fields": [f"There is no field {said}. There are {', '.join(known)}."]}, code="unknown"
        )
    for name in set(known) - set(names):
        known.pop(name)
