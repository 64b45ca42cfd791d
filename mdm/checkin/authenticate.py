"""Authenticate: a new enrollment period begins, or a renewed identity takes over.

Whether it may is `mdm/admission.py`.
"""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone

from mdm import admission, identity, signals, statements
from mdm.checkin.answer import Answer
from mdm.checkin.ending import end
from mdm.checkin.speaker import LIVE
from mdm.models import Enrollment
from mdm.protocol import checkin as messages
from mdm.protocol.platform import platform_of
from mdm.statements import Row

State = Enrollment.State

# How many enrollments one identity may put into quarantine.
_QUARANTINED_AT_MOST = 20


def authenticate(
    message: messages.Authenticate, signer: identity.SignerCertificate, record: bytes
) -> Answer:
    """Begin a new enrollment period, or exchange the identity where it was issued for renewal."""
    issued = identity.claimed(signer)
    parameters = _authenticate_parameters(message, signer, issued, record)
    is_plain = admission.why_not_unknown(message, signer, issued.binding) is None
    if is_plain and _begin_unknown(parameters):
        return Answer()
    identity.check_issuer(issued)
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
    now = timezone.now()
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
        "at": now,
        "oldest": now - admission.FIRST_USE,
    }


def _begin_unknown(parameters: dict[str, object]) -> bool:
    """Begin in one statement where nobody knows the device and the identity is on record, unused.

    Returns False, with nothing done, where a closer look is needed.
    """
    try:
        with signals.transaction_for(signals.authenticated):
            row = statements.one(statements.BEGIN_UNKNOWN, parameters)
            if row is not None:
                signals.authenticated.send(
                    Enrollment, enrollment_id=row["id"], at=parameters["at"], returns=False
                )
    except IntegrityError:
        return False  # another request was faster
    return row is not None


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
        "speaks": rows[0]["speaks"],
    }
    if known is None:
        write = statements.BEGIN_NEW
    else:
        write = statements.begin_again("id" if keeps_device else "serial_number")
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
        if row["state"] in LIVE:
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
