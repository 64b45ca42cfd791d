"""The kinds of events there are, one table: what each says, as the form, the docs and the API's
schema show it. Apps above register theirs when they load; `outbox.py` writes events.

A field that is added leaves the version as it is; one that goes or means something else raises it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Type = Literal["string", "integer", "time", "strings"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of an event's data. `null` where it may be unknown."""

    name: str
    type: Type
    words: str
    example: object
    null: bool = False

    def schema(self) -> dict[str, Any]:
        known = _SCHEMAS[self.type]
        shown = {**known, "type": [known["type"], "null"]} if self.null else known
        return {**shown, "description": self.words}

    def fits(self, value: object) -> bool:
        if value is None:
            return self.null
        if self.type == "strings":
            return isinstance(value, list) and all(isinstance(each, str) for each in value)
        if self.type == "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        return isinstance(value, str) and (self.type != "time" or _is_time(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of event. `subject` says what its subject names, `about` is an example of one."""

    name: str
    words: str
    subject: str
    about: str
    fields: tuple[Field, ...] = ()
    version: int = 1

    @property
    def section(self) -> str:
        return self.name.partition(".")[0]

    def example(self) -> dict[str, Any]:
        """A whole event, as it is sent."""
        return {
            "id": "evt_4711",
            "kind": self.name,
            "version": self.version,
            "at": "2026-11-30T09:30:00.123456Z",
            "subject": self.about,
            "data": {field.name: field.example for field in self.fields},
        }

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of a whole event."""
        text = {"type": "string"}
        return {
            "type": "object",
            "properties": {
                "id": {**text, "description": "The same each time this event is sent."},
                "kind": {**text, "const": self.name},
                "version": {"type": "integer", "const": self.version},
                "at": {**text, "format": "date-time", "description": "When it happened."},
                "subject": {**text, "description": self.subject},
                "data": {
                    "type": "object",
                    "properties": {field.name: field.schema() for field in self.fields},
                    "required": [field.name for field in self.fields],
                },
            },
            "required": ["id", "kind", "version", "at", "subject", "data"],
        }

    def fault(self, data: Mapping[str, object]) -> str:
        """What of `data` is not as the table says; "" where all is."""
        known = {field.name: field for field in self.fields}
        if data.keys() != known.keys():
            return f"{self.name} has the fields {', '.join(known)}, not {', '.join(data)}"
        wrong = [name for name, value in data.items() if not known[name].fits(value)]
        return f"{self.name}: {', '.join(wrong)} is not of its type" if wrong else ""


_SCHEMAS: dict[Type, dict[str, Any]] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "time": {"type": "string", "format": "date-time"},
    "strings": {"type": "array", "items": {"type": "string"}},
}
_sections: dict[str, str] = {}
_kinds: dict[str, Kind] = {}


def register(label: str, *kinds: Kind) -> None:
    """Add the kinds of one section, whose names begin alike; `label` is its heading."""
    for kind in kinds:
        _sections[kind.section] = label
        _kinds[kind.name] = kind


def find(name: str) -> Kind:
    """Raises KeyError."""
    return _kinds[name]


def every() -> list[Kind]:
    """All kinds, those of a section together."""
    return [kind for section in _sections for kind in _kinds.values() if kind.section == section]


def by_section() -> list[tuple[str, str, list[Kind]]]:
    """Each section's name, its label and its kinds, but for what is sent to try a webhook."""
    return [
        (section, label, [kind for kind in _kinds.values() if kind.section == section])
        for section, label in _sections.items()
        if section != TEST.section
    ]


def choices() -> list[str]:
    """What a webhook can ask for: kinds by name, and "section.*" for all of a section, those to
    come included.
    """
    return [
        name
        for section, _, kinds in by_section()
        for name in (f"{section}.*", *(kind.name for kind in kinds))
    ]


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


# --- The core's own -------------------------------------------------------------------------------

SERIAL = Field(
    "serial_number", "string", "Null where the device does not reveal it.", "C02XY", True
)
_ENROLLMENT = (
    Field("device", "integer", "The device's id in the API.", 17),
    SERIAL,
    Field("enrollment", "integer", "The enrollment's id in the API.", 42),
    Field("channel", "string", "device, or user for a user on it.", "device"),
)
_KEY = "The enrollment's key: the UDID or EnrollmentID, with the user's where it is a user's."
_KEYED = "00008030-000a1b2c3d4e802e"
_DEVICE = (SERIAL, Field("udid", "string", "", _KEYED.upper()), Field("name", "string", "", "iPad"))

register(
    "Enrollment",
    Kind(
        name="enrollment.completed",
        words="A device, or a user on it, enrolled and can be managed.",
        subject=_KEY,
        about=_KEYED,
        fields=_ENROLLMENT,
    ),
    Kind(
        name="enrollment.ended",
        words="Management ended: the device checked out, was erased, or was released here.",
        subject=_KEY,
        about=_KEYED,
        fields=(
            *_ENROLLMENT,
            Field("state", "string", "CheckedOut, Erased or Released.", "CheckedOut"),
        ),
    ),
)
register(
    "Quarantine",
    Kind(
        name="quarantine.opened",
        words="A device turned up with an identity not issued for it, and waits for a decision.",
        subject="The case's id in the API.",
        about="5",
        fields=(
            Field("enrollment", "string", "The key that it enrolls with.", _KEYED),
            Field("serial_number", "string", "As the device says; may be empty.", "C02XY"),
            Field("reason", "string", "Why it waits.", "live_enrollment"),
        ),
    ),
    Kind(
        name="quarantine.decided",
        words="Someone decided whether a device leaves quarantine.",
        subject="The case's id in the API.",
        about="5",
        fields=(
            Field("enrollment", "string", "The key that it enrolls with.", _KEYED),
            Field("serial_number", "string", "As the device says; may be empty.", "C02XY"),
            Field("decision", "string", "Accepted or Rejected.", "Accepted"),
            Field("by", "string", "Who decided.", "Ada"),
        ),
    ),
)
register(
    "Devices",
    Kind(
        name="device.retired",
        words="A device was taken out of service.",
        subject="The device's id in the API.",
        about="17",
        fields=_DEVICE,
    ),
    Kind(
        name="device.deleted",
        words="A device was deleted with its history.",
        subject="The device's id in the API.",
        about="17",
        fields=_DEVICE,
    ),
)
register(
    "What ends",
    Kind(
        name="expiry.near",
        words="Something ends in 30, 14, 7 or 1 days: the push certificate, a server token.",
        subject="What ends.",
        about="Push certificate",
        fields=(
            Field("expires_at", "time", "When.", "2026-12-14T09:30:00+00:00"),
            Field("days", "integer", "30, 14, 7 or 1: it ends within so many.", 14),
            Field("stops", "string", "What does not work from then on.", "No device can be woken."),
            Field("url", "string", "Where to renew it.", "https://mdm.example.com/settings/"),
        ),
    ),
)
register(
    "Push certificate",
    Kind(
        name="push_certificate.installed",
        words="A push certificate was put to use.",
        subject="The certificate's id.",
        about="2",
        fields=(
            Field("topic", "string", "", "com.apple.mgmt.External.1f2e"),
            Field("serial", "string", "The certificate's serial number.", "6A5F"),
            Field("not_after", "time", "When it expires.", "2027-11-30T09:30:00+00:00"),
        ),
    ),
)
TEST = Kind(
    name="webhook.test",
    words="Someone tries a webhook. No webhook asks for it: it goes to the one that is tried.",
    subject="The webhook's id in the API.",
    about="1",
    fields=(Field("by", "string", "Who tries it.", "Ada"),),
)
register("Tests", TEST)
