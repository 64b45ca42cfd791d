"""Hides secrets: in raw views of commands and replies, and in what goes into the inventory.

A key is secret by its name alone, at any depth, so that a command this catalog does not know yet,
pasted by hand, is covered too. Encryption at rest is the queue's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache

from mdm.protocol.errors import ProtocolError
from mdm.protocol.plist import jsonable, plist_dumps, safe_plist_loads

HIDDEN = "(hidden)"


def is_secret(key: str, also: frozenset[str] = frozenset()) -> bool:
    """Whether values under this key stay hidden; `also` holds further names of a command."""
    return key in also or _sounds_secret(key[-_LONGEST_ENDING:])


def masked(message: bytes, also: frozenset[str] = frozenset()) -> bytes:
    """The plist of a command or reply as XML with every secret value replaced by `(hidden)`.

    Never raises: bytes that are no plist give a plist that says so and shows none of them.
    """
    try:
        content = safe_plist_loads(message)
    except ProtocolError:
        return plist_dumps({"Unreadable": f"({len(message):,} bytes that are not a plist)"})
    return plist_dumps({_text(key): _masked(key, value, also) for key, value in content.items()})


def masked_parameters(
    params: Mapping[str, object], also: frozenset[str] = frozenset()
) -> dict[str, object]:
    """Parameters for people to read, ready for JSON: secrets as `(hidden)`, data as its size."""
    return {key: jsonable(_sized(_masked(key, value, also))) for key, value in params.items()}


def _masked(key: str, value: object, also: frozenset[str]) -> object:
    # A yes or no tells nobody the secret, and "is there a passcode" is what people look for.
    if is_secret(key, also) and not isinstance(value, bool):
        return HIDDEN
    return _shown(value, also)


def _shown(value: object, also: frozenset[str]) -> object:
    if isinstance(value, Mapping):
        return {_text(str(name)): _masked(str(name), item, also) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item, also) for item in value]
    if isinstance(value, bool | int | float | bytes | datetime):
        return value
    return _text(str(value))


def _text(text: str) -> str:
    return text.translate(_UNPRINTABLE)


def _sized(value: object) -> object:
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    if isinstance(value, Mapping):
        return {key: _sized(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_sized(item) for item in value]
    return value


@lru_cache(maxsize=4096)
def _sounds_secret(key: str) -> bool:
    folded = key.casefold()
    return folded in _SECRET_KEYS or folded.endswith(_SECRET_ENDINGS)


# The same few hundred keys come again in every reply; a hostile one is cut before it is kept.
_LONGEST_ENDING = 64
_UNPRINTABLE = {
    code: "\ufffd" for code in [*range(0x20), 0xFFFE, 0xFFFF] if code not in (9, 10, 13)
}

_SECRET_ENDINGS = (
    "password",
    "passwordhash",
    "passcode",
    "pin",
    "token",
    "secret",
    "bypasscode",
    "redemptioncode",
    "recoverykey",
    "recoverykeycms",
    "privatekeyexport",
    "magic",
    "challenge",
)
_SECRET_KEYS = frozenset(
    {"payload", "mdmprofiledata", "wifiprofiledata", "provisioningprofile", "configuration"}
)
