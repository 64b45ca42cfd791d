"""The commands this server can send: their parameters, bytes, rules, and what a reply changes.

No Django here: who asked, which device, and when it is delivered is `commands.queue`'s business.
"""

from commands.catalog.base import CommandType
from commands.catalog.errors import (
    CatalogError,
    InvalidParameters,
    MissingUnlockToken,
    UnknownRequestType,
)
from commands.catalog.parameters import Parameter, ParameterType
from commands.catalog.registry import all_types, find, get, prepare
from commands.catalog.types import (
    ALL_RIGHTS,
    NO_EXTRAS,
    UNKNOWN,
    AccessRight,
    AskAgain,
    Change,
    Configured,
    DeviceFacts,
    Effect,
    Erased,
    Extras,
    Facts,
    Platform,
    Priority,
    ReplaceSection,
    Support,
    UpdateSection,
)

__all__ = [
    "ALL_RIGHTS",
    "NO_EXTRAS",
    "UNKNOWN",
    "AccessRight",
    "AskAgain",
    "CatalogError",
    "Change",
    "CommandType",
    "Configured",
    "DeviceFacts",
    "Effect",
    "Erased",
    "Extras",
    "Facts",
    "InvalidParameters",
    "MissingUnlockToken",
    "Parameter",
    "ParameterType",
    "Platform",
    "Priority",
    "ReplaceSection",
    "Support",
    "UnknownRequestType",
    "UpdateSection",
    "all_types",
    "find",
    "get",
    "prepare",
]
