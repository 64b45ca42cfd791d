"""Who sent a check-in message: the enrollment, its identity checked and its row locked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from mdm import admission, identity, statements
from mdm.models import Enrollment
from mdm.protocol import checkin as messages
from mdm.protocol.checkin import CheckinMessage
from mdm.protocol.ids import EnrollmentID
from mdm.refusals import Refused
from mdm.statements import Row

State = Enrollment.State

LIVE = {State.AUTHENTICATED, State.ENROLLED}


@dataclass(frozen=True, slots=True)
class Speaker:
    """The enrollment that sent a message, its identity checked, its row locked.

    `device` is the row of the device channel, which for a device is the same.
    """

    enrollment: Row
    device: Row
    at: datetime


def speaker_of(message: CheckinMessage, signer: identity.SignerCertificate) -> Speaker:
    """Who may send this message. Raises Refused."""
    own, device = rows_of(message.id, signer)
    if own is None and not isinstance(message, _OF_ANY_USER):
        raise Refused("unknown_enrollment", "This user is not known here.")
    row = device if own is None else own
    if row["state"] == State.RELEASED:
        raise Refused("released", "An admin released this enrollment.")
    # Management that has ended may end once more, since a device that heard no answer repeats
    # itself; it is given no secrets.
    if row["state"] not in LIVE and not isinstance(message, messages.CheckOut):
        raise Refused("not_enrolled", f"This enrollment is over ({row['state']}).")
    return Speaker(row, device, timezone.now())


def rows_of(id: EnrollmentID, signer: identity.SignerCertificate) -> tuple[Row | None, Row]:
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


# What a user who has no channel here may say: these are about the machine, or about the user.
_OF_ANY_USER = (
    messages.UserAuthenticate,
    messages.SetBootstrapToken,
    messages.GetBootstrapToken,
)
