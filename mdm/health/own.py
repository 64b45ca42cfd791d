"""The core's probes but for the two that need a conversation of their own: the push certificate,
the first device, a second admin, the backup.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from datetime import timedelta

from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.utils import timezone

from mdm import secrets
from mdm.accounts import people
from mdm.accounts.models import User
from mdm.health import mailing, probes, public_url
from mdm.health.models import Backup
from mdm.health.probes import Found, Probe
from mdm.models import Device, InventorySection, PushCertificate
from mdm.push import certificate as certificates
from mdm.push.apns import Apns, Limits
from mdm.push.tls import client_context
from mdm.push.transport import Outcome, Push, PushError

# A backup that is older has missed too much.
BACKUP_AGE = timedelta(days=7)
# A token that no device has: what Apple then says of the push shows that it took the certificate.
_NOBODYS_TOKEN = "0" * 64
_TOKEN_IS_NONE = frozenset({"BadDeviceToken", "DeviceTokenNotForTopic", "Unregistered"})


def register() -> None:
    """The core's probes, in the order of the checklist."""
    for probe in (
        Probe(
            name="public_url",
            label="Public address and TLS",
            why="Devices come to GUARD_PUBLIC_URL, which is written into their profiles for good.",
            look=public_url.look,
            order=10,
        ),
        Probe(
            name="mail",
            label="Mail",
            why="People are invited and get back in by mail.",
            look=mailing.look,
            ask="Send me a mail",
            order=20,
            again=None,
        ),
        Probe(
            name="push_certificate",
            label="Push certificate",
            why="Without it no device can enroll or be woken.",
            look=push_certificate,
            order=30,
            again=timedelta(days=1),
            button="Upload",
            url_name="push_certificate",
            right="push_certificate.install",
        ),
        Probe(
            name="first_device",
            label="First device",
            why="Open an enrollment link on it and follow what it says.",
            look=first_device,
            order=60,
            lasting=True,
            button="Show the links",
            url_name="links",
        ),
        Probe(
            name="second_admin",
            label="A second admin",
            why="Somebody has to get in when the first one cannot, and to approve what is large.",
            look=second_admin,
            order=70,
            button="Invite someone",
            url_name="people_invite",
            right="people.invite",
        ),
        Probe(
            name="backup",
            label="Backup",
            why="The database holds everything, the keys of GUARD_ENCRYPTION_KEYS open it, and"
            " GUARD_SECRET_KEY signs. Keep all three, and the keys apart from the database.",
            look=backup,
            order=80,
        ),
    ):
        probes.register(probe)


def push_certificate(asked_by: int | None) -> Found:
    """Send Apple a push that can reach nobody, with the push certificate."""
    found = certificates.active()
    if found is None:
        return Found(False, "There is no push certificate here yet.")
    if found.not_after <= timezone.now():
        return Found(False, f"It expired on {found.not_after:%B %d, %Y}. Renew it.")
    try:
        key = secrets.unseal("push_key", found.sealed_key)
        context = client_context(found.certificate.encode(), key, ca=settings.ENV.apns_ca)
        said = asyncio.run(_push(found, context))
    except (secrets.Unsealable, ssl.SSLError, ValueError, OSError) as error:
        return Found(False, f"It cannot be used: {error}. Upload it again, with its key.")
    except PushError as error:
        return Found(
            False,
            f"Apple's push service cannot be reached from here: {error}. Let this server out to"
            " api.push.apple.com, port 443.",
        )
    if said.status == 200 or said.reason in _TOKEN_IS_NONE:
        return Found(
            True,
            f"Apple takes it for {found.topic}. It is valid until {found.not_after:%B %d, %Y}.",
        )
    return Found(
        False,
        f"Apple does not take it: {said.status} {said.reason}. See that it was made at"
        " identity.apple.com as an MDM push certificate, and upload it again.",
    )


def first_device(asked_by: int | None) -> Found:
    """A device that enrolled and answered a question."""
    answered = (
        InventorySection.objects.filter(enrollment__enrolled_at__isnull=False)
        .select_related("enrollment__device")
        .order_by("pk")
        .first()
    )
    if answered is not None:
        return Found(True, f"{answered.enrollment.device} enrolled, and answered.")
    came = Device.objects.filter(enrollment__enrolled_at__isnull=False).order_by("pk").first()
    if came is None:
        return Found(False, "No device has enrolled yet.")
    return Found(
        False,
        f"{came} enrolled and has not answered yet. It is woken by a push: see that it is on a"
        " network that lets it reach Apple (17.0.0.0/8, port 5223).",
    )


def second_admin(asked_by: int | None) -> Found:
    """Two admins who have been here and can prove who they are by more than a password."""
    # Numbers alone: whoever reads this page need not learn whose account is easier to get into.
    admins = list(people.admins())
    ready = sum(_is_ready(admin) for admin in admins)
    if len(admins) < 2:
        return Found(False, f"There is {'only one' if admins else 'no'} admin; two are needed.")
    have = "has" if ready == 1 else "have"
    words = f"{ready} of {len(admins)} admins {have} signed in and {have} a second factor"
    return Found(ready >= 2, f"{words}." if ready >= 2 else f"{words}; two are needed.")


def backup(asked_by: int | None) -> Found:
    """A backup that somebody took, or said that they took."""
    newest = Backup.objects.order_by("-at").first()
    how = "Run “manage.py backup <folder>” each night, or “manage.py backup_taken” after your own."
    if newest is None:
        return Found(False, f"None is known of. {how}")
    words = f"The newest is of {newest.at:%B %d, %Y, %H:%M} UTC: {newest.how}."
    if timezone.now() - newest.at > BACKUP_AGE:
        return Found(False, f"{words} That is over a week ago. {how}")
    return Found(True, f"{words} Are the keys kept too?")


async def _push(found: PushCertificate, context: ssl.SSLContext) -> Outcome:
    line = Apns(settings.ENV.apns_url, context, Limits(attempts=1))
    try:
        return await line.send(Push(_NOBODYS_TOKEN, "probe", found.topic, int(time.time())))
    finally:
        await line.close()


def _is_ready(admin: User) -> bool:
    """Whether this admin has been here, and can prove who they are by more than a password."""
    if admin.last_login is None or not people.is_settled(admin):
        return False
    factors = Authenticator.objects.filter(
        user=admin, type__in=[Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]
    )
    # A provider asks for its own.
    return any(each.exists() for each in (factors, SocialAccount.objects.filter(user=admin)))
