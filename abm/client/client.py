"""One conversation with Apple's device enrollment service; what comes back is `answer.py`, what its
records mean `abm.wire.records`.

Source: developer.apple.com/documentation/devicemanagement, "Device Assignment".
"""

from __future__ import annotations

import json
import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from itertools import islice
from typing import Any, TypeVar

import httpx
from oauthlib.oauth1 import SIGNATURE_HMAC_SHA1
from oauthlib.oauth1 import Client as Signer

from abm.client.answer import SESSION, Answer, SessionOver, bounded, error_of, session_error
from abm.client.errors import AbmError, Refused, Throttled, TokenInvalid, Unavailable
from abm.wire.records import (
    Account,
    DeviceRecord,
    Page,
    Unreadable,
    clean_text,
    read_account,
    read_device,
    read_page,
)

Read = TypeVar("Read")

USER_AGENT = "GuardMDM/1.0"
PROTOCOL_VERSIONS = (10, 9, 7)
# Apple's own bound for lists of serial numbers.
MOST_SERIALS = 1_000


@dataclass(frozen=True, slots=True)
class Credentials:
    """The four words of a server token."""

    consumer_key: str
    consumer_secret: str
    access_token: str
    access_secret: str

    def __repr__(self) -> str:
        return "Credentials(…)"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on when Apple does not answer as hoped: `attempts` in all, waiting `first`
    seconds, then twice as long each time, at most `longest`. `pause(seconds, why)` waits.
    """

    attempts: int = 4
    first: float = 1.0
    longest: float = 20.0
    pause: Callable[[float, str], None] = lambda seconds, why: time.sleep(seconds)

    def wait(self, attempt: int, error: AbmError) -> bool:
        """Wait before the next attempt; False where there is to be none."""
        if attempt >= self.attempts or (error.retry_after or 0.0) > self.longest:
            return False
        own = min(self.longest, self.first * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
        self.pause(max(own, error.retry_after or 0.0), str(error))
        return True


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds: until a connection stands, until the next bytes come, for one answer in all."""

    connect: float = 10.0
    read: float = 60.0
    answer: float = 180.0


class Client:
    """One conversation with the service; use it in a `with`. `session` is what Apple calls the
    session token: "" where none is open; keep the last one for the next conversation. `date` is
    Apple's clock at its last answer.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        session: str = "",
        patience: Patience | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        self.session = session
        self.date: datetime | None = None
        self._url = url
        self._credentials = credentials
        self._patience = patience or Patience()
        self._deadlines = deadlines or Deadlines()
        self._version = PROTOCOL_VERSIONS[0]
        self._http = httpx.Client(
            timeout=httpx.Timeout(self._deadlines.read, connect=self._deadlines.connect),
            headers={"User-Agent": USER_AGENT, "Content-Type": "application/json;charset=UTF8"},
            limits=httpx.Limits(max_connections=2),
            verify=_trusted(),
            trust_env=False,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    # --- The service's calls -----------------------------------------------------------------

    def account(self) -> Account:
        """GET /account. Like every call it raises AbmError."""
        return self._read(read_account, self._call("GET", "/account").json)

    def list_devices(self, cursor: str, limit: int) -> Page:
        """POST /server/devices: a page of all devices; "" as cursor begins anew."""
        return self._page("/server/devices", cursor, limit)

    def list_changes(self, cursor: str, limit: int) -> Page:
        """POST /devices/sync: a page of what changed since `cursor`."""
        return self._page("/devices/sync", cursor, limit)

    def details(self, serials: Sequence[str]) -> tuple[dict[str, DeviceRecord], datetime | None]:
        """POST /devices: what Apple says of each serial number now, `response_status` included,
        and its clock before the first answer. A serial that it passes over is left out.
        """
        found: dict[str, DeviceRecord] = {}
        date: datetime | None = None
        for batch in _batches(serials):
            answer = self._call("POST", "/devices", {"devices": batch})
            date = date or answer.date
            for serial, record in self._by_serial(answer, batch).items():
                found[serial] = self._read(partial(read_device, serial_number=serial), record)
        return found, date

    def disown(self, serials: Sequence[str]) -> dict[str, str]:
        """POST /devices/disown, which cannot be undone: a status for each serial number."""
        return self._statuses("POST", "/devices/disown", serials, again=False)

    def define_profile(self, profile: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        """POST /profile: the new profile's UUID, and a status for each of its `devices`."""
        answer = self._call("POST", "/profile", profile)
        uuid = answer.object.get("profile_uuid")
        if not isinstance(uuid, str) or not uuid:
            raise Unavailable("Apple's answer has no profile UUID.")
        return uuid, _status_map(answer.object.get("devices") or {})

    def profile(self, profile_uuid: str) -> dict[str, Any]:
        """GET /profile: a profile as it was defined."""
        return self._call("GET", "/profile", query={"profile_uuid": profile_uuid}).object

    def assign_profile(
        self, profile_uuid: str, serials: Sequence[str]
    ) -> tuple[dict[str, str], float | None]:
        """PUT /profile/devices: a status for each serial number, and the seconds after which
        those that were throttled may be tried again.
        """
        statuses: dict[str, str] = {}
        wait: float | None = None
        for batch in _batches(serials):
            body = {"profile_uuid": profile_uuid, "devices": batch}
            answer = self._call("PUT", "/profile/devices", body)
            statuses |= _status_map(answer.object.get("devices"))
            wait = max(
                filter(None, (wait, _seconds(answer.object.get("retry_after_seconds")))),
                default=None,
            )
        return statuses, wait

    def remove_profile(self, serials: Sequence[str]) -> dict[str, str]:
        """DELETE /profile/devices: a status for each serial number."""
        return self._statuses("DELETE", "/profile/devices", serials)

    def activation_lock(self, serial: str, *, escrow_key: str = "", lost_message: str = "") -> str:
        """POST /device/activationlock: Apple's status."""
        more = {"escrow_key": escrow_key, "lost_message": lost_message}
        body = {"device": serial, **{key: value for key, value in more.items() if value}}
        return str(
            self._call("POST", "/device/activationlock", body).object.get("response_status", "")
        )

    def replacement_details(self, serial: str) -> dict[str, Any]:
        """GET /device/replacementDetails: which device this one replaces, and since when."""
        return self._call("GET", "/device/replacementDetails", query={"device": serial}).object

    def beta_enrollment_tokens(self) -> list[dict[str, Any]]:
        """GET /os-beta-enrollment/tokens: token, title and os of each beta program."""
        listed = self._call("GET", "/os-beta-enrollment/tokens").object.get("betaEnrollmentTokens")
        return (
            [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
        )

    def service_discovery(self) -> str:
        """GET /account-driven-enrollment/profile: the address that is set; "" for none."""
        try:
            answer = self._call("GET", "/account-driven-enrollment/profile")
        except Refused as refused:
            if refused.status == httpx.codes.NOT_FOUND:
                return ""
            raise
        return str(answer.object.get("mdm_service_discovery_url") or "")

    def set_service_discovery(self, url: str) -> None:
        """POST /account-driven-enrollment/profile; "" removes what is set."""
        path = "/account-driven-enrollment/profile"
        if url:
            self._call("POST", path, {"mdm_service_discovery_url": url})
        else:
            self._call("DELETE", path)

    # --- What the calls share ------------------------------------------------------------------

    def _page(self, path: str, cursor: str, limit: int) -> Page:
        body = {"limit": limit, **({"cursor": cursor} if cursor else {})}
        answer = self._call("POST", path, body)
        return self._read(lambda read: read_page(read, answer.date), answer.json)

    def _statuses(
        self, method: str, path: str, serials: Sequence[str], *, again: bool = True
    ) -> dict[str, str]:
        statuses: dict[str, str] = {}
        for batch in _batches(serials):
            answer = self._call(method, path, {"devices": batch}, again=again)
            statuses |= _status_map(answer.object.get("devices"))
        return statuses

    def _by_serial(self, answer: Answer, asked: Iterable[str]) -> dict[str, Any]:
        listed = answer.object.get("devices")
        if not isinstance(listed, dict):
            raise Unavailable("Apple's answer about single devices has no devices.")
        return {serial: listed[serial] for serial in asked if isinstance(listed.get(serial), dict)}

    def _read(self, read: Callable[[Any], Read], answer: object) -> Read:
        try:
            return read(answer)
        except Unreadable as error:
            raise Unavailable(f"Apple's answer cannot be read: {error}.") from error

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        again: bool = True,
    ) -> Answer:
        """Ask, and ask again where that may help. A session that Apple does not know any more is
        opened anew once, and once only.
        """
        renewed = False
        attempt = 0
        while True:
            attempt += 1
            try:
                if not self.session:
                    self._open_session()
                return self._once(method, path, body, query)
            except SessionOver as over:
                self.session = ""
                if renewed:
                    raise TokenInvalid(over.said or "Apple refuses each new session.") from over
                renewed, attempt = True, attempt - 1
            except _OtherProtocol:
                attempt -= 1
            except (Throttled, Unavailable) as error:
                if not again or not self._patience.wait(attempt, error):
                    raise

    def _open_session(self) -> None:
        url = f"{self._url}/session"
        headers = {"Authorization": _authorization(url, self._credentials)}
        answer = self._send("GET", url, None, headers)
        if answer.status >= 400:
            raise session_error(answer)
        token = answer.object.get("auth_session_token")
        if not isinstance(token, str) or not token:
            raise Unavailable("Apple's answer has no session.")
        self.session = token

    def _once(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
    ) -> Answer:
        headers = {SESSION: self.session, "X-Server-Protocol-Version": str(self._version)}
        content = json.dumps(body).encode() if body is not None else None
        url = httpx.URL(f"{self._url}{path}", params=query)
        answer = self._send(method, str(url), content, headers)
        if answer.session:
            self.session = answer.session
        if answer.status >= 400:
            self._fall_back(answer)
            raise error_of(answer)
        return answer

    def _fall_back(self, answer: Answer) -> None:
        """To an older protocol version, where Apple refuses the one that was said."""
        older = [version for version in PROTOCOL_VERSIONS if version < self._version]
        if answer.status == 400 and "PROTOCOL" in answer.said.upper() and older:
            self._version = older[0]
            raise _OtherProtocol

    def _send(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        over = time.monotonic() + self._deadlines.answer
        try:
            with self._http.stream(method, url, content=content, headers=dict(headers)) as response:
                answer = Answer(response, b"".join(bounded(response, over)))
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise Unavailable(f"Apple does not answer: {reason}.") from error
        self.date = answer.date or self.date
        return answer


class _OtherProtocol(Exception):
    pass


@cache
def _trusted() -> ssl.SSLContext:
    """Whom to trust. Reading all the authorities takes longer than a page of changes."""
    return httpx.create_ssl_context(trust_env=False)


def _authorization(url: str, credentials: Credentials) -> str:
    signer = Signer(
        credentials.consumer_key,
        client_secret=credentials.consumer_secret,
        resource_owner_key=credentials.access_token,
        resource_owner_secret=credentials.access_secret,
        signature_method=SIGNATURE_HMAC_SHA1,
        realm="ADM",
    )
    _, headers, _ = signer.sign(url, "GET")
    return str(headers["Authorization"])


def _batches(serials: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(serials)
    while batch := list(islice(rest, MOST_SERIALS)):
        yield batch


def _status_map(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise Unavailable("Apple's answer has no status of each device.")
    return {str(serial): clean_text(str(status)) for serial, status in value.items()}


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    return float(value)
