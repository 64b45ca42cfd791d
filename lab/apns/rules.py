"""What Apple's push service answers to one request; the connection itself is in
`lab.apns.server`. Source: "Sending notification requests to APNs", "Handling notification
responses from APNs"."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from lab.apns.postbox import Postbox, Push

MAX_PAYLOAD = 4096
DEVICE_PATH = "/3/device/"
PRIORITIES = frozenset({"1", "5", "10"})
_TOKEN = re.compile(r"(?:[0-9a-f]{2}){16,100}")
_ONCE = frozenset(
    {
        "apns-id",
        "apns-topic",
        "apns-push-type",
        "apns-expiration",
        "apns-priority",
        "apns-collapse-id",
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """`reason` and `timestamp` (milliseconds) make the body of anything but a 200."""

    status: int
    reason: str | None = None
    timestamp: int | None = None
    with_body: bool = True

    def body(self) -> bytes:
        if self.reason is None or not self.with_body:
            return b""
        content: dict[str, object] = {"reason": self.reason}
        if self.timestamp is not None:
            content["timestamp"] = self.timestamp
        return json.dumps(content).encode()


@dataclass(frozen=True, slots=True)
class PushRequest:
    """A request that passed every check that needs no knowledge of the device."""

    token: str
    push: Push


ACCEPTED = Answer(200)


def apns_id(headers: Iterable[tuple[str, str]]) -> str:
    """The id to answer with: the client's own where it is a UUID, else a new one."""
    for name, value in headers:
        if name == "apns-id" and _is_uuid(value):
            return value
    return str(uuid.uuid4()).upper()


def read(
    headers: list[tuple[str, str]], body: bytes, certificate_topic: str | None
) -> PushRequest | Answer:
    """The push that a request asks for, or Apple's refusal. `certificate_topic` is the UID of
    the client's certificate, None when it showed none."""
    fields = dict(headers)
    refusal = _route(fields) or _headers(headers, fields, certificate_topic) or _payload(body)
    if refusal is not None:
        return refusal
    token = fields[":path"].removeprefix(DEVICE_PATH).lower()
    if not _TOKEN.fullmatch(token):
        return Answer(400, "BadDeviceToken")
    magic = json.loads(body)["mdm"]
    return PushRequest(token, Push(magic, int(fields.get("apns-expiration", "0"))))


def deliver(request: PushRequest, topic: str, postbox: Postbox) -> Answer:
    """Hand the push to the device that holds the token, and say what Apple says."""
    held_for = postbox.topic(request.token)
    if held_for is None:
        return Answer(400, "BadDeviceToken")
    if held_for != topic:
        return Answer(400, "DeviceTokenNotForTopic")
    retired_at = postbox.retired_at(request.token)
    if retired_at is not None:
        return Answer(410, "Unregistered", retired_at)
    postbox.accept(request.token, request.push)
    return ACCEPTED


def _route(fields: dict[str, str]) -> Answer | None:
    if not fields.get(":path", "").startswith(DEVICE_PATH):
        return Answer(404, "BadPath")
    if fields.get(":method") != "POST":
        return Answer(405, "MethodNotAllowed")
    if fields[":path"] == DEVICE_PATH:
        return Answer(400, "MissingDeviceToken")
    return None


def _headers(
    headers: list[tuple[str, str]],
    fields: dict[str, str],
    certificate_topic: str | None,
) -> Answer | None:
    names = [name for name, _ in headers if name in _ONCE]
    if len(names) != len(set(names)):
        return Answer(400, "DuplicateHeaders")
    if certificate_topic is None:
        return Answer(403, "MissingProviderToken")
    topic = fields.get("apns-topic")
    if topic is None:
        return Answer(400, "MissingTopic")
    if topic != certificate_topic:
        return Answer(400, "TopicDisallowed" if topic.startswith("com.apple.") else "BadTopic")
    if fields.get("apns-push-type") != "mdm":
        return Answer(400, "InvalidPushType")
    if fields.get("apns-priority", "10") not in PRIORITIES:
        return Answer(400, "BadPriority")
    if not re.fullmatch(r"[0-9]{1,12}", fields.get("apns-expiration", "0")):
        return Answer(400, "BadExpirationDate")
    if "apns-id" in fields and not _is_uuid(fields["apns-id"]):
        return Answer(400, "BadMessageId")
    if len(fields.get("apns-collapse-id", "").encode()) > 64:
        return Answer(400, "BadCollapseId")
    return None


def _payload(body: bytes) -> Answer | None:
    """Apple does not say how it answers a push that a device could make nothing of; refusing it
    shows the mistake where the real service would let it vanish."""
    if len(body) > MAX_PAYLOAD:
        return Answer(413, "PayloadTooLarge")
    try:
        content = json.loads(body)
    except ValueError:
        return Answer(400, "PayloadEmpty")
    if not (
        isinstance(content, dict) and set(content) == {"mdm"} and isinstance(content["mdm"], str)
    ):
        return Answer(400, "PayloadEmpty")
    return None


def _is_uuid(value: str) -> bool:
    return bool(re.fullmatch(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", value))
