"""What Apple holds of one device, rendered once for each protocol version that differs. Where a
device is assigned is in `lab.dep.portal`, what it is drawn from in `lab.dep.catalog`."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass, field, fields, replace
from typing import Any

from lab.errors import LabError

NEWEST_VERSION = 10
_STEPS = (2, 7, 8, 10)
_SINCE = {
    "device_family": 2,
    "os": 2,
    "mdm_migration_deadline": 8,
    "imei": 10,
    "meid": 10,
    "eid": 10,
    "wifi_mac_address": 10,
    "bluetooth_mac_address": 10,
    "ethernet_mac_address": 10,
    "is_replacement_device": 10,
}


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Apple's device dictionary (developer.apple.com/documentation/devicemanagement/device), as
    it was after one operation: a change makes another Record."""

    serial_number: str
    device_family: str
    os: str
    model: str
    description: str
    color: str
    asset_tag: str = ""
    profile_status: str = "empty"
    profile_uuid: str | None = None
    profile_assign_time: str | None = None
    profile_push_time: str | None = None
    device_assigned_date: str | None = None
    device_assigned_by: str | None = None
    mdm_migration_deadline: str | None = None
    imei: tuple[str, ...] = ()
    meid: tuple[str, ...] = ()
    eid: str | None = None
    wifi_mac_address: str | None = None
    bluetooth_mac_address: str | None = None
    ethernet_mac_address: str | None = None
    is_replacement_device: bool = False
    _rendered: dict[int, bytes] = field(default_factory=dict, init=False, repr=False)

    def dictionary(self, version: int = NEWEST_VERSION) -> dict[str, Any]:
        """What a client of this protocol version is shown; keys without a value are left out."""
        shown: dict[str, Any] = {}
        for name in NAMES:
            value = getattr(self, name)
            if value is None or value == () or _SINCE.get(name, 1) > version:
                continue
            shown[name] = value
        if version < 7 and shown.get("os") == "iPadOS":
            shown["os"] = "iOS"
        return shown

    def rendered(self, version: int) -> bytes:
        """The dictionary as JSON, without its last brace, so that more can be put behind it."""
        step = bisect_right(_STEPS, version)
        found = self._rendered.get(step)
        if found is None:
            found = self._rendered[step] = render(self.dictionary(version))[:-1]
        return found

    def changed(self, **values: Any) -> Record:
        """Raises LabError for a field that devices do not have."""
        unknown = values.keys() - set(NAMES)
        if unknown:
            raise LabError(f"Devices have no field {', '.join(sorted(unknown))}.")
        return replace(self, **values)

    @classmethod
    def restored(cls, saved: dict[str, Any]) -> Record:
        """From what `dictionary` gave."""
        values = {
            **saved,
            "imei": tuple(saved.get("imei", ())),
            "meid": tuple(saved.get("meid", ())),
        }
        return cls(**values)


NAMES = tuple(entry.name for entry in fields(Record) if entry.init)


def render(content: object) -> bytes:
    """Compact JSON in UTF-8."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
