"""Whether an identity may begin an enrollment, or renew one: the rules of Authenticate.

`mdm/checkin/` reads and locks the rows these rules look at, and carries the decision out.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta

from django.utils import timezone

from mdm.identity import Binding, Purpose, SignerCertificate
from mdm.models import Enrollment
from mdm.protocol.checkin import Authenticate
from mdm.refusals import Refused
from mdm.statements import Row

State = Enrollment.State

# Refusals that an admin decides about: a device turned up with an identity not issued for it.
QUARANTINED = frozenset({"identity_of_another", "bound_to_another_serial", "live_enrollment"})

# From being issued to enrolling it takes seconds. What let the owner in is not looked at again, so
# an identity that was kept for later begins nothing.
FIRST_USE = timedelta(days=1)
# Whoever came this way proved no serial number: they said one, as a device of Apple's.
_SAID_ONLY = "ade"


def why_not(
    message: Authenticate, signer: SignerCertificate, binding: Binding, rows: list[Row]
) -> Refused | None:
    """Why this identity may not begin this enrollment; None when it may.

    `rows` is what AUTHENTICATE_READ returned (mdm/statements.py). A refusal whose reason is in
    QUARANTINED can be overruled by an admin, once and for the serial number that was shown.
    """
    known = known_row(message, rows)
    refusal = _never(message, signer, binding, rows[0], known)
    if refusal is not None or rows[0]["accepted"] is not None:
        return refusal
    if binding.purpose is Purpose.RENEWAL:
        return None
    return _without_an_admin(message, signer, binding, rows, known)


def why_not_unknown(
    message: Authenticate, signer: SignerCertificate, binding: Binding
) -> Refused | None:
    """The same where neither the device nor the enrollment nor a use of the identity is known."""
    return why_not(message, signer, binding, [_UNKNOWN])


def known_row(message: Authenticate, rows: list[Row]) -> Row | None:
    """The row of the enrollment that the message names."""
    return next((row for row in rows if row["key"] == message.id.key), None)


def is_bound(row: Row, signer: SignerCertificate) -> bool:
    """Whether this is the one certificate that speaks for the enrollment."""
    bound = row["identity_sha256"]
    return bound is not None and hmac.compare_digest(bytes(bound), signer.sha256)


# What AUTHENTICATE_READ returns of a device that nobody knows.
_UNKNOWN: Row = {
    "topic_is_ours": True,
    "revoked": None,
    "accepted": None,
    "bound_to": None,
    "key": None,
    "state": None,
    "serial_number": None,
    "identity_sha256": None,
    "issued_at": None,
    "last_seen_at": None,
}


def _never(
    message: Authenticate,
    signer: SignerCertificate,
    binding: Binding,
    facts: Row,
    known: Row | None,
) -> Refused | None:
    if not facts["topic_is_ours"]:
        return Refused("foreign_topic", "The topic is not that of our push certificate.")
    if facts["revoked"]:
        return Refused("revoked_identity", "The identity was revoked or replaced.")
    if binding.purpose is Purpose.RENEWAL:
        return _why_no_renewal(message, binding, known)
    if binding.purpose.value != message.id.kind:
        return Refused("wrong_purpose", "The identity was issued for another kind of enrollment.")
    if known is not None and known["kind"] != message.id.kind:
        return Refused("wrong_kind", "The identifier is one of another kind of enrollment.")
    if known is not None and known["state"] == State.RELEASED and is_bound(known, signer):
        return Refused("released", "An admin released this enrollment; it needs a new identity.")
    return None


def _why_no_renewal(message: Authenticate, binding: Binding, known: Row | None) -> Refused | None:
    is_its_own = known is not None and binding.enrollment == message.id.key
    if known is None or not is_its_own or known["state"] != State.ENROLLED:
        return Refused("wrong_renewal", "The identity renews another enrollment.")
    return None


def _without_an_admin(
    message: Authenticate,
    signer: SignerCertificate,
    binding: Binding,
    rows: list[Row],
    known: Row | None,
) -> Refused | None:
    """An honest return of an erased device looks like a takeover: only an identity that is bound
    to the serial number of a live enrollment replaces it, and only that one.
    """
    issued_at = rows[0]["issued_at"]
    bound_to = rows[0]["bound_to"]
    if bound_to is not None and (known is None or bound_to != known["id"]):
        return Refused("identity_of_another", "The identity belongs to another enrollment.")
    serial_number = binding.serial_number
    if serial_number is not None and not _same(message.serial_number, serial_number):
        return Refused("bound_to_another_serial", "The identity was issued for another serial.")
    for row in rows:
        its_own = serial_number is not None and _same(row["serial_number"], serial_number)
        if binding.way == _SAID_ONLY and not _may_have_been_erased(message, row, issued_at):
            its_own = False
        if row["state"] == State.ENROLLED and not its_own and not is_bound(row, signer):
            return Refused("live_enrollment", "The device is enrolled with another identity.")
    if bound_to is None and issued_at is not None and issued_at < timezone.now() - FIRST_USE:
        return Refused("stale_identity", "The identity was issued long ago and never used.")
    return None


def _may_have_been_erased(message: Authenticate, row: Row, issued_at: datetime | None) -> bool:
    """Whether this enrollment can be that of the device which asks, from before it was erased:
    then it has its UDID, and has not been heard of since the new identity was issued.
    """
    if row["key"] != message.id.key:
        return False
    seen = row["last_seen_at"]
    return seen is None or issued_at is None or seen <= issued_at


def _same(serial_number: str | None, other: str) -> bool:
    return (serial_number or "").lower() == other.lower()
