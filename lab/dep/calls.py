"""What the calls of the enrollment service say, each within a session: the account, the list, the
feed, answers about single devices, profiles. Who may call is decided in `lab.dep.service`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lab.dep import faults
from lab.dep.clock import stamp
from lab.dep.cursors import Cursor, Kind
from lab.dep.faults import FETCH, SYNC, FaultBoard, FaultKind
from lab.dep.portal import ADMIN, ORGANIZATION, MdmServer, Operation, Portal
from lab.dep.records import render
from lab.errors import CursorRefused

USUAL_LIMIT = 100
MOST_SERIALS = 1_000


class Refused(Exception):
    """Apple's status and its plain word."""

    def __init__(self, status: int, word: str, retry_after: float | None = None) -> None:
        super().__init__(word)
        self.status, self.word, self.retry_after = status, word, retry_after


@dataclass(slots=True)
class Call:
    """One call within a session."""

    path: str
    query: Mapping[str, list[str]]
    body: Mapping[str, Any]
    server: MdmServer
    version: int


class Calls:
    """`of` finds a call by method and path; it returns JSON, or what is written as it is, and
    raises Refused."""

    def __init__(self, portal: Portal, board: FaultBoard) -> None:
        self.portal = portal
        self.faults = board
        self._calls: dict[tuple[str, str], Callable[[Call], Any]] = {
            ("GET", "/account"): self._account,
            ("POST", FETCH): self._fetch,
            ("POST", SYNC): self._sync,
            ("POST", "/devices"): self._details,
            ("POST", "/devices/disown"): self._disown,
            ("POST", "/profile"): self._define,
            ("GET", "/profile"): self._profile,
            ("POST", "/profile/devices"): self._assign,
            ("PUT", "/profile/devices"): self._assign,
            ("DELETE", "/profile/devices"): self._remove,
            ("GET", "/account-driven-enrollment/profile"): self._discovery,
            ("POST", "/account-driven-enrollment/profile"): self._set_discovery,
            ("DELETE", "/account-driven-enrollment/profile"): self._set_discovery,
        }

    def of(self, method: str, path: str) -> Callable[[Call], Any] | None:
        return self._calls.get((method, path))

    # --- Account ---------------------------------------------------------------------------------

    def _account(self, call: Call) -> dict[str, Any]:
        server, maximum = call.server, call.server.maximum
        limit = {"default": USUAL_LIMIT, "maximum": maximum}
        serials = {"default": USUAL_LIMIT, "maximum": MOST_SERIALS}
        account = {
            "server_name": server.name,
            "server_uuid": server.uuid,
            "admin_id": ADMIN,
            "facilitator_id": ADMIN,
            "org_name": ORGANIZATION,
            "org_email": "lab@example.com",
            "org_phone": "555-0100",
            "org_address": "1 Example Way, Springfield",
        }
        if call.version < 3:
            return account
        return account | {
            "org_id": str(int(self.portal.organization[:8], 16)),
            "org_id_hash": self.portal.organization.replace("-", "").lower() * 2,
            "org_type": "org",
            "org_version": "v2",
            "urls": [
                {"uri": "/session", "http_method": ["GET"]},
                {"uri": "/account", "http_method": ["GET"]},
                {"uri": FETCH, "http_method": ["POST"], "limit": limit},
                {"uri": SYNC, "http_method": ["POST"], "limit": limit},
                {"uri": "/devices", "http_method": ["POST"], "limit": serials},
                {"uri": "/profile/devices", "http_method": ["POST", "PUT"], "limit": serials},
            ],
        }

    # --- The list and the feed -------------------------------------------------------------------

    def _fetch(self, call: Call) -> bytes:
        server, limit = call.server, _limit(call)
        self._spoil_cursor(call)
        began, place = len(server.log), 0
        if call.body.get("cursor"):
            cursor = self._cursor(call)
            if cursor.kind is Kind.FEED:
                raise Refused(400, "EXHAUSTED_CURSOR")
            began, place = cursor.began, cursor.place
        found = list(islice(server.after(place, 1 << 62), limit + 1))
        more = len(found) > limit
        found = found[:limit]
        if found:
            place = found[-1][0]
        following = self._write_cursor(
            server, Kind.LIST if more else Kind.FEED, place if more else began, began
        )
        devices = self.portal.devices
        rendered = [devices[serial].rendered(call.version) + b"}" for _, serial in found]
        return self._page(call, rendered, following, more)

    def _sync(self, call: Call) -> bytes:
        server, limit = call.server, _limit(call)
        self._spoil_cursor(call)
        if not call.body.get("cursor"):
            raise Refused(400, "CURSOR_REQUIRED")
        cursor = self._cursor(call)
        place = cursor.place if cursor.kind is Kind.FEED else cursor.began
        operations = server.log[place : place + limit]
        place += len(operations)
        more = place < len(server.log)
        following = self._write_cursor(server, Kind.FEED, place, cursor.began)
        told = self._spoil_page(call, operations, place)
        return self._page(call, [_rendered(each, call.version) for each in told], following, more)

    def _spoil_page(
        self, call: Call, operations: Sequence[Operation], place: int
    ) -> Sequence[Operation]:
        """Apple's own weaknesses: it tells again what it told, and leaves things out."""
        if self.faults.take_for(call.path, call.server.name, {FaultKind.DUPLICATES}):
            earlier = call.server.log[max(0, place - len(operations) - 5) : place]
            return [*operations, *reversed(earlier)]
        if operations and self.faults.take_for(call.path, call.server.name, {FaultKind.LOSSY}):
            return operations[:-1]
        return operations

    def _page(self, call: Call, devices: list[bytes], cursor: str, more: bool) -> bytes:
        if self.faults.take_for(call.path, call.server.name, {FaultKind.STUCK_CURSOR}):
            cursor, more = str(call.body.get("cursor") or cursor), True
        head = render(
            {
                "cursor": cursor,
                "more_to_follow": more,
                "fetched_until": stamp(self.portal.clock.now()),
            }
        )
        return head[:-1] + b',"devices":[' + b",".join(devices) + b"]}"

    def _cursor(self, call: Call) -> Cursor:
        text = call.body.get("cursor")
        if not isinstance(text, str) or len(text) > 1_000:
            raise Refused(400, "INVALID_CURSOR")
        try:
            return self.portal.cursors.read(text, call.server.uuid, self.portal.clock.now())
        except CursorRefused as refused:
            raise Refused(400, str(refused)) from refused

    def _write_cursor(self, server: MdmServer, kind: Kind, place: int, began: int) -> str:
        made = int(self.portal.clock.now().timestamp())
        return self.portal.cursors.write(Cursor(kind, server.uuid, place, began, made))

    def _spoil_cursor(self, call: Call) -> None:
        """Only a cursor that was sent can be refused."""
        if not call.body.get("cursor"):
            return
        fault = self.faults.take_for(call.path, call.server.name, faults.CURSOR_ERRORS)
        if fault is not None:
            raise Refused(400, _CURSOR_WORDS[fault.kind])

    # --- Single devices --------------------------------------------------------------------------

    def _details(self, call: Call) -> dict[str, Any]:
        serials = _serials(call)
        fault = self.faults.take_for(call.path, call.server.name, {FaultKind.FAILED}, serials)
        found = {serial: self._detail(call, serial) for serial in serials}
        for serial in filter(fault.concerns, serials) if fault else ():
            found[serial] = {"serial_number": serial, "response_status": "FAILED"}
        return {"devices": found}

    def _detail(self, call: Call, serial: str) -> dict[str, Any]:
        if self.portal.owner(serial) is not call.server:
            return {"serial_number": serial, "response_status": "NOT_ACCESSIBLE"}
        record = self.portal.devices[serial].dictionary(call.version)
        return {**record, "response_status": "SUCCESS"}

    def _disown(self, call: Call) -> dict[str, Any]:
        statuses = self._statuses(call, _serials(call))
        self.portal.release(serial for serial, said in statuses.items() if said == "SUCCESS")
        return {"devices": statuses}

    # --- Profiles --------------------------------------------------------------------------------

    def _define(self, call: Call) -> dict[str, Any]:
        profile = {key: value for key, value in call.body.items() if key != "devices"}
        if not isinstance(profile.get("profile_name"), str):
            raise Refused(400, "CONFIG_NAME_REQUIRED")
        if not 1 <= len(profile["profile_name"]) <= 125:
            raise Refused(400, "CONFIG_NAME_INVALID")
        if not profile.get("url"):
            raise Refused(400, "CONFIG_URL_REQUIRED")
        if not str(profile["url"]).startswith("https://") or len(profile["url"]) > 2_000:
            raise Refused(400, "CONFIG_URL_INVALID")
        if profile.get("is_mdm_removable") is False and not profile.get("is_supervised"):
            raise Refused(400, "FLAGS_INVALID")
        known = uuid.uuid4().hex.upper()
        self.portal.profiles[known] = {"server": call.server.uuid, "profile": profile}
        serials = call.body.get("devices") or []
        return {"profile_uuid": known, "devices": self._put(call, known, serials)}

    def _profile(self, call: Call) -> dict[str, Any]:
        [known] = call.query.get("profile_uuid", [""])[:1]
        return {**self._owned_profile(call, known), "profile_uuid": known}

    def _assign(self, call: Call) -> dict[str, Any]:
        known = call.body.get("profile_uuid")
        if not isinstance(known, str):
            raise Refused(400, "PROFILE_UUID_REQUIRED")
        self._owned_profile(call, known)
        statuses = self._put(call, known, _serials(call))
        said: dict[str, Any] = {"profile_uuid": known, "devices": statuses}
        if "THROTTLED" in statuses.values() and call.version >= 10:
            said["retry_after_seconds"] = 3600
        return said

    def _remove(self, call: Call) -> dict[str, Any]:
        statuses = self._statuses(call, _serials(call))
        for serial in _succeeded(statuses):
            pushed = self.portal.devices[serial].profile_status == "pushed"
            gone = {} if pushed else {"profile_uuid": None, "profile_assign_time": None}
            self.portal.change(serial, profile_status="removed" if pushed else "empty", **gone)
        return {"devices": statuses}

    def _put(self, call: Call, known: str, serials: Sequence[str]) -> dict[str, str]:
        statuses = self._statuses(call, serials)
        now = stamp(self.portal.clock.now())
        for serial in _succeeded(statuses):
            self.portal.change(
                serial, profile_status="assigned", profile_uuid=known, profile_assign_time=now
            )
        return statuses

    def _owned_profile(self, call: Call, known: str) -> dict[str, Any]:
        if not known:
            raise Refused(400, "PROFILE_UUID_REQUIRED")
        found = self.portal.profiles.get(known)
        if found is None or found["server"] != call.server.uuid:
            raise Refused(404, "PROFILE_NOT_FOUND")
        return dict(found["profile"])

    def _statuses(self, call: Call, serials: Sequence[str]) -> dict[str, str]:
        """Each serial number's own answer; a fault that was ordered takes those that it names."""
        said = {}
        fault = self.faults.take_for(call.path, call.server.name, faults.PER_SERIAL, serials)
        for serial in serials:
            ours = self.portal.owner(serial) is call.server
            said[serial] = "SUCCESS" if ours else "NOT_ACCESSIBLE"
            if ours and fault is not None and fault.concerns(serial):
                said[serial] = fault.kind.upper().replace("-", "_")
        return said

    # --- Account-driven enrollment ---------------------------------------------------------------

    def _discovery(self, call: Call) -> dict[str, Any]:
        if not call.server.discovery_url:
            raise Refused(404, "NOT_FOUND")
        return {"mdm_service_discovery_url": call.server.discovery_url}

    def _set_discovery(self, call: Call) -> bytes:
        call.server.discovery_url = str(call.body.get("mdm_service_discovery_url") or "")
        return b""


_CURSOR_WORDS = {
    FaultKind.EXPIRED_CURSOR: "EXPIRED_CURSOR",
    FaultKind.INVALID_CURSOR: "INVALID_CURSOR",
    FaultKind.EXHAUSTED_CURSOR: "EXHAUSTED_CURSOR",
}


def _limit(call: Call) -> int:
    limit = call.body.get("limit", USUAL_LIMIT)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise Refused(400, "MALFORMED_REQUEST_BODY")
    return min(limit, call.server.maximum)


def _serials(call: Call) -> list[str]:
    serials = call.body.get("devices")
    if not isinstance(serials, list) or not serials:
        raise Refused(400, "DEVICE_ID_REQUIRED")
    if len(serials) > MOST_SERIALS or not all(isinstance(each, str) for each in serials):
        raise Refused(400, "MALFORMED_REQUEST_BODY")
    return serials


def _succeeded(statuses: Mapping[str, str]) -> list[str]:
    return [serial for serial, said in statuses.items() if said == "SUCCESS"]


def _rendered(operation: Operation, version: int) -> bytes:
    more = f',"op_type":"{operation.op_type}","op_date":"{operation.op_date}"}}'
    return operation.record.rendered(version) + more.encode()
