"""Property list values made fit for JSON and for Postgres; reading them is `mdm.protocol.plist`."""

import base64
import math
import plistlib
import re
from datetime import UTC, date, datetime

# Postgres refuses NUL in text and jsonb, and lone surrogates have no UTF-8 form.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def jsonable(value: object) -> object:
    """The value with JSON types only, as deep as it came.

    bytes become base64, datetimes ISO 8601 with Z and whole seconds, UIDs their number as text,
    floats without a JSON form (nan, inf) their name as text; NUL characters and lone surrogates
    are left out of every string and key.
    """
    kind = type(value)
    if kind is str:
        return clean_text(value)  # type: ignore[arg-type]
    if kind is dict:
        return {_key(key): jsonable(item) for key, item in value.items()}  # type: ignore[attr-defined]
    if kind is list or kind is tuple:
        return [jsonable(item) for item in value]  # type: ignore[attr-defined]
    if kind is int or kind is bool or value is None:
        return value
    return _rare(value)


def clean_text(text: str) -> str:
    """The text without NUL characters and lone surrogates."""
    return _UNSTORABLE.sub("", text)


def _key(key: object) -> str:
    return clean_text(key if isinstance(key, str) else str(key))


def _rare(value: object) -> object:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, plistlib.UID):
        return str(value.data)
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int):
        return int(value)
    return clean_text(str(value))
