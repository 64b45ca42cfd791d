"""The rule of a smart group: which conditions there are, and which devices fulfill them.

    {"match": "all" or "any", "conditions": [{"field": "color", "op": "is", "value": "SILVER"}]}

Rules are about what ABM and the devices themselves say. A device that is neither in ABM nor
enrolled, or that was retired, fulfills none; so does one without a serial number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from abm.platforms import platform_sql
from mdm.models import Device

MOST_CONDITIONS = 20
MOST_CHARACTERS = 200

Rule = dict[str, Any]
Kind = Literal["text", "choice", "version", "date", "number", "server"]
Part = tuple[str, list[Any]]


class BadRule(ValueError):
    """What is wrong with a rule. `at` is the number of the condition, from 0 on; None for the rule
    as a whole.
    """

    def __init__(self, message: str, at: int | None = None) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Something that a condition may be about. `sql` is what is compared; `choices` are offered.
    `moves` says that a change of one device may change whether another one fulfills it.
    """

    key: str
    label: str
    kind: Kind
    sql: str
    choices: tuple[tuple[str, str], ...] = ()
    moves: bool = False

    @property
    def ops(self) -> dict[str, str]:
        return OPS[self.kind]


OPS: dict[Kind, dict[str, str]] = {
    "text": {
        "is": "is",
        "is_not": "is not",
        "contains": "contains",
        "not_contains": "does not contain",
        "starts_with": "starts with",
        "empty": "is empty",
        "not_empty": "is not empty",
    },
    "choice": {"is": "is", "is_not": "is not"},
    "server": {"is": "is", "is_not": "is not"},
    "version": {"at_least": "is at least", "below": "is below", "is": "is"},
    "date": {"on_or_after": "on or after", "before": "before"},
    "number": {"first": "among the first", "not_first": "not among the first"},
}
_WITHOUT_VALUE = frozenset({"empty", "not_empty"})

_PLATFORM = f"coalesce(nullif({platform_sql('a.os', 'a.device_family')}, ''), d.platform)"
_VERSION = (
    r"CASE WHEN d.os_version ~ '^[0-9]{1,6}(\.[0-9]{1,6}){0,5}$'"
    " THEN string_to_array(d.os_version, '.')::int[] END"
)
_FIRST = (
    "SELECT id FROM abm_abmdevice WHERE current AND removed_at IS NULL ORDER BY added_at, id LIMIT"
)
_FAMILIES = ("iPhone", "iPad", "Mac", "AppleTV", "Vision", "Watch", "iPod")

FIELDS: tuple[Field, ...] = (
    Field(
        key="os",
        label="OS",
        kind="choice",
        sql=_PLATFORM,
        choices=tuple((str(word), str(word)) for word in Device.Platform.values),
    ),
    Field(
        key="family",
        label="Family",
        kind="choice",
        sql="a.device_family",
        choices=tuple((word, word) for word in _FAMILIES),
    ),
    Field(key="os_version", label="OS version", kind="version", sql=_VERSION),
    Field(key="model", label="Model", kind="text", sql="coalesce(a.model, d.model_name)"),
    Field(key="description", label="Description", kind="text", sql="a.description"),
    Field(key="color", label="Color", kind="text", sql="a.color"),
    Field(key="asset_tag", label="Asset tag", kind="text", sql="a.asset_tag"),
    Field(key="serial_number", label="Serial number", kind="text", sql="d.serial_number"),
    Field(key="server", label="ABM server", kind="server", sql="a.server_id"),
    Field(
        key="enrolled",
        label="Enrollment",
        kind="choice",
        sql="CASE WHEN e.state = 'Enrolled' THEN 'yes' ELSE 'no' END",
        choices=(("yes", "enrolled"), ("no", "not enrolled")),
    ),
    Field(key="arrived", label="Arrived in ABM", kind="date", sql="a.added_at"),
    Field(key="order", label="Order of arrival", kind="number", sql="a.id", moves=True),
)
BY_KEY = {field.key: field for field in FIELDS}

# Every device that a rule may be about, and what is known of it.
DEVICES = """
FROM mdm_device d
LEFT JOIN abm_abmdevice a
     ON a.serial_number = d.serial_number AND a.current AND a.removed_at IS NULL
LEFT JOIN mdm_enrollment e ON e.id = d.enrollment_id
WHERE d.serial_number IS NOT NULL AND d.retired_at IS NULL
      AND (a.id IS NOT NULL OR d.enrollment_id IS NOT NULL)"""


def clean(given: object) -> Rule:
    """The rule, checked and without anything else. Raises BadRule."""
    if not isinstance(given, Mapping) or given.get("match") not in ("all", "any"):
        raise BadRule("A rule says whether all of its conditions count, or any.")
    conditions = given.get("conditions")
    if not isinstance(conditions, Sequence) or isinstance(conditions, str) or not conditions:
        raise BadRule("Give at least one condition.")
    if len(conditions) > MOST_CONDITIONS:
        raise BadRule(f"A rule has at most {MOST_CONDITIONS} conditions.")
    return {
        "match": given["match"],
        "conditions": [_condition(each, at) for at, each in enumerate(conditions)],
    }


def moves(rule: Rule) -> bool:
    """Whether a change of one device may change whether another one fulfills the rule."""
    return any(BY_KEY[each["field"]].moves for each in rule["conditions"])


def where(rule: Rule) -> Part:
    """The condition in SQL over DEVICES, and its parameters. `rule` came from `clean`."""
    parts = [_part(each) for each in rule["conditions"]]
    word = " AND " if rule["match"] == "all" else " OR "
    sql = word.join(f"({text})" for text, _ in parts)
    return f"({sql})", [value for _, values in parts for value in values]


def said(rule: Rule, servers: Mapping[int, str] | None = None) -> list[str]:
    """Each condition in words, such as "color is SILVER"."""
    return [_said(each, servers or {}) for each in rule.get("conditions", [])]


def _said(condition: Mapping[str, Any], servers: Mapping[int, str]) -> str:
    field = BY_KEY[condition["field"]]
    value = condition.get("value", "")
    if field.kind == "server":
        value = servers.get(int(value), f"server {value}")
    shown = dict(field.choices).get(str(value), value)
    return f"{field.label} {field.ops[condition['op']]} {shown}".strip()


def _condition(given: object, at: int) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise BadRule("A condition has a field, a comparison and a value.", at)
    field = BY_KEY.get(str(given.get("field", "")))
    if field is None:
        raise BadRule("There is no such field.", at)
    op = str(given.get("op", ""))
    if op not in field.ops:
        raise BadRule(f"{field.label} cannot be compared like this.", at)
    if op in _WITHOUT_VALUE:
        return {"field": field.key, "op": op}
    return {"field": field.key, "op": op, "value": _CLEANERS[field.kind](field, given, at)}


def _text(field: Field, given: Mapping[str, Any], at: int) -> str:
    said = str(given.get("value", "")).replace("\0", "")
    # A lone surrogate is no text.
    value = " ".join(said.encode(errors="ignore").decode().split())
    if not value or len(value) > MOST_CHARACTERS:
        raise BadRule(f"Give what {field.label.lower()} is compared with.", at)
    return value


def _choice(field: Field, given: Mapping[str, Any], at: int) -> str:
    value = str(given.get("value", ""))
    if value not in dict(field.choices):
        raise BadRule(f"Choose one of what {field.label} can be.", at)
    return value


def _version(field: Field, given: Mapping[str, Any], at: int) -> str:
    value = str(given.get("value", "")).strip()
    numbers = value.split(".")
    if not 1 <= len(numbers) <= 6 or not all(_small(each) for each in numbers):
        raise BadRule("A version is numbers with dots, such as 26.1.", at)
    return value


def _date(field: Field, given: Mapping[str, Any], at: int) -> str:
    try:
        return date.fromisoformat(str(given.get("value", "")).strip()).isoformat()
    except ValueError:
        raise BadRule("Give a day as year-month-day, such as 2026-09-01.", at) from None


def _number(field: Field, given: Mapping[str, Any], at: int) -> int:
    value = str(given.get("value", "")).strip()
    if not _small(value) or not 1 <= int(value) <= 1_000_000:
        raise BadRule("Give a number from 1 to 1,000,000.", at)
    return int(value)


def _server(field: Field, given: Mapping[str, Any], at: int) -> int:
    value = str(given.get("value", "")).strip()
    if not value.isascii() or not value.isdecimal() or len(value) > 18:
        raise BadRule("Choose an ABM server.", at)
    return int(value)


_CLEANERS: dict[Kind, Callable[[Field, Mapping[str, Any], int], Any]] = {
    "text": _text,
    "choice": _choice,
    "version": _version,
    "date": _date,
    "number": _number,
    "server": _server,
}


def _small(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 6 + 1


def _part(condition: Mapping[str, Any]) -> Part:
    field = BY_KEY[condition["field"]]
    value = condition.get("value")
    return _PARTS[field.kind](field.sql, condition["op"], value)


def _text_part(sql: str, op: str, value: Any) -> Part:
    column = f"lower(coalesce({sql}, ''))"
    word = str(value).lower()
    match op:
        case "is":
            return f"{column} = %s", [word]
        case "is_not":
            return f"{column} <> %s", [word]
        case "contains":
            return f"strpos({column}, %s) > 0", [word]
        case "not_contains":
            return f"strpos({column}, %s) = 0", [word]
        case "starts_with":
            return f"starts_with({column}, %s)", [word]
        case "empty":
            return f"{column} = ''", []
        case _:
            return f"{column} <> ''", []


def _equal_part(sql: str, op: str, value: Any) -> Part:
    word = "IS NOT DISTINCT FROM" if op == "is" else "IS DISTINCT FROM"
    kind = "bigint" if isinstance(value, int) else "text"
    return f"({sql}) {word} %s::{kind}", [value]


def _version_part(sql: str, op: str, value: Any) -> Part:
    numbers = [int(each) for each in str(value).split(".")]
    if op == "is":
        # 26 means all of 26; 26.1 all of 26.1.
        return f"({sql})[1:{len(numbers)}] = %s::int[]", [numbers]
    # 26.1.0 is 26.1, and no array is less than one that goes on with zeros.
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return f"({sql}) {'>=' if op == 'at_least' else '<'} %s::int[]", [numbers]


def _date_part(sql: str, op: str, value: Any) -> Part:
    return f"{sql} {'>=' if op == 'on_or_after' else '<'} %s::timestamptz", [f"{value} 00:00+00"]


def _number_part(sql: str, op: str, value: Any) -> Part:
    inside = f"{sql} IN ({_FIRST} %s)"
    return (inside if op == "first" else f"{sql} IS NOT NULL AND NOT {inside}"), [value]


_PARTS: dict[Kind, Callable[[str, str, Any], Part]] = {
    "text": _text_part,
    "choice": _equal_part,
    "server": _equal_part,
    "version": _version_part,
    "date": _date_part,
    "number": _number_part,
}
