"""The events that the ABM app tells of (mdm/webhooks/kinds.py)."""

from __future__ import annotations

from mdm.webhooks import kinds
from mdm.webhooks.kinds import Field, Kind

_SERVER = "The server's id in the API."
_NAME = Field("name", "string", "The server's name.", "Office")
_DEVICES = (
    _NAME,
    Field("run", "integer", "The run of the sync, by its id in the API.", 1204),
    Field("serial_numbers", "strings", "Up to 1,000; more come as further events.", ["C02XY"]),
)
_EXPIRES = Field("expires_at", "time", "When the token expires.", "2027-11-30T09:30:00+00:00")
_TOKEN = (
    _NAME,
    Field("server_uuid", "string", "The server's UUID in ABM.", "A1B2C3"),
    Field("org_name", "string", "The organization's name in ABM.", "Example Inc."),
    _EXPIRES,
)
_DAYS = Field("days", "integer", "Days left: 30, 14, 7, 3 or 1; 0 where it has expired.", 14)


def _kind(name: str, words: str, *fields: Field) -> Kind:
    return Kind(name=name, words=words, subject=_SERVER, about="1", fields=fields)


def register() -> None:
    """Called once, when the app loads."""
    kinds.register(
        "Apple Business Manager",
        _kind("abm.devices.added", "Devices were assigned to a server in ABM.", *_DEVICES),
        _kind("abm.devices.removed", "Devices left a server in ABM.", *_DEVICES),
        _kind(
            "abm.server.state",
            "How it stands with Apple changed: the sync fails, or works again.",
            _NAME,
            Field("before", "string", "What it was, in the same words.", "connected"),
            Field(
                "after",
                "string",
                "connected, terms_not_signed, expired, rejected, throttled, unreachable, refused"
                " or stuck.",
                "terms_not_signed",
            ),
        ),
        _kind(
            "abm.server.disconnected",
            "Someone disconnected a server; its token was forgotten.",
            _NAME,
        ),
        _kind("abm.token.accepted", "A server is connected: Apple took its first token.", *_TOKEN),
        _kind("abm.token.renewed", "Apple took a newer token of a server.", *_TOKEN),
        _kind(
            "abm.token.refused",
            "A token that was uploaded cannot be used.",
            Field("why", "string", "Why, and what to do.", "Download a new one in ABM."),
        ),
        _kind("abm.token.expiring", "A token expires soon.", _NAME, _EXPIRES, _DAYS),
        _kind("abm.token.expired", "A token has expired.", _NAME, _EXPIRES, _DAYS),
    )
