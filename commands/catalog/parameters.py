"""The fields that a command takes: enough to draw a form and to check what an API sends.

Which fields a command has stands in its module; whether a receiver can take it in `support`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from commands.catalog.errors import InvalidParameters
from commands.catalog.support import is_older
from commands.catalog.types import Facts, Platform


class ParameterType(StrEnum):
    """The plist types a parameter can have, in Apple's words."""

    STRING = "string"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    DATA = "data"
    ARRAY = "array"
    DICTIONARY = "dictionary"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One key of a command's dictionary.

    `key` is Apple's, `label` and `help` are for people. `limits` names platforms whose minimum
    version differs from the command's (None: not on that platform); where a receiver is known
    not to have the key it is left out, or the command refused when the key is `essential`.
    `max_length` counts characters, bytes or items. `default` is what the device does when the
    key is absent. `item` describes an array's members (text where it is None), `fields` those of
    a dictionary. `check` returns a sentence where a value that has the right shape is still wrong.
    """

    key: str
    type: ParameterType
    label: str
    help: str = ""
    required: bool = False
    default: str | bool | int | None = None
    secret: bool = False
    essential: bool = False
    multiline: bool = False
    choices: tuple[str, ...] = ()
    limits: Mapping[Platform, str | None] = field(default_factory=dict)
    pattern: str | None = None
    pattern_hint: str = "This does not have the right form."
    max_length: int = 1_000
    minimum: int = -(2**31)
    maximum: int = 2**31 - 1
    item: Parameter | None = None
    fields: tuple[Parameter, ...] = ()
    check: Callable[[object], str | None] | None = None

    def is_missing_on(self, facts: Facts) -> bool:
        """Whether a receiver with these facts is known not to understand this key."""
        if not facts.platform:
            return False
        own = Platform(facts.platform).described_as
        if own not in self.limits:
            return False
        needs = self.limits[own]
        return needs is None or is_older(facts, needs)


def clean_parameters(raw: object, parameters: Sequence[Parameter]) -> dict[str, object]:
    """The values of `raw` as a plist dictionary takes them, data decoded from base64.

    Raises InvalidParameters with one sentence per field; keys that are not described are errors,
    values that are None or empty text count as absent.
    """
    if not isinstance(raw, Mapping):
        raise InvalidParameters({"parameters": "The parameters must be an object."})
    errors: dict[str, str] = {}
    result = _clean_fields(raw, parameters, "", errors)
    if errors:
        raise InvalidParameters(errors)
    return result


def understood(
    params: Mapping[str, object], parameters: Sequence[Parameter], facts: Facts
) -> dict[str, object]:
    """The parameters without those that a receiver with these facts is known not to understand."""
    described = {parameter.key: parameter for parameter in parameters}
    result: dict[str, object] = {}
    for key, value in params.items():
        parameter = described.get(key)
        if parameter is not None and parameter.is_missing_on(facts):
            continue
        if parameter is not None and parameter.fields and isinstance(value, Mapping):
            value = understood(value, parameter.fields, facts)
        result[key] = value
    return result


# More than this many complaints help nobody, and a hostile object could hold a million keys.
_MAX_ERRORS = 50
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_TRUE = frozenset({"true", "on", "1", "yes"})
_FALSE = frozenset({"false", "off", "0", "no"})


class _Refused(Exception):
    """A value cannot be used; the message is the sentence for its field."""


def _clean_fields(
    raw: Mapping[object, object],
    parameters: Sequence[Parameter],
    prefix: str,
    errors: dict[str, str],
) -> dict[str, object]:
    known = {parameter.key for parameter in parameters}
    for key in raw:
        if key not in known and len(errors) < _MAX_ERRORS:
            errors[prefix + _printable(key)] = "There is no such parameter."
    result: dict[str, object] = {}
    for parameter in parameters:
        name = prefix + parameter.key
        value = raw.get(parameter.key)
        if value is None or value == "":
            if parameter.required:
                errors[name] = "This is required."
            continue
        try:
            result[parameter.key] = _clean_value(value, parameter, name, errors)
        except _Refused as refused:
            errors[name] = str(refused)
    return result


def _clean_value(value: object, parameter: Parameter, name: str, errors: dict[str, str]) -> object:
    if parameter.type is ParameterType.ARRAY:
        result = _clean_array(value, parameter, name, errors)
    elif parameter.type is ParameterType.DICTIONARY:
        if not isinstance(value, Mapping):
            raise _Refused("This must be an object.")
        result = _clean_fields(value, parameter.fields, name + ".", errors)
    else:
        result = _SCALARS[parameter.type](value, parameter)
    complaint = parameter.check(result) if parameter.check else None
    if complaint:
        raise _Refused(complaint)
    return result


def _clean_array(value: object, parameter: Parameter, name: str, errors: dict[str, str]) -> object:
    if isinstance(value, str):
        value = [line for line in value.splitlines() if line.strip()]
    if not isinstance(value, list | tuple):
        raise _Refused("This must be a list.")
    if len(value) > parameter.max_length:
        raise _Refused(f"At most {parameter.max_length:,} items are allowed.")
    item = parameter.item or _TEXT
    result = []
    for index, member in enumerate(value):
        try:
            result.append(_clean_value(member, item, f"{name}.{index}", errors))
        except _Refused as refused:
            if len(errors) < _MAX_ERRORS:
                errors[f"{name}.{index}"] = str(refused)
    return result


def _clean_string(value: object, parameter: Parameter) -> str:
    if not isinstance(value, str):
        raise _Refused("This must be text.")
    if len(value) > parameter.max_length:
        raise _Refused(f"At most {parameter.max_length:,} characters are allowed.")
    text = value.strip()
    if not text:
        raise _Refused("This must not be empty.")
    if _NOT_IN_XML.search(text):
        raise _Refused("This contains characters that cannot be sent.")
    if parameter.choices and text not in parameter.choices:
        raise _Refused("This is not one of the choices.")
    if parameter.pattern and not re.fullmatch(parameter.pattern, text):
        raise _Refused(parameter.pattern_hint)
    return text


def _clean_boolean(value: object, parameter: Parameter) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    raise _Refused("This must be true or false.")


def _clean_integer(value: object, parameter: Parameter) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value.strip()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Refused("This must be a whole number.")
    if not parameter.minimum <= value <= parameter.maximum:
        raise _Refused(f"This must be from {parameter.minimum:,} to {parameter.maximum:,}.")
    return value


def _clean_data(value: object, parameter: Parameter) -> bytes:
    if isinstance(value, str):
        try:
            value = base64.b64decode("".join(value.split()).encode("ascii"), validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise _Refused("This must be base64.") from None
    if not isinstance(value, bytes):
        raise _Refused("This must be base64.")
    if not value:
        raise _Refused("This must not be empty.")
    if len(value) > parameter.max_length:
        raise _Refused(f"At most {parameter.max_length:,} bytes are allowed.")
    return value


def _printable(key: object) -> str:
    return str(key)[:64].encode("ascii", "backslashreplace").decode("ascii")


_TEXT = Parameter(key="Item", type=ParameterType.STRING, label="Item")
_SCALARS: Mapping[ParameterType, Callable[[object, Parameter], object]] = {
    ParameterType.STRING: _clean_string,
    ParameterType.BOOLEAN: _clean_boolean,
    ParameterType.INTEGER: _clean_integer,
    ParameterType.DATA: _clean_data,
}

MANAGED_ONLY = Parameter(
    key="ManagedOnly",
    type=ParameterType.BOOLEAN,
    label="Managed only",
    help="Leave out what this server did not install.",
    default=False,
    limits={Platform.IOS: "13.0", Platform.MACOS: "10.15", Platform.TVOS: "13.0"},
)


def pin(help: str) -> Parameter:
    """The six-digit PIN that Macs from 10.8 take with a lock or an erase."""
    return Parameter(
        key="PIN",
        type=ParameterType.STRING,
        label="PIN",
        help=help,
        secret=True,
        pattern="[0-9]{6}",
        pattern_hint="The PIN has exactly six digits.",
        max_length=16,
        limits={
            Platform.IOS: None,
            Platform.MACOS: "10.8",
            Platform.TVOS: None,
            Platform.VISIONOS: None,
            Platform.WATCHOS: None,
        },
    )
