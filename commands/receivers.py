"""Finding whom a command is for, by whatever name someone has for them. Whether a receiver can
take the command is for `commands/queue.py` to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from django.db import connection

from mdm.accounts.rights import Where
from mdm.audit.actor import Actor
from mdm.scope import beyond


class NameKind(StrEnum):
    """What sort of name a receiver was given by."""

    ENROLLMENT = "enrollment"
    DEVICE = "device"
    SERIAL_NUMBER = "serial_number"
    UDID = "udid"


NOT_ENROLLED = "This device has no enrollment."


@dataclass(frozen=True, slots=True)
class Name:
    """A receiver as someone called it."""

    kind: NameKind
    text: str


@dataclass(frozen=True, slots=True)
class Unfound:
    """A name that leads to no enrollment, and why, in a sentence."""

    name: Name
    reason: str


@dataclass(slots=True)
class Found:
    """Enrollment ids, each with the first name that led to it, and the names that led nowhere."""

    enrollments: dict[int, Name] = field(default_factory=dict)
    unfound: list[Unfound] = field(default_factory=list)


def find(actor: Actor, names: Mapping[NameKind, Iterable[object]]) -> Found:
    """The enrollments that `names` mean. A device stands for the enrollment that speaks for it now.
    Those of devices that `actor` may not see are as if they were not there.

    A name of the wrong type or form is not an error but one that leads nowhere.
    """
    found = Found()
    for kind, given in names.items():
        wanted: dict[int | str, Name] = {}
        for name in given:
            key = _key(kind, name)
            if key is None:
                found.unfound.append(Unfound(Name(kind, _shown(name)), _MALFORMED[kind]))
            else:
                wanted[key] = Name(kind, _shown(name))
        _look_up(kind, wanted, found, actor.where("device.read"))
    return found


def _look_up(kind: NameKind, wanted: dict[int | str, Name], found: Found, where: Where) -> None:
    rows = _rows(_LOOK_UP[kind], list(wanted))
    hidden = beyond([enrollment for _, enrollment in rows if enrollment is not None], where)
    for key, enrollment in rows:
        if enrollment is None and not where.everywhere:
            continue  # whose device it is would tell whether it is there
        if enrollment in hidden:
            continue
        name = wanted.pop(key)
        if enrollment is None:
            found.unfound.append(Unfound(name, NOT_ENROLLED))
        else:
            found.enrollments.setdefault(enrollment, name)
    found.unfound += [Unfound(name, _NOBODY[kind]) for name in wanted.values()]


def _rows(statement: str, keys: list[int | str]) -> list[tuple[int | str, int | None]]:
    """One statement with one parameter, however many names there are."""
    if not keys:
        return []
    with connection.cursor() as cursor:
        cursor.execute(statement, [keys])
        return list(cursor.fetchall())


def _key(kind: NameKind, name: object) -> int | str | None:
    """The name as the database compares it; None for one that cannot be a name of this kind."""
    if kind in {NameKind.ENROLLMENT, NameKind.DEVICE}:
        is_id = isinstance(name, int) and not isinstance(name, bool) and 0 < name <= _BIGGEST_ID
        return name if isinstance(name, int) and is_id else None
    if not isinstance(name, str) or not 0 < len(name.strip()) <= _LONGEST or "\0" in name:
        return None
    return name.strip().lower() if kind is NameKind.UDID else name.strip()


def _shown(name: object) -> str:
    return str(name)[:_LONGEST].replace("\0", "\\0")


_BIGGEST_ID = 2**63 - 1
_LONGEST = 255
# The key of a device channel is its UDID in lower case: unique, as the UDID of a machine whose
# logic board went into another is not.
_LOOK_UP: Mapping[NameKind, str] = {
    NameKind.ENROLLMENT: "SELECT id, id FROM mdm_enrollment WHERE id = ANY(%s::bigint[])",
    NameKind.DEVICE: "SELECT id, enrollment_id FROM mdm_device WHERE id = ANY(%s::bigint[])",
    NameKind.SERIAL_NUMBER: (
        "SELECT serial_number, enrollment_id FROM mdm_device WHERE serial_number = ANY(%s::text[])"
    ),
    NameKind.UDID: "SELECT key, id FROM mdm_enrollment WHERE key = ANY(%s::text[])",
}
_NOBODY: Mapping[NameKind, str] = {
    NameKind.ENROLLMENT: "There is no such enrollment.",
    NameKind.DEVICE: "There is no such device.",
    NameKind.SERIAL_NUMBER: "No device has this serial number.",
    NameKind.UDID: "No device with this UDID has enrolled.",
}
_MALFORMED: Mapping[NameKind, str] = {
    NameKind.ENROLLMENT: "The id of an enrollment is a positive whole number.",
    NameKind.DEVICE: "The id of a device is a positive whole number.",
    NameKind.SERIAL_NUMBER: "A serial number is text of up to 255 characters.",
    NameKind.UDID: "A UDID is text of up to 255 characters.",
}
