"""Enrollment links: made, listed and revoked by admins, followed by people with a device.

Following one costs nothing; a use counts when `enrollment.scep` issues a certificate.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from enrollment.errors import BadLink, Closed, ExpiredLink, RevokedLink, UnknownLink, UsedUpLink
from enrollment.models import EnrollmentLink
from enrollment.wire.profile import AccessRights
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record, record_reading
from mdm.secrets import seal, unseal

MAX_USES = 100_000
_PURPOSE = "link"
_TOKEN_BYTES = 18


@transaction.atomic
def create(
    actor: Actor,
    *,
    name: str,
    max_uses: int = 1,
    expires_at: datetime | None = None,
    serial_number: str = "",
    access_rights: AccessRights = AccessRights.ALL,
) -> EnrollmentLink:
    """A new link. Raises BadLink, NotAllowed."""
    allow(actor, "link.create")
    _check(name, max_uses, expires_at, serial_number)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    link = EnrollmentLink.objects.create(
        name=name.strip(),
        token_sha256=_hash(token),
        sealed_token=seal(_PURPOSE, token.encode()),
        serial_number=serial_number.strip().upper(),
        access_rights=int(access_rights),
        max_uses=max_uses,
        expires_at=expires_at,
        created_by=actor.name,
    )
    after = {"name": link.name, "max_uses": max_uses, "serial_number": link.serial_number}
    after["expires_at"] = expires_at.isoformat() if expires_at else None
    record(actor, "link.create", subject_kind="link", subject_id=link.pk, after=after)
    return link


@transaction.atomic
def revoke(actor: Actor, link: EnrollmentLink) -> EnrollmentLink:
    """Close a link at once, also to those who already hold its profile. Raises NotAllowed."""
    allow(actor, "link.revoke")
    locked = EnrollmentLink.objects.select_for_update(no_key=True).get(pk=link.pk)
    if locked.revoked_at is None:
        locked.revoked_at, locked.revoked_by = timezone.now(), actor.name
        locked.save(update_fields=["revoked_at", "revoked_by"])
        record(actor, "link.revoke", subject_kind="link", subject_id=link.pk)
    return locked


def url(link: EnrollmentLink) -> str:
    """The address to give to people; whoever knows it can enroll a device. For who made the link
    just now; later it is `read_address`.
    """
    token = unseal(_PURPOSE, link.sealed_token).decode()
    return f"{settings.ENV.public_url}/enroll/{token}/"


def read_address(actor: Actor, link: EnrollmentLink, reason: str) -> str:
    """The address of a link that was made earlier, for who says what for. Raises Closed,
    NotAllowed, NoReason.
    """
    allow(actor, "link.create")
    problem = closed(link)
    if problem is not None:
        raise problem
    record_reading(actor, "link.read_address", reason, subject_kind="link", subject_id=link.pk)
    return url(link)


def follow(token: str) -> EnrollmentLink:
    """The open link with this token. Raises Closed."""
    link = EnrollmentLink.objects.filter(token_sha256=_hash(token)).first()
    if link is None:
        raise UnknownLink("There is no enrollment link with this address.")
    problem = closed(link)
    if problem is not None:
        raise problem
    return link


def closed(link: EnrollmentLink) -> Closed | None:
    """Why this link lets nobody in, or None while it is open."""
    if link.revoked_at is not None:
        return RevokedLink("This enrollment link was closed by an administrator.")
    if link.uses >= link.max_uses:
        return UsedUpLink("This enrollment link was used as often as it may be.")
    if link.expires_at is not None and link.expires_at <= timezone.now():
        return ExpiredLink("This enrollment link has expired.")
    return None


def count_use(link_id: int) -> None:
    """Count one issued certificate. Raises Closed; runs in the issuing transaction."""
    # No key: a challenge that is made meanwhile refers to this row and need not wait.
    link = EnrollmentLink.objects.select_for_update(no_key=True).get(pk=link_id)
    problem = closed(link)
    if problem is not None:
        raise problem
    EnrollmentLink.objects.filter(pk=link_id).update(
        uses=F("uses") + 1, last_used_at=timezone.now()
    )


def _check(name: str, max_uses: int, expires_at: datetime | None, serial_number: str) -> None:
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise BadLink("name", "Give the link a name of at most 100 characters.")
    if not 1 <= max_uses <= MAX_USES:
        raise BadLink("max_uses", f"A link is for 1 to {MAX_USES:,} devices.")
    if expires_at is not None and expires_at <= timezone.now():
        raise BadLink("expires_at", "The time at which the link expires is in the past.")
    if serial_number and not (serial_number.strip().isalnum() and len(serial_number) <= 64):
        raise BadLink("serial_number", "A serial number has only letters and digits.")


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()
