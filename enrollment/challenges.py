"""Challenges: the single-use secrets in enrollment profiles, and what they permit.

Made here when a profile is handed out, redeemed here when `enrollment.scep` issues.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from enrollment import links
from enrollment.errors import Closed
from enrollment.models import Challenge, EnrollmentLink
from enrollment.wire.errors import BadCertificateId, BadRequest
from enrollment.wire.profile import AccessRights
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.models import Enrollment, Identity
from mdm.protocol.binding import Binding, Purpose

# From handing out a profile to its installation; a device may be offline before a renewal.
LINK_LIFETIME = timedelta(hours=24)
# In Setup Assistant SCEP follows within seconds; a device that is switched off meanwhile asks anew.
ARRIVAL_LIFETIME = timedelta(hours=1)
RENEWAL_LIFETIME = timedelta(days=30)
# How many unfinished profiles of a link are remembered: whoever loads the page without end makes
# the oldest ones useless, not the table endless.
MAX_OPEN = 1000
# How often one identity may be renewed with its own key alone.
MAX_RENEWALS = 5

ARRIVAL = "ade"
_SECRET_BYTES = 32
_FORGET_AT_ONCE = 100


def for_link(link: EnrollmentLink) -> str:
    """The secret of a new challenge that lets one device in through `link`."""
    now = timezone.now()
    until = now + LINK_LIFETIME
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    Challenge.objects.create(
        secret_sha256=_hash(secret),
        way="link",
        purpose=Challenge.Purpose.DEVICE,
        link=link,
        serial_number=link.serial_number,
        access_rights=link.access_rights,
        expires_at=min(until, link.expires_at) if link.expires_at else until,
    )
    _forget_unused(link)
    return secret


def for_arrival(serial_number: str) -> str:
    """The secret of a new challenge for the device that proved to have this serial number. The
    newest counts alone: earlier ones, and identities that came of them and are not in use, are
    void. Call it in a transaction.
    """
    earlier = Challenge.objects.filter(way=ARRIVAL, serial_number=serial_number)
    # First, since it waits for one that is just being redeemed: that identity is void then, too.
    earlier.filter(used_at=None).delete()
    # Of the row itself, not of a join: Postgres looks again once an Authenticate is through.
    issued = earlier.exclude(identity=None).values("identity")
    unused = Identity.objects.filter(pk__in=issued, enrollment=None, revoked_at=None)
    unused.update(revoked_at=timezone.now())
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    Challenge.objects.create(
        secret_sha256=_hash(secret),
        way=ARRIVAL,
        purpose=Challenge.Purpose.DEVICE,
        serial_number=serial_number,
        access_rights=int(AccessRights.ALL),
        expires_at=timezone.now() + ARRIVAL_LIFETIME,
    )
    return secret


@transaction.atomic
def for_renewal(actor: Actor, enrollment: Enrollment) -> str:
    """The secret of a new challenge for the next identity of this very enrollment.

    Raises NotAllowed.
    """
    allow(actor, "identity.renew", device=enrollment.device)
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    challenge = Challenge.objects.create(
        secret_sha256=_hash(secret),
        way="renewal",
        purpose=Challenge.Purpose.RENEWAL,
        enrollment=enrollment,
        access_rights=enrollment.access_rights or AccessRights.ALL,
        expires_at=timezone.now() + RENEWAL_LIFETIME,
    )
    record(
        actor,
        "identity.renew",
        subject_kind="enrollment",
        subject_id=enrollment.key,
        after={"challenge": challenge.pk},
    )
    return secret


def redeem(secret: str | None, transaction_id: str, key_sha256: bytes) -> Challenge:
    """The challenge with this secret, locked until the transaction ends.

    It is unused, or was used by this very transaction for this very key; then it has an identity.
    Raises BadRequest for every other.
    """
    if secret is None:
        raise BadRequest("the request brings no challenge")
    challenge = Challenge.objects.select_for_update().filter(secret_sha256=_hash(secret)).first()
    if challenge is None:
        raise BadRequest("the challenge is unknown")
    if challenge.used_at is not None:
        spent_for = (challenge.transaction_id, bytes(challenge.key_sha256 or b""))
        if spent_for != (transaction_id, key_sha256):
            raise BadRequest("the challenge was used before")
        return challenge
    if challenge.expires_at <= timezone.now():
        raise BadRequest("the challenge has expired")
    _count_use(challenge)
    return challenge


def for_signer(signer_sha256: bytes, transaction_id: str, key_sha256: bytes) -> Challenge:
    """The challenge for a renewal that is signed with the identity to be renewed.

    Only the identity that speaks for an enrollment now may do that. Runs in the issuing
    transaction; raises BadCertificateId, BadRequest.
    """
    enrollment = (
        Enrollment.objects.select_for_update()
        .filter(
            identity_sha256=signer_sha256,
            channel=Enrollment.Channel.DEVICE,
            state=Enrollment.State.ENROLLED,
        )
        .first()
    )
    identity = Identity.objects.filter(sha256=signer_sha256, revoked_at=None).first()
    if enrollment is None or identity is None:
        raise BadCertificateId("the signer is not an identity in use")
    renewals = Challenge.objects.filter(
        secret_sha256=None, enrollment=enrollment, created_at__gte=identity.issued_at
    )
    known = renewals.filter(transaction_id=transaction_id, key_sha256=key_sha256).first()
    if known is not None:
        return known
    if renewals.count() >= MAX_RENEWALS:
        raise BadRequest("this identity was renewed often enough")
    return Challenge.objects.create(
        way="renewal",
        purpose=Challenge.Purpose.RENEWAL,
        enrollment=enrollment,
        access_rights=identity.access_rights or AccessRights.ALL,
        expires_at=timezone.now(),
    )


def binding(challenge: Challenge) -> Binding:
    """What the identity that this challenge permits is for."""
    return Binding(
        purpose=Purpose(challenge.purpose),
        way=challenge.way,
        reference=str(challenge.pk),
        serial_number=challenge.serial_number or None,
        enrollment=challenge.enrollment.key if challenge.enrollment else None,
    )


def spend(challenge: Challenge, identity: Identity, transaction_id: str, key_sha256: bytes) -> None:
    """Remember what the challenge was used for."""
    challenge.used_at = timezone.now()
    challenge.transaction_id = transaction_id
    challenge.key_sha256 = key_sha256
    challenge.identity = identity
    challenge.save(update_fields=["used_at", "transaction_id", "key_sha256", "identity"])


def _count_use(challenge: Challenge) -> None:
    if challenge.link_id is None:
        return
    try:
        links.count_use(challenge.link_id)
    except Closed as error:
        raise BadRequest(str(error)) from error


def _forget_unused(link: EnrollmentLink) -> None:
    """Remove expired challenges, whosever they are, and the oldest of a link that has too many."""
    unused = Challenge.objects.filter(used_at=None)
    newest_first = unused.filter(link=link).order_by("-id").values("id")
    _forget(unused.filter(expires_at__lte=timezone.now()))
    _forget(unused.filter(id__in=newest_first[MAX_OPEN:]))


@transaction.atomic
def _forget(stale: QuerySet[Challenge]) -> None:
    # In one order and past what others hold, so that no two of these wait for each other.
    held = stale.order_by("id").select_for_update(skip_locked=True).values_list("id", flat=True)
    ids = list(held[:_FORGET_AT_ONCE])
    if ids:
        Challenge.objects.filter(id__in=ids).delete()


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()
