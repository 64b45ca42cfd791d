"""What Apple's device enrollment service answers: sessions, limits, the list, the feed, answers
about single devices, profiles. Source: developer.apple.com/documentation/devicemanagement, "Device
Assignment". How answers travel, and what happens to connections, is `lab.dep.listener`.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lab.dep import faults
from lab.dep.clock import stamp
from lab.dep.cursors import Cursor, Kind
from lab.dep.faults import FETCH, SESSION, SYNC, FaultBoard, FaultKind
from lab.dep.oauth import Doorkeeper
from lab.dep.portal import MdmServer, Operation, Portal
from lab.dep.records import NEWEST_VERSION, render
from lab.errors import CursorRefused

# A session that nobody uses is over after so many seconds.
IDLE = 180
USUAL_LIMIT = 100
MOST_SERIALS = 1_000
_SESSION_HEADER = "X-ADM-Auth-Session"
_JSON = "application/json;charset=UTF8"
_TEXT = "text/plain;charset=UTF8"


@dataclass(slots=True)
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = _JSON


class Refused(Exception):
    """Apple's status and its plain word."""

    def __init__(self, status: int, word: str, retry_after: float | None = None) -> None:
        super().__init__(word)
        self.status, self.word, self.retry_after = status, word, retry_after

    def answer(self) -> Answer:
        headers = {} if self.retry_after is None else {"Retry-After": f"{self.retry_after:.0f}"}
        return Answer(self.status, self.word.encode(), headers, _TEXT)


@dataclass(slots=True)
class _Call:
    """One call within a session."""

    path: str
    query: Mapping[str, list[str]]
    body: Mapping[str, Any]
    server: MdmServer
    version: int


class Service:
    """`counts` says how often each answer was given: "200 /devices/sync", "401 /session"."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self.faults = FaultBoard()
        self.counts: Counter[str] = Counter()
        self._door = Doorkeeper(portal)
        self._calls: dict[tuple[str, str], Callable[[_Call], Any]] = {
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

    def fault(
        self, target: str, headers: Mapping[str, str], kinds: frozenset[FaultKind]
    ) -> faults.Fault | None:
        """A fault of these kinds that is due for this request, used up by it."""
        path = urlsplit(target).path
        return self.faults.take(path, self._name_of(path, headers), kinds)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """`headers` have names in lower case."""
        path = urlsplit(target).path
        try:
            self._check_client(headers)
            if path == SESSION:
                answer = self._open_session(target, headers)
            else:
                answer = self._within_session(method, target, headers, body)
        except Refused as refused:
            answer = refused.answer()
        self.counts[f"{answer.status} {path}"] += 1
        return answer

    # --- Sessions --------------------------------------------------------------------------------

    def _check_client(self, headers: Mapping[str, str]) -> None:
        if not headers.get("user-agent", "").strip():
            raise Refused(400, "USER_AGENT_MISSING")

    def _open_session(self, target: str, headers: Mapping[str, str]) -> Answer:
        url = f"http://{headers.get('host', '')}{target}"
        server, status, why = self._door.admit(url, headers.get("authorization", ""))
        self._refuse_to_order(SESSION, server.name if server else None)
        if server is None:
            raise Refused(status, why)
        return Answer(body=render({"auth_session_token": self._rotate(server)}))

    def _within_session(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        parts = urlsplit(target)
        session = headers.get(_SESSION_HEADER.lower(), "")
        server = self._server_of(session)
        if server is None:
            raise Refused(401, "UNAUTHORIZED")
        self._refuse_to_order(parts.path, server.name, server)
        call = self._calls.get((method, parts.path))
        if call is None:
            raise Refused(404, "NOT_FOUND")
        read = _object(body) if body else {}
        version = headers.get("x-server-protocol-version", "1")
        number = min(int(version), NEWEST_VERSION) if version.isdecimal() else 1
        # As at Apple, also a refusal within a session brings the next one.
        more = {_SESSION_HEADER: self._rotate(server)}
        try:
            said = call(_Call(parts.path, parse_qs(parts.query), read, server, number))
        except Refused as refused:
            answer = refused.answer()
            answer.headers |= more
            return answer
        return Answer(body=said if isinstance(said, bytes) else render(said), headers=more)

    def _refuse_to_order(
        self, path: str, name: str | None, server: MdmServer | None = None
    ) -> None:
        fault = self.faults.take(path, name, frozenset(_REFUSALS))
        if fault is None:
            return
        status, word, ends = _REFUSALS[fault.kind]
        if server is not None and ends:
            server.session = ""
        raise Refused(status, word, fault.seconds)

    def _rotate(self, server: MdmServer) -> str:
        server.session = secrets.token_hex(16)
        server.session_used = self.portal.clock.now().timestamp()
        return server.session

    def _server_of(self, session: str) -> MdmServer | None:
        now = self.portal.clock.now().timestamp()
        for server in self.portal.servers.values():
            token = server.token
            if not session or server.session != session or token is None:
                continue
            if now - server.session_used > IDLE or now >= token.expires:
                return None
            return server
        return None

    def _name_of(self, path: str, headers: Mapping[str, str]) -> str | None:
        if path == SESSION:
            authorization = headers.get("authorization", "")
            servers = self.portal.servers.values()
            found = (s for s in servers if s.token and s.token.consumer_key in authorization)
        else:
            session = headers.get(_SESSION_HEADER.lower(), "")
            found = (s for s in self.portal.servers.values() if session and s.session == session)
        return next((server.name for server in found), None)

    # --- Account ---------------------------------------------------------------------------------

    def _account(self, call: _Call) -> dict[str, Any]:
        server, maximum = call.server, call.server.maximum
        limit = {"default": USUAL_LIMIT, "maximum": maximum}
        serials = {"default": USUAL_LIMIT, "maximum": MOST_SERIALS}
        account = {
            "server_name": server.name,
            "server_uuid": server.uuid,
            "admin_id": "portal.admin@example.com",
            "facilitator_id": "portal.admin@example.com",
            "org_name": "GuardMDM Lab",
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

    def _fetch(self, call: _Call) -> bytes:
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

    def _sync(self, call: _Call) -> bytes:
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
        self, call: _Call, operations: Sequence[Operation], place: int
    ) -> Sequence[Operation]:
        """Apple's own weaknesses: it tells again what it told, and leaves things out."""
        if self.faults.take(call.path, call.server.name, {FaultKind.DUPLICATES}):
            earlier = call.server.log[max(0, place - len(operations) - 5) : place]
            return [*operations, *reversed(earlier)]
        if operations and self.faults.take(call.path, call.server.name, {FaultKind.LOSSY}):
            return operations[:-1]
        return operations

    def _page(self, call: _Call, devices: list[bytes], cursor: str, more: bool) -> bytes:
        if self.faults.take(call.path, call.server.name, {FaultKind.STUCK_CURSOR}):
            cursor, more = str(call.body.get("cursor") or cursor), True
        head = render(
            {
                "cursor": cursor,
                "more_to_follow": more,
                "fetched_until": stamp(self.portal.clock.now()),
            }
        )
        return head[:-1] + b',"devices":[' + b",".join(devices) + b"]}"

    def _cursor(self, call: _Call) -> Cursor:
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

    def _spoil_cursor(self, call: _Call) -> None:
        """Only a cursor that was sent can be refused."""
        if not call.body.get("cursor"):
            return
        fault = self.faults.take(call.path, call.server.name, faults.CURSOR_ERRORS)
        if fault is not None:
            raise Refused(400, _CURSOR_WORDS[fault.kind])

    # --- Single devices --------------------------------------------------------------------------

    def _details(self, call: _Call) -> dict[str, Any]:
        return {"devices": {serial: self._detail(call, serial) for serial in _serials(call)}}

    def _detail(self, call: _Call, serial: str) -> dict[str, Any]:
        if self.portal.owner(serial) is not call.server:
            return {"serial_number": serial, "response_status": "NOT_ACCESSIBLE"}
        record = self.portal.devices[serial].dictionary(call.version)
        return {**record, "response_status": "SUCCESS"}

    def _disown(self, call: _Call) -> dict[str, Any]:
        statuses = self._statuses(call, _serials(call))
        self.portal.release(serial for serial, said in statuses.items() if said == "SUCCESS")
        return {"devices": statuses}

    # --- Profiles --------------------------------------------------------------------------------

    def _define(self, call: _Call) -> dict[str, Any]:
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

    def _profile(self, call: _Call) -> dict[str, Any]:
        [known] = call.query.get("profile_uuid", [""])[:1]
        return {**self._owned_profile(call, known), "profile_uuid": known}

    def _assign(self, call: _Call) -> dict[str, Any]:
        known = call.body.get("profile_uuid")
        if not isinstance(known, str):
            raise Refused(400, "PROFILE_UUID_REQUIRED")
        self._owned_profile(call, known)
        statuses = self._put(call, known, _serials(call))
        said: dict[str, Any] = {"profile_uuid": known, "devices": statuses}
        if "THROTTLED" in statuses.values() and call.version >= 10:
            said["retry_after_seconds"] = 3600
        return said

    def _remove(self, call: _Call) -> dict[str, Any]:
        statuses = self._statuses(call, _serials(call))
        for serial in _succeeded(statuses):
            pushed = self.portal.devices[serial].profile_status == "pushed"
            gone = {} if pushed else {"profile_uuid": None, "profile_assign_time": None}
            self.portal.change(serial, profile_status="removed" if pushed else "empty", **gone)
        return {"devices": statuses}

    def _put(self, call: _Call, known: str, serials: Sequence[str]) -> dict[str, str]:
        statuses = self._statuses(call, serials)
        now = stamp(self.portal.clock.now())
        for serial in _succeeded(statuses):
            self.portal.change(
                serial, profile_status="assigned", profile_uuid=known, profile_assign_time=now
            )
        return statuses

    def _owned_profile(self, call: _Call, known: str) -> dict[str, Any]:
        if not known:
            raise Refused(400, "PROFILE_UUID_REQUIRED")
        found = self.portal.profiles.get(known)
        if found is None or found["server"] != call.server.uuid:
            raise Refused(404, "PROFILE_NOT_FOUND")
        return dict(found["profile"])

    def _statuses(self, call: _Call, serials: Sequence[str]) -> dict[str, str]:
        """Each serial number's own answer; a fault that was ordered takes those that it names."""
        said = {}
        fault = self.faults.take(call.path, call.server.name, faults.PER_SERIAL, serials)
        for serial in serials:
            ours = self.portal.owner(serial) is call.server
            said[serial] = "SUCCESS" if ours else "NOT_ACCESSIBLE"
            if ours and fault is not None and fault.concerns(serial):
                said[serial] = fault.kind.upper().replace("-", "_")
        return said

    # --- Account-driven enrollment ---------------------------------------------------------------

    def _discovery(self, call: _Call) -> dict[str, Any]:
        if not call.server.discovery_url:
            raise Refused(404, "NOT_FOUND")
        return {"mdm_service_discovery_url": call.server.discovery_url}

    def _set_discovery(self, call: _Call) -> bytes:
        call.server.discovery_url = str(call.body.get("mdm_service_discovery_url") or "")
        return b""


# Status, Apple's word, and whether the session is over.
_REFUSALS = {
    FaultKind.TERMS: (403, "T_C_NOT_SIGNED", False),
    FaultKind.TOKEN_EXPIRED: (401, "oauth_problem_adviser token_expired", True),
    FaultKind.TOKEN_REJECTED: (401, "oauth_problem_adviser token_rejected", True),
    FaultKind.ACCESS_DENIED: (403, "ACCESS_DENIED", False),
    FaultKind.FORBIDDEN: (403, "FORBIDDEN", True),
    FaultKind.STALE_SESSION: (401, "UNAUTHORIZED", True),
    FaultKind.TOO_MANY_REQUESTS: (429, "TOO_MANY_REQUESTS", False),
    FaultKind.INTERNAL_ERROR: (500, "INTERNAL_SERVER_ERROR", False),
    FaultKind.UNAVAILABLE: (503, "SERVICE_UNAVAILABLE", False),
}
_CURSOR_WORDS = {
    FaultKind.EXPIRED_CURSOR: "EXPIRED_CURSOR",
    FaultKind.INVALID_CURSOR: "INVALID_CURSOR",
    FaultKind.EXHAUSTED_CURSOR: "EXHAUSTED_CURSOR",
}


def _object(body: bytes) -> dict[str, Any]:
    try:
        read = json.loads(body)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise Refused(400, "MALFORMED_REQUEST_BODY")
    return read


def _limit(call: _Call) -> int:
    limit = call.body.get("limit", USUAL_LIMIT)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise Refused(400, "MALFORMED_REQUEST_BODY")
    return min(limit, call.server.maximum)


def _serials(call: _Call) -> list[str]:
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
