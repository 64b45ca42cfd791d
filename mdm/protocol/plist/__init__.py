"""Property lists in and out, safe against hostile ones; the messages inside are read elsewhere.

`mdm.protocol.checkin` and `mdm.protocol.connect` give the parsed dictionaries their types.
"""

import plistlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mdm.protocol.errors import BadPlist
from mdm.protocol.plist.binary import read_binary
from mdm.protocol.plist.budget import DEFAULT, Budget
from mdm.protocol.plist.json import clean_text, jsonable
from mdm.protocol.plist.xml import read_xml, xml_text

__all__ = [
    "DEFAULT",
    "Budget",
    "clean_text",
    "jsonable",
    "plist_dumps",
    "safe_plist_loads",
    "xml_text",
]

_BINARY_MAGIC = b"bplist00"


def safe_plist_loads(data: bytes, budget: Budget = DEFAULT) -> dict[str, object]:
    """The dictionary in an XML or binary property list; values as `plistlib` would give them.

    Values are str, int (64 bit), float, bool, bytes, naive datetime in UTC, plistlib.UID, list
    and dict with str keys, always a tree: no value is shared or contains itself. Raises BadPlist
    for anything else, whatever the bytes are. Format: Apple's PropertyList-1.0.dtd and
    CFBinaryPList.c.
    """
    if len(data) > budget.size:
        raise BadPlist("too-large", "The property list is larger than is accepted.")
    read = read_binary if data.startswith(_BINARY_MAGIC) else read_xml
    value = read(data, budget)
    if type(value) is not dict:
        raise BadPlist("not-a-dictionary", "The property list is not a dictionary.")
    return value


def plist_dumps(value: Mapping[str, object]) -> bytes:
    """The value as an XML property list; keys keep their order.

    An aware datetime is written in UTC, a naive one is taken to be in UTC. Raises BadPlist for
    what XML property lists cannot hold: None, control characters, integers over 64 bits, other
    types.
    """
    try:
        return plistlib.dumps(_writable(value), sort_keys=False)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadPlist("not-writable", "The value has no property list form.") from error


def _writable(value: object) -> Any:
    if isinstance(value, Mapping):
        return {_writable(key): _writable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_writable(item) for item in value]
    if isinstance(value, str) and xml_text(value) != value:
        raise ValueError("a character that XML does not have")
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value
