"""Enrollment profiles for those who may have one, signed by our CA (format: `wire/profile.py`).

The CA signs itself: a device that does not know it yet trusts no certificate under it either.
"""

from __future__ import annotations

from django.conf import settings
from django.db import transaction

from enrollment import authority, challenges
from enrollment.errors import NotReady
from enrollment.models import EnrollmentLink
from enrollment.wire.profile import (
    AccessRights,
    EnrollmentProfile,
    profile_bytes,
    sign_profile,
)
from mdm.audit.actor import Actor
from mdm.env import IdentityMode
from mdm.models import Enrollment, PushCertificate


def for_link(link: EnrollmentLink) -> bytes:
    """A signed profile with a challenge of its own. Raises NotReady."""
    topic = current_topic()
    return _signed(topic, challenges.for_link(link), AccessRights(link.access_rights))


def for_arrival(serial_number: str) -> bytes:
    """A signed profile for the device that proved to have this serial number, with a challenge for
    it alone. Raises NotReady; call it in a transaction.
    """
    topic = current_topic()
    return _signed(topic, challenges.for_arrival(serial_number), AccessRights.ALL)


@transaction.atomic
def for_renewal(actor: Actor, enrollment: Enrollment) -> bytes:
    """A signed profile that gives an enrolled device its next identity, for InstallProfile.

    Raises NotAllowed.
    """
    challenge = challenges.for_renewal(actor, enrollment)
    rights = AccessRights(enrollment.access_rights or AccessRights.ALL)
    return _signed(enrollment.topic, challenge, rights)


def current_topic() -> str:
    """The topic that devices enroll under. Raises NotReady without a push certificate."""
    topic = PushCertificate.objects.filter(active=True).values_list("topic", flat=True).first()
    if not topic:
        raise NotReady("This server has no push certificate yet; an administrator uploads one.")
    return topic


def _signed(topic: str, challenge: str, rights: AccessRights) -> bytes:
    own, base = authority.current(), settings.ENV.public_url
    profile = EnrollmentProfile(
        organization=settings.ENV.organization,
        ca_certificate=own.certificate,
        scep_url=f"{base}/scep",
        challenge=challenge,
        topic=topic,
        server_url=f"{base}/mdm/connect",
        check_in_url=f"{base}/mdm/checkin",
        sign_message=settings.ENV.identity_mode is IdentityMode.MDM_SIGNATURE,
        access_rights=rights,
    )
    return sign_profile(profile_bytes(profile), own.certificate, own.key)
