"""One function per check-in message: what it changes, and what the device gets in return.

How a message reaches this module is `mdm/endpoints.py`; the SQL is `mdm/statements.py`; commands
are another endpoint (`commands/connect.py`). Source: Apple's "Check-in" and its message pages.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from mdm import identity, signals, statements
from mdm.models import Enrollment, Escrow
from mdm.protocol import checkin as messages
from mdm.protocol.checkin import CheckinMessage
from mdm.protocol.ids import EnrollmentID
from mdm.protocol.plist import plist_dumps, safe_plist_loads
from mdm.protocol.platform import platform_of
from mdm.refusals import Refused
from mdm.secrets import seal, unseal
from mdm.statements import Row

State = Enrollment.State

PUSH_TOKEN, UNLOCK_TOKEN, BOOTSTRAP_TOKEN = "push_token", "unlock_token", "bootstrap_token"

# How many enrollments one identity may put into quarantine.
_QUARANTINED_AT_MOST = 20


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
    """The enrollment that sent a message, its identity checked, its row locked."""

    enrollment: Row
    at: datetime


Responder = Callable[[Speaker, Any], Answer | None]


def handle(body: bytes, signer: identity.SignerCertificate) -> Answer:
    """Carry out one check-in message.

    Raises ProtocolError where it cannot be read and Refused where this identity may not send it;
    then nothing has changed, but for the quarantine.
    """
    content = safe_plist_loads(body)
    message = messages.read_checkin(content)
    record = plist_dumps(messages.redacted_content(content))
    if isinstance(message, messages.Authenticate):
        return authenticate(message, signer, record)
    if isinstance(message, messages.TokenUpdate):
        return token_update(message, signer, record)
    with transaction.atomic():
        speaker = _speaker(message.id, signer)
        return _HANDLERS[type(message)](speaker, message, record)


def answer_with(kind: type[CheckinMessage], responder: Responder) -> None:
    """Let another app answer messages of `kind` (GetToken, ReturnToService,
    DeclarativeManagement); the first responder that does not return None answers."""
    _responders.setdefault(kind, []).append(responder)


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
            known = next((row for row in rows if row["key"] == message.id.key), None)
            refusal = _why_not(message, signer, issued.binding, rows, known)
            if refusal is None:
                if issued.binding.purpose is identity.Purpose.RENEWAL and known:
                    _renew(known, parameters)
                    return Answer()
                if _begin(known, message, rows[0]["accepted"], parameters):
                    return Answer()
                continue  # another request made the row meanwhile: look again
            if refusal.reason in _QUARANTINED:
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


# Refusals that an admin decides about: a device turned up with an identity not issued for it.
_QUARANTINED = {"identity_of_another", "bound_to_another_serial", "live_enrollment"}


def _why_not(
    message: messages.Authenticate,
    signer: identity.SignerCertificate,
    binding: identity.Binding,
    rows: list[Row],
    known: Row | None,
) -> Refused | None:
    """Why this identity may not begin this enrollment; None when it may.

    An honest return of an erased device looks like a takeover, so an identity that is bound to no
    serial number never replaces a live enrollment without an admin's word.
    """
    facts = rows[0]
    if not facts["topic_is_ours"]:
        return Refused("foreign_topic", "The topic is not that of our push certificate.")
    if facts["revoked"]:
        return Refused("revoked_identity", "The identity was revoked.")
    if binding.purpose is identity.Purpose.RENEWAL:
        return _why_no_renewal(message.id, binding, known)
    if binding.purpose.value != message.id.kind:
        return Refused("wrong_purpose", "The identity was issued for another kind of enrollment.")
    if facts["accepted"] is not None:
        return None
    if facts["bound_to"] is not None and (known is None or facts["bound_to"] != known["id"]):
        return Refused("identity_of_another", "The identity belongs to another enrollment.")
    if binding.serial_number is not None:
        if (message.serial_number or "").lower() == binding.serial_number.lower():
            return None
        return Refused("bound_to_another_serial", "The identity was issued for another serial.")
    live = [row for row in rows if row["state"] == State.ENROLLED and not _bound(row, signer)]
    if live:
        return Refused("live_enrollment", "The device is enrolled with another identity.")
    return None


def _why_no_renewal(
    id: EnrollmentID, binding: identity.Binding, known: Row | None
) -> Refused | None:
    if known is None or binding.enrollment != id.key or known["state"] != State.ENROLLED:
        return Refused("wrong_renewal", "The identity renews another enrollment.")
    return None


def _begin(
    known: Row | None,
    message: messages.Authenticate,
    accepted: int | None,
    parameters: dict[str, object],
) -> bool:
    keeps_device = known is not None and (message.serial_number in {None, known["serial_number"]})
    parameters = parameters | {
        "enrollment": known["id"] if known else None,
        "device": known["device_id"] if known and keeps_device else None,
        "serial_number": message.serial_number
        or (known["serial_number"] if known and keeps_device else None),
        "accepted": accepted,
    }
    write = (
        statements.AUTHENTICATE_WRITE_BY_ID
        if keeps_device
        else statements.AUTHENTICATE_WRITE_BY_SERIAL
    )
    row = statements.one(write, parameters)
    if row is None:
        transaction.set_rollback(True)
        return False
    signals.authenticated.send(Enrollment, enrollment_id=row["id"], at=parameters["at"])
    return True


def _renew(known: Row, parameters: dict[str, object]) -> None:
    statements.one(statements.RENEW, parameters | {"enrollment": known["id"]})


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
        },
    )
    # None: another request opened the channel meanwhile; the device may repeat this message.
    return int(row["id"]) if row else None


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


def user_authenticate(
    speaker: Speaker, message: messages.UserAuthenticate, record: bytes
) -> Answer:
    """Directory users are not managed: 410 says so for this login session."""
    return Answer(status=410)


def set_bootstrap_token(
    speaker: Speaker, message: messages.SetBootstrapToken, record: bytes
) -> Answer:
    """Escrow the bootstrap token; a message without one withdraws it."""
    escrow = {"enrollment_id": speaker.enrollment["id"], "kind": Escrow.Kind.BOOTSTRAP_TOKEN}
    if message.bootstrap_token:
        sealed = seal(BOOTSTRAP_TOKEN, message.bootstrap_token)
        Escrow.objects.update_or_create(
            **escrow, defaults={"sealed": sealed, "received_at": speaker.at}
        )
    else:
        Escrow.objects.filter(**escrow).delete()
    return Answer()


def get_bootstrap_token(
    speaker: Speaker, message: messages.GetBootstrapToken, record: bytes
) -> Answer:
    """The escrowed token, or an empty dictionary."""
    row = Escrow.objects.filter(
        enrollment_id=speaker.enrollment["id"], kind=Escrow.Kind.BOOTSTRAP_TOKEN
    ).first()
    return Answer.plist(
        {"BootstrapToken": unseal(BOOTSTRAP_TOKEN, row.sealed)} if row is not None else {}
    )


def get_token(speaker: Speaker, message: messages.GetToken, record: bytes) -> Answer:
    """A token for one of Apple's services; 400 where nobody here makes them for that service."""
    return _respond(speaker, message) or Answer(status=400)


def return_to_service(speaker: Speaker, message: messages.ReturnToService, record: bytes) -> Answer:
    """How the device shall come back after erasing itself: not by itself, unless an app says so."""
    return _respond(speaker, message) or Answer.plist({"ReturnToService": {"Enabled": False}})


def declarative_management(
    speaker: Speaker, message: messages.DeclarativeManagement, record: bytes
) -> Answer:
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

_HANDLERS: dict[type[Any], Callable[[Speaker, Any, bytes], Answer]] = {
    messages.CheckOut: check_out,
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


def _speaker(id: EnrollmentID, signer: identity.SignerCertificate) -> Speaker:
    own, device = _rows(id, signer)
    return Speaker(own if own is not None else device, timezone.now())


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
    if not _bound(device, signer):
        raise Refused("identity_mismatch", "The identity is not the one bound to the enrollment.")
    return rows.get(id.key), device


def _bound(row: Row, signer: identity.SignerCertificate) -> bool:
    bound = row["identity_sha256"]
    return bound is not None and hmac.compare_digest(bytes(bound), signer.sha256)
