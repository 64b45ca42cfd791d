"""Turns what a device reports into bounded inventory sections that JSON and Postgres can hold.

The raw reply is kept elsewhere, whole; nothing is lost by what is cut here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from commands.catalog.masks import is_secret
from commands.catalog.types import ReplaceSection
from mdm.protocol.plist import clean_text, jsonable

MAX_ITEMS = 5_000


def list_section(
    section: str, reported: object, drop: frozenset[str] = frozenset()
) -> ReplaceSection | None:
    """The section for a reported list of dictionaries; None where it is no list.

    Members that are no dictionaries are left out; beyond MAX_ITEMS the list is cut.
    """
    if not isinstance(reported, list):
        return None
    members = [item for item in reported if isinstance(item, Mapping)]
    data = [dictionary(item, drop) for item in members[:MAX_ITEMS]]
    return ReplaceSection(section, data, truncated=len(members) > MAX_ITEMS)


def dictionary(
    reported: Mapping[Any, object], drop: frozenset[str] = frozenset()
) -> dict[str, object]:
    """A reported dictionary without its secrets and the keys to drop, ready for JSON."""
    tidy = _tidy_dictionary(reported, drop, _MAX_DEPTH)
    return {key: jsonable(item) for key, item in tidy.items()}


# Apple's replies go five levels deep; a list of names or a description fits well within these.
_MAX_DEPTH = 12
_MAX_KEYS = 1_000
_MAX_TEXT = 8_192


def _tidy(value: object, drop: frozenset[str], depth: int) -> object:
    if isinstance(value, Mapping):
        return _tidy_dictionary(value, drop, depth)
    if isinstance(value, list | tuple):
        kept = value[:MAX_ITEMS] if depth else []
        return [_tidy(item, drop, depth - 1) for item in kept]
    if isinstance(value, str | bytes):
        return value[:_MAX_TEXT]
    return value


def _tidy_dictionary(
    value: Mapping[Any, object], drop: frozenset[str], depth: int
) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, item in value.items() if depth else ():
        name = clean_text(str(key)[:255])
        if name in drop or (is_secret(name) and not isinstance(item, bool)):
            continue
        if len(result) == _MAX_KEYS:
            break
        result[name] = _tidy(item, drop, depth - 1)
    return result
