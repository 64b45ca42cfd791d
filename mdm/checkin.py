"""One function per check-in message: what it changes, and what the device gets in return.

How a message reaches this module is `mdm/endpoints.py`; the SQL is `mdm/statements.py`; commands
are another endpoint (`commands/connect.py`). Source: Apple's "Check-in" and its message pages.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from mdm import admission, identity, signals, statements
from mdm.models import Enrollment, Escrow
from mdm.protocol import checkin as messages
from mdm.protocol.checkin import CheckinMessage
from mdm.protocol.errors import BadMessage
from mdm.protocol.ids import EnrollmentID
from mdm.protocol.platform import platform_of
from mdm.protocol.plist import plist_dumps, safe_plist_loads
from mdm.refusals import Refused
from mdm.secrets import seal, unseal
from mdm.statements import Row

State = Enrollment.State

_LIVE = {State.AUTHENTICATED, State.ENROLLED}

PUSH_TOKEN, UNLOCK_TOKEN, BOOTSTRAP_TOKEN = "push_token", "unlock_token", "bootstrap_token"

# How many enrollments one identity may put into quarantine, and how many users a device may have.
_QUARANTINED_AT_MOST = 20
_USERS_AT_MOST = 1000
# Messages that are kept are a few kilobytes long without their secrets.
_RECORD_AT_MOST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes = b""
    content_type: str = "application/xml; charset=UTF-8"
    status: int = 200

    @classmethod
    def plist(cls, content: dict[str, object]) -> Answer:
        return cls(plist_dumps(content))

    @classmethod
    def json(cls, content: object) -> Answer:
        return cls(json.dumps(content).encode(), "application/json")


@dataclass(frozen=True, slots=True)
class Speaker:
    """The enrollment that sent a message, its identity checked, its row locked.

    `device` is the row of the device channel, which for a device is the same.
    """

    enrollment: Row
    device: Row
    at: datetime


Responder = Callable[[Speaker, Any], Answer | None]


def handle(body: bytes, signer: identity.SignerCertificate) -> Answer:
    """Carry out one check-in message.

    Raises ProtocolError where it cannot be read and Refused where this identity may not send it;
    then nothing has changed, but for the quarantine.
    """
    content = safe_plist_loads(body)
    message = messages.read_checkin(content)
    if isinstance(message, messages.Authenticate):
        return authenticate(message, signer, _record(content))
    if isinstance(message, messages.TokenUpdate):
        return token_update(message, signer, _record(content))
    with transaction.atomic():
        speaker = _speaker(message, signer)
        if isinstance(message, messages.CheckOut):
            return check_out(speaker, message, _record(content))
        return _HANDLERS[type(message)](speaker, message)


def answer_with(kind: type[CheckinMessage], responder: Responder) -> None:
    """Let another app answer messages of `kind` (GetToken, ReturnToService,
    DeclarativeManagement); the first responder that does not return None answers."""
    _responders.setdefault(kind, []).append(responder)


def _record(content: dict[str, object]) -> bytes:
    """The message as it is kept, without its secrets. Raises BadMessage where it is too large."""
    record = plist_dumps(messages.redacted_content(content))
    if len(record) > _RECORD_AT_MOST:
        raise BadMessage("too-large", "The message holds more than such messages do.")
    return record


# --- Authenticate ---------------------------------------------------------------------------------


def authenticate(
    message: messages.Authenticate, signer: identity.SignerCertificate, record: bytes
) -> Answer:
    """Begin a new enrollment period, or exchange the identity where it was issued for renewal."""
    issued = identity.issued(signer)
    parameters = _authenticate_parameters(message, signer, issued, record)
    while True:
        with transaction.atomic():
            rows = statements.every(statements.AUTHENTICATE_READ, parameters)
            known = admission.known_row(message, rows)
            refusal = admission.why_not(message, signer, issued.binding, rows)
            if refusal is None:
                if issued.binding.purpose is identity.Purpose.RENEWAL and known:
                    _renew(known, parameters)
                    return Answer()
                if _begin(known, message, rows, parameters):
                    return Answer()
                continue  # another request made the row meanwhile: look again
            if refusal.reason in admission.QUARANTINED:
                _quarantine(refusal.reason, parameters)
        raise refusal


def _authenticate_parameters(
    message: messages.Authenticate,
    signer: identity.SignerCertificate,
    issued: identity.Issued,
    record: bytes,
) -> dict[str, object]:
    return {
        "key": message.id.key,
        "kind": message.id.kind,
        "device_identifier": message.id.device_id,
        "udid": message.id.device_id if message.id.kind == "device" else "",
        "serial_number": message.serial_number,
        "platform": platform_of(message.product_name or message.model),
        "device_name": message.device_name or "",
        "product_name": message.product_name or "",
        "model": message.model or "",
        "model_name": message.model_name or "",
        "os_version": (message.os_version or "")[:64],
        "build_version": (message.build_version or "")[:64],
        "imei": (message.imei or "")[:64],
        "meid": (message.meid or "")[:64],
        "topic": message.topic,
        "identity": signer.sha256,
        "certificate": signer.der,
        "binding": issued.binding.to_uri(),
        "expires_at": issued.certificate.not_valid_after_utc,
        "body": record,
        "at": timezone.now(),
    }


def _begin(
    known: Row | None,
    message: messages.Authenticate,
    rows: list[Row],
    parameters: dict[str, object],
) -> bool:
    """Returns False, with everything undone, where another request was faster."""
    keeps_device = known is not None and (message.serial_number in {None, known["serial_number"]})
    parameters = parameters | {
        "enrollment": known["id"] if known else None,
        "device": known["device_id"] if known and keeps_device else None,
        "serial_number": message.serial_number
        or (known["serial_number"] if known and keeps_device else None),
        "accepted": rows[0]["accepted"],
    }
    if known is None:
        write = statements.BEGIN_NEW
    elif keeps_device:
        write = statements.BEGIN_AGAIN
    else:
        write = statements.BEGIN_AGAIN_ELSEWHERE
    row = statements.one(write, parameters)
    if row is None:
        transaction.set_rollback(True)
        return False
    signals.authenticated.send(
        Enrollment, enrollment_id=row["id"], at=parameters["at"], returns=known is not None
    )
    _supersede([other for other in rows if other is not known], parameters)
    return True


def _supersede(others: list[Row], parameters: dict[str, object]) -> None:
    """End what the same machine had under other identifiers: their identities are out of use."""
    gone = [row for row in others if row["id"] is not None]
    if gone:
        revoked = {"enrollments": [row["id"] for row in gone]}
        statements.one(statements.REVOKE, parameters | revoked)
    for row in gone:
        if row["state"] in _LIVE:
            end(row["id"], State.CHECKED_OUT, at=timezone.now(), record=None)


def _renew(known: Row, parameters: dict[str, object]) -> None:
    replaced = {"enrollment": known["id"], "replaced": known["identity_sha256"]}
    statements.one(statements.RENEW, parameters | replaced)


def _quarantine(reason: str, parameters: dict[str, object]) -> None:
    statements.one(
        statements.QUARANTINE,
        parameters
        | {
            "reason": reason,
            "most": _QUARANTINED_AT_MOST,
            "serial_number": parameters["serial_number"] or "",
        },
    )


# --- TokenUpdate ----------------------------------------------------------------------------------


def token_update(
    message: messages.TokenUpdate, signer: identity.SignerCertificate, record: bytes
) -> Answer:
    """Store how to wake the device or user; the first one of a period completes the enrollment."""
    at = timezone.now()
    parameters: dict[str, object] = {
        "key": message.id.key,
        "topic": message.topic,
        "push_magic": message.push_magic,
        "push_token": seal(PUSH_TOKEN, message.token),
        "unlock_token": seal(UNLOCK_TOKEN, message.unlock_token) if message.unlock_token else None,
        "awaiting_configuration": message.awaiting_configuration,
        "not_on_console": message.not_on_console,
        "user_short_name": message.id.user_short_name or "",
        "user_long_name": message.id.user_long_name or "",
        "identity": signer.sha256,
        "body": record,
        "at": at,
    }
    with transaction.atomic():
        own, device = _rows(message.id, signer)
        if device["topic"] != message.topic:
            raise Refused("foreign_topic", "The topic is not that of the enrollment.", status=400)
        if own is None:
            completes = _open_user_channel(message.id, device, parameters)
        else:
            completes = _update_token(own, device, parameters)
        if completes is not None:
            signals.enrollment_completed.send(Enrollment, enrollment_id=completes, at=at)
    return Answer()


def _update_token(own: Row, device: Row, parameters: dict[str, object]) -> int | None:
    """Returns the enrollment's id when this was the first TokenUpdate of a period."""
    if not device["is_current"]:
        raise Refused("superseded", "The machine enrolled again under another identifier.")
    if State.RELEASED in {own["state"], device["state"]}:
        raise Refused("released", "An admin released this enrollment.")
    if own is not device and device["state"] != State.ENROLLED:
        raise Refused("device_not_enrolled", "The device of this user is not enrolled.")
    completes = own["state"] != State.ENROLLED
    statements.one(
        statements.TOKEN_UPDATE_WRITE,
        parameters
        | {
            "enrollment": own["id"],
            "period": own["period_id"],
            "completes": completes,
            # A device restored from a backup, and a user that comes back, send no Authenticate.
            "reopens": completes and own["state"] != State.AUTHENTICATED,
        },
    )
    return int(own["id"]) if completes else None


def _open_user_channel(id: EnrollmentID, device: Row, parameters: dict[str, object]) -> int | None:
    if device["state"] != State.ENROLLED:
        raise Refused("device_not_enrolled", "The device of this user is not enrolled.")
    row = statements.one(
        statements.USER_CHANNEL_WRITE,
        parameters
        | {
            "parent": device["id"],
            "channel": id.channel,
            "user_identifier": id.user_id or "",
            "most": _USERS_AT_MOST,
        },
    )
    if row is None or row["users"] >= _USERS_AT_MOST:
        raise Refused("too_many_users", "The device has too many users.")
    # None: another request opened the channel meanwhile; the device may repeat this message.
    return None if row["id"] is None else int(row["id"])


# --- The other messages ---------------------------------------------------------------------------


def check_out(speaker: Speaker, message: messages.CheckOut, record: bytes) -> Answer:
    """Management ended on the device. What was escrowed is kept for the retention time."""
    end(speaker.enrollment["id"], State.CHECKED_OUT, at=speaker.at, record=record)
    return Answer()


def end(enrollment_id: int, state: Enrollment.State, *, at: datetime, record: bytes | None) -> None:
    """End the management of an enrollment and of the user channels under it.

    `state` says how: CheckedOut, Erased or Released. Call inside a transaction.
    """
    ended = statements.every(
        statements.END,
        {"enrollment": enrollment_id, "state": state, "at": at, "body": record},
    )
    for row in ended:
        signals.enrollment_ended.send(Enrollment, enrollment_id=row["id"], at=at)


def user_authenticate(speaker: Speaker, message: messages.UserAuthenticate) -> Answer:
    """Directory users are not managed: 410 says so for this login session."""
    return Answer(status=410)


def set_bootstrap_token(speaker: Speaker, message: messages.SetBootstrapToken) -> Answer:
    """Escrow the machine's bootstrap token; a message without one withdraws it."""
    escrow = {"enrollment_id": speaker.device["id"], "kind": Escrow.Kind.BOOTSTRAP_TOKEN}
    if message.bootstrap_token:
        sealed = seal(BOOTSTRAP_TOKEN, message.bootstrap_token)
        Escrow.objects.update_or_create(
            **escrow, defaults={"sealed": sealed, "received_at": speaker.at}
        )
    else:
        Escrow.objects.filter(**escrow).delete()
    return Answer()


def get_bootstrap_token(speaker: Speaker, message: messages.GetBootstrapToken) -> Answer:
    """The escrowed token, or an empty dictionary."""
    row = Escrow.objects.filter(
        enrollment_id=speaker.device["id"], kind=Escrow.Kind.BOOTSTRAP_TOKEN
    ).first()
    return Answer.plist(
        {"BootstrapToken": unseal(BOOTSTRAP_TOKEN, row.sealed)} if row is not None else {}
    )


def get_token(speaker: Speaker, message: messages.GetToken) -> Answer:
    """A token for one of Apple's services; 400 where nobody here makes them for that service."""
    return _respond(speaker, message) or Answer(status=400)


def return_to_service(speaker: Speaker, message: messages.ReturnToService) -> Answer:
    """How the device shall come back after erasing itself: not by itself, unless an app says so."""
    return _respond(speaker, message) or Answer.plist({"ReturnToService": {"Enabled": False}})


def declarative_management(speaker: Speaker, message: messages.DeclarativeManagement) -> Answer:
    """Answer as the protocol wants when nothing is declared, unless an app declares something."""
    return _respond(speaker, message) or _nothing_declared(speaker, message.endpoint)


# The token of the empty set of declarations.
_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _nothing_declared(speaker: Speaker, endpoint: str) -> Answer:
    if endpoint == "status":
        return Answer()
    if endpoint == "tokens":
        since = speaker.enrollment["enrolled_at"] or speaker.at
        stamp = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        return Answer.json({"SyncTokens": {"DeclarationsToken": _NOTHING, "Timestamp": stamp}})
    if endpoint == "declaration-items":
        kinds = ("Activations", "Assets", "Configurations", "Management")
        return Answer.json(
            {"Declarations": {kind: [] for kind in kinds}, "DeclarationsToken": _NOTHING}
        )
    return Answer(status=404)


# --- Who speaks -----------------------------------------------------------------------------------

_responders: dict[type[Any], list[Responder]] = {}

_HANDLERS: dict[type[Any], Callable[[Speaker, Any], Answer]] = {
    messages.UserAuthenticate: user_authenticate,
    messages.SetBootstrapToken: set_bootstrap_token,
    messages.GetBootstrapToken: get_bootstrap_token,
    messages.GetToken: get_token,
    messages.ReturnToService: return_to_service,
    messages.DeclarativeManagement: declarative_management,
}


def _respond(speaker: Speaker, message: CheckinMessage) -> Answer | None:
    for responder in _responders.get(type(message), []):
        answer = responder(speaker, message)
        if answer is not None:
            return answer
    return None


# What a user who has no channel here may say: these are about the machine, or about the user.
_OF_ANY_USER = (
    messages.UserAuthenticate,
    messages.SetBootstrapToken,
    messages.GetBootstrapToken,
)


def _speaker(message: CheckinMessage, signer: identity.SignerCertificate) -> Speaker:
    own, device = _rows(message.id, signer)
    if own is None and not isinstance(message, _OF_ANY_USER):
        raise Refused("unknown_enrollment", "This user is not known here.")
    row = device if own is None else own
    if row["state"] == State.RELEASED:
        raise Refused("released", "An admin released this enrollment.")
    # Management that has ended may end once more, since a device that heard no answer repeats
    # itself; it is given no secrets.
    if row["state"] not in _LIVE and not isinstance(message, messages.CheckOut):
        raise Refused("not_enrolled", f"This enrollment is over ({row['state']}).")
    return Speaker(row, device, timezone.now())


def _rows(id: EnrollmentID, signer: identity.SignerCertificate) -> tuple[Row | None, Row]:
    """The speaker's own row (None for a user not seen before) and its device channel's.

    Raises Refused where the device channel is unknown or bound to another identity.
    """
    rows = {
        row["key"]: row
        for row in statements.every(
            statements.SPEAKERS, {"key": id.key, "device_key": id.device_key}
        )
    }
    device = rows.get(id.device_key)
    if device is None:
        raise Refused("unknown_enrollment", "This enrollment is not known here.")
    if not admission.is_bound(device, signer):
        raise Refused("identity_mismatch", "The identity is not the one bound to the enrollment.")
    return rows.get(id.key), device
