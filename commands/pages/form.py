"""A form made from a command's parameters, and what was filled in as the catalog takes it.

Whether the values are right is for the catalog to say (`commands/catalog/parameters.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, QueryDict
from django.utils.datastructures import MultiValueDict

from commands.catalog.parameters import Parameter, ParameterType

# A profile of this size is far beyond what a device takes.
_LARGEST_FILE = 4 * 1024 * 1024

_PREFIX = "p."
_WORDS = {True: "yes", False: "no"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One parameter as the template draws it; `kind` names how."""

    name: str
    parameter: Parameter
    kind: str
    value: str = ""
    error: str = ""
    fields: list[Field] = field(default_factory=list)

    @property
    def id(self) -> str:
        return "f-" + self.name.replace(".", "-")

    @property
    def default(self) -> str:
        default = self.parameter.default
        if isinstance(default, bool):
            return _WORDS[default]
        return "" if default is None else str(default)

    @property
    def choices(self) -> Sequence[tuple[str, str]]:
        if self.parameter.type is ParameterType.BOOLEAN:
            return (("true", "Yes"), ("false", "No"))
        return [(choice, choice) for choice in self.parameter.choices]


def draw(
    parameters: Sequence[Parameter],
    filled: QueryDict | None = None,
    errors: Mapping[str, str] | None = None,
    prefix: str = "",
) -> list[Field]:
    """The fields of a form, with what was filled in and what is wrong with it."""
    return [
        _field(parameter, prefix + parameter.key, filled, errors or {}) for parameter in parameters
    ]


def read(request: HttpRequest, parameters: Sequence[Parameter]) -> dict[str, object]:
    """What was filled in, as `CommandType.clean` takes it; empty fields are left out."""
    return _read(request.POST, request.FILES, parameters, "")


def unplaced(errors: Mapping[str, str], fields: Sequence[Field]) -> list[str]:
    """Complaints about something that no field of the form stands for."""
    placed = {each.name.removeprefix(_PREFIX) for each in _flat(fields)}
    return [f"{key}: {why}" for key, why in errors.items() if _owner(key, placed) is None]


def _field(
    parameter: Parameter, name: str, filled: QueryDict | None, errors: Mapping[str, str]
) -> Field:
    kind = _kind(parameter)
    own = [why for key, why in errors.items() if key == name]
    if not parameter.fields:
        own = own or [why for key, why in errors.items() if key.startswith(f"{name}.")]
    return Field(
        name=_PREFIX + name,
        parameter=parameter,
        kind=kind,
        value=filled.get(_PREFIX + name, "") if filled and _may_be_shown_again(parameter) else "",
        error=own[0] if own else "",
        fields=draw(parameter.fields, filled, errors, f"{name}.") if kind == "group" else [],
    )


def _may_be_shown_again(parameter: Parameter) -> bool:
    return parameter.multiline or not parameter.secret


def _kind(parameter: Parameter) -> str:
    if parameter.type is ParameterType.DICTIONARY:
        return "group" if parameter.fields else "json"
    if parameter.type is ParameterType.ARRAY:
        item = parameter.item
        plain = item is None or item.type in {ParameterType.STRING, ParameterType.INTEGER}
        return "lines" if plain else "json"
    if parameter.type is ParameterType.BOOLEAN or parameter.choices:
        return "choice"
    if parameter.type is ParameterType.DATA:
        return "file"
    if parameter.type is ParameterType.INTEGER:
        return "number"
    if parameter.multiline:
        return "text"
    return "secret" if parameter.secret else "line"


def _read(
    filled: QueryDict,
    files: MultiValueDict[str, UploadedFile[Any]],
    parameters: Sequence[Parameter],
    prefix: str,
) -> dict[str, object]:
    raw: dict[str, object] = {}
    for parameter in parameters:
        name = _PREFIX + prefix + parameter.key
        kind = _kind(parameter)
        if kind == "group":
            value: object = _read(filled, files, parameter.fields, f"{prefix}{parameter.key}.")
        elif kind == "file":
            uploaded = files.get(name)
            value = uploaded.read(_LARGEST_FILE) if isinstance(uploaded, UploadedFile) else ""
        elif kind == "lines":
            value = [line.strip() for line in filled.get(name, "").splitlines() if line.strip()]
        elif kind == "json":
            value = _json(filled.get(name, ""))
        else:
            value = filled.get(name, "")
        if value not in ("", {}, [], None):
            raw[parameter.key] = value
    return raw


def _json(text: str) -> object:
    """What the text means as JSON; text that is none stays text, and the catalog says so."""
    try:
        return json.loads(text) if text.strip() else None
    except (ValueError, RecursionError):
        return text


def _flat(fields: Sequence[Field]) -> list[Field]:
    return [found for each in fields for found in (each, *_flat(each.fields))]


def _owner(key: str, placed: set[str]) -> str | None:
    while key not in placed:
        if "." not in key:
            return None
        key = key.rpartition(".")[0]
    return key
