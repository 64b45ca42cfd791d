"""Apple's device enrollment service to whoever asks: sessions, protocol versions, refusals. What is
said within a session is `lab.dep.calls`; how answers travel, and what happens to connections,
`lab.dep.listener`. Source: developer.apple.com/documentation/devicemanagement, "Device Assignment".
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lab.dep import faults
from lab.dep.calls import Call, Calls, Refused
from lab.dep.faults import SESSION, FaultBoard, FaultKind
from lab.dep.oauth import Doorkeeper
from lab.dep.portal import MdmServer, Portal
from lab.dep.records import NEWEST_VERSION, render

# A session that nobody uses is over after so many seconds.
IDLE = 180
_SESSION_HEADER = "X-ADM-Auth-Session"
_JSON = "application/json;charset=UTF8"
_TEXT = "text/plain;charset=UTF8"


@dataclass(slots=True)
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = _JSON


class Service:
    """`counts` says how often each answer was given: "200 /devices/sync", "401 /session"."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self.faults = FaultBoard()
        self.counts: Counter[str] = Counter()
        self._door = Doorkeeper(portal)
        self._calls = Calls(portal, self.faults)

    def fault(
        self, target: str, headers: Mapping[str, str], kinds: frozenset[FaultKind]
    ) -> faults.Fault | None:
        """A fault of these kinds that is due for this request, used up by it."""
        path = urlsplit(target).path
        return self.faults.take_for(path, self._name_of(path, headers), kinds)

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
            answer = _refusal(refused)
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
        call = self._calls.of(method, parts.path)
        if call is None:
            raise Refused(404, "NOT_FOUND")
        read = _object(body) if body else {}
        version = headers.get("x-server-protocol-version", "1")
        number = min(int(version), NEWEST_VERSION) if version.isdecimal() else 1
        # As at Apple, also a refusal within a session brings the next one.
        more = {_SESSION_HEADER: self._rotate(server)}
        try:
            said = call(Call(parts.path, parse_qs(parts.query), read, server, number))
        except Refused as refused:
            answer = _refusal(refused)
            answer.headers |= more
            return answer
        return Answer(body=said if isinstance(said, bytes) else render(said), headers=more)

    def _refuse_to_order(
        self, path: str, name: str | None, server: MdmServer | None = None
    ) -> None:
        fault = self.faults.take_for(path, name, frozenset(_REFUSALS))
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


def _refusal(refused: Refused) -> Answer:
    wait = refused.retry_after
    headers = {} if wait is None else {"Retry-After": f"{wait:.0f}"}
    return Answer(refused.status, refused.word.encode(), headers, _TEXT)


def _object(body: bytes) -> dict[str, Any]:
    try:
        read = json.loads(body)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise Refused(400, "MALFORMED_REQUEST_BODY")
    return read
