"""Reads typed fields out of parsed messages; the messages are `checkin` and `connect`.

Every function raises BadMessage, naming the field and never its value.
"""

import re
from collections.abc import Mapping

from mdm.protocol.errors import BadMessage

Message = Mapping[str, object]

TEXT_LENGTH = 255
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def required_text(message: Message, name: str, length: int = TEXT_LENGTH) -> str:
    """Text that means something to the protocol: never empty, cut or cleaned."""
    value = optional_text(message, name, length)
    if value is None:
        raise _bad(name, "is missing")
    return value


def optional_text(message: Message, name: str, length: int = TEXT_LENGTH) -> str | None:
    """As `required_text`, None where the field is absent or empty."""
    value = message.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _bad(name, "is not text")
    if len(value) > length or _CONTROL.search(value):
        raise _bad(name, "is too long or not printable")
    return value


def display_text(message: Message, name: str, length: int = TEXT_LENGTH) -> str | None:
    """Text shown to people: control characters become spaces, what is too long is cut."""
    value = message.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _bad(name, "is not text")
    return _CONTROL.sub(" ", value[:length]).strip() or None


def required_data(message: Message, name: str, length: int) -> bytes:
    """Data of 1 to `length` bytes."""
    value = optional_data(message, name, length)
    if value is None:
        raise _bad(name, "is missing")
    return value


def optional_data(message: Message, name: str, length: int) -> bytes | None:
    """As `required_data`, None where the field is absent or empty."""
    value = message.get(name)
    if value is None or value == b"":
        return None
    if not isinstance(value, bytes):
        raise _bad(name, "is not data")
    if len(value) > length:
        raise _bad(name, "is too long")
    return value


def flag(message: Message, name: str) -> bool:
    """A boolean, False where absent."""
    value = message.get(name, False)
    if not isinstance(value, bool):
        raise _bad(name, "is not a boolean")
    return value


def integer(message: Message, name: str) -> int:
    """An integer, 0 where absent."""
    value = message.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _bad(name, "is not an integer")
    return value


def _bad(name: str, what: str) -> BadMessage:
    return BadMessage("field", f"{name} {what}.")
