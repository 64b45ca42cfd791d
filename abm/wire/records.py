"""What the device enrollment service answers, as typed records; `abm.client` fetches them.

Apple adds keys without notice: what is not known here is kept in `more`. A known key of another
type than documented counts as missing and is kept in `more` too; only a record without a serial
number cannot be read. Source: Apple's "Device" and "AccountDetail" objects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

MAX_SERIAL = 64
MAX_TEXT = 1_000


class Unreadable(ValueError):
    """This is not what the service answers; the message says what is wrong with it."""


class OpType(StrEnum):
    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """A device as ABM knows it. Texts are "" and times None where Apple says nothing.

    `op_type` and `op_date` come with the feed of changes, `response_status` with an answer about
    single serial numbers. Times are aware.
    """

    serial_number: str
    model: str = ""
    description: str = ""
    color: str = ""
    asset_tag: str = ""
    device_family: str = ""
    os: str = ""
    profile_status: str = ""
    profile_uuid: str = ""
    profile_assign_time: datetime | None = None
    profile_push_time: datetime | None = None
    device_assigned_by: str = ""
    device_assigned_date: datetime | None = None
    mdm_migration_deadline: datetime | None = None
    op_type: str = ""
    op_date: datetime | None = None
    response_status: str = ""
    more: dict[str, Any] = field(default_factory=dict)


TEXTS = (
    *("model", "description", "color", "asset_tag", "device_family", "os"),
    *("profile_status", "profile_uuid", "device_assigned_by"),
)
TIMES = (
    *("profile_assign_time", "profile_push_time"),
    *("device_assigned_date", "mdm_migration_deadline"),
)
# What is compared with what we hold, in the order in which a difference is told.
FACTS = (*TEXTS, *TIMES, "more")
_READERS: dict[str, Callable[[object], object]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of the list or of the feed. `unreadable` are records that no one can use; `date`
    is Apple's clock when it answered.
    """

    devices: tuple[DeviceRecord, ...]
    cursor: str
    more_to_follow: bool
    fetched_until: datetime | None = None
    date: datetime | None = None
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The organization and the MDM server that a token belongs to. `more` is the whole answer."""

    server_uuid: str
    server_name: str
    org_name: str
    admin_id: str
    org_email: str
    org_phone: str
    org_address: str
    org_id: str
    org_id_hash: str
    org_type: str
    org_version: str
    more: dict[str, Any]


def read_page(answer: object, date: datetime | None = None) -> Page:
    """Raises Unreadable where the page as a whole is none."""
    if not isinstance(answer, dict):
        raise Unreadable("a page of devices is a JSON object")
    devices, cursor = answer.get("devices"), answer.get("cursor")
    more = answer.get("more_to_follow")
    if not isinstance(devices, list):
        raise Unreadable("a page of devices has a list of devices")
    if not isinstance(cursor, str) or not cursor or len(cursor) > 1_000 or "\0" in cursor:
        raise Unreadable("a page of devices has a cursor of up to 1,000 characters")
    if not isinstance(more, bool):
        raise Unreadable("a page of devices says whether more follow")
    read: list[DeviceRecord] = []
    unreadable: list[str] = []
    for record in devices:
        try:
            read.append(read_device(record))
        except Unreadable as error:
            unreadable.append(str(error))
    return Page(
        devices=tuple(read),
        cursor=cursor,
        more_to_follow=more,
        fetched_until=read_time(answer.get("fetched_until")),
        date=date,
        unreadable=tuple(unreadable),
    )


def read_device(record: object, serial_number: str = "") -> DeviceRecord:
    """One device. `serial_number` is what it is filed under, where the record repeats it not.

    Raises Unreadable.
    """
    if not isinstance(record, dict):
        raise Unreadable("a device is a JSON object")
    serial = read_serial(record.get("serial_number", serial_number))
    values: dict[str, Any] = {}
    more = {}
    for key, value in record.items():
        reader = _READERS.get(key)
        if reader is None:
            more[key] = value
        elif (read := reader(value)) is not None:
            values[key] = read
        elif value not in (None, ""):
            more[key] = value
    values["serial_number"] = serial
    return DeviceRecord(**values, more=_clean(more) if more else {})


def read_serial(value: object) -> str:
    """A serial number without the blanks around it. Raises Unreadable."""
    if not isinstance(value, str):
        raise Unreadable("a device without a serial number")
    serial = value.strip()
    if not serial or len(serial) > MAX_SERIAL or not (serial.isascii() and serial.isprintable()):
        raise Unreadable(f"not a serial number: {value[:80]!r}")
    return serial


def read_account(answer: object) -> Account:
    """Raises Unreadable where Apple does not say which server this is."""
    if not isinstance(answer, dict):
        raise Unreadable("account details are a JSON object")
    server_uuid = _text(answer.get("server_uuid")) or ""
    if not server_uuid:
        raise Unreadable("account details name the server's UUID")
    texts = ("server_name", "org_name", "admin_id", "org_email", "org_phone", "org_address")
    later = ("org_id", "org_id_hash", "org_type", "org_version")
    return Account(
        server_uuid=server_uuid,
        **{key: _text(answer.get(key)) or "" for key in (*texts, *later)},
        more=_clean(answer),
    )


def maximum(account: Mapping[str, Any], uri: str) -> int | None:
    """How many devices one request to `uri` may ask for, where the account's answer says so."""
    for entry in _list(account.get("urls")):
        limit = entry.get("limit") if isinstance(entry, dict) else None
        if isinstance(limit, dict) and entry.get("uri") == uri:
            most = limit.get("maximum")
            return most if _is_count(most) else None
    return None


def read_time(value: object) -> datetime | None:
    """An aware time from Apple's ISO 8601; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        read = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    # Postgres and Python disagree about the ends of time.
    if not 1970 <= read.year <= 9000:
        return None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


def _text(value: object) -> str | None:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        return None
    return value if value.isascii() and "\0" not in value else clean_text(value)


def _clean(value: Any) -> Any:
    """JSON whose texts are clean."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping):
        return {clean_text(str(key)): _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def clean_text(text: str) -> str:
    """Text that Postgres takes: it knows neither NUL nor lone surrogates."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


_READERS |= dict.fromkeys((*TEXTS, "op_type", "response_status", "serial_number"), _text)
_READERS |= dict.fromkeys((*TIMES, "op_date"), read_time)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
