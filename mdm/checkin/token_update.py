"""TokenUpdate: how to wake a device or a user; the first one completes the enrollment."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from mdm import identity, signals, statements
from mdm.checkin.answer import Answer
from mdm.checkin.secrets import PUSH_TOKEN, UNLOCK_TOKEN
from mdm.checkin.speaker import rows_of
from mdm.models import Enrollment
from mdm.protocol import checkin as messages
from mdm.protocol.ids import EnrollmentID
from mdm.refusals import Refused
from mdm.secrets import seal
from mdm.statements import Row

State = Enrollment.State

# How many users a device may have.
_USERS_AT_MOST = 1000


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
    if message.id.key == message.id.device_key and _update_device(parameters):
        return Answer()
    with transaction.atomic():
        own, device = rows_of(message.id, signer)
        if device["topic"] != message.topic:
            raise Refused("foreign_topic", "The topic is not that of the enrollment.", status=400)
        if own is None:
            completes = _open_user_channel(message.id, device, parameters)
        else:
            completes = _update_token(own, device, parameters)
        if completes is not None:
            signals.enrollment_completed.send(Enrollment, enrollment_id=completes, at=at)
    return Answer()


def _update_device(parameters: dict[str, object]) -> bool:
    """The usual case in one statement; False, with nothing done, where a closer look is needed."""
    with signals.transaction_for(signals.enrollment_completed):
        row = statements.one(statements.TOKEN_UPDATE_OF_DEVICE, parameters)
        if row is not None and row["completes"]:
            signals.enrollment_completed.send(
                Enrollment, enrollment_id=row["id"], at=parameters["at"]
            )
    return row is not None


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
        statements.TOKEN_UPDATE,
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
