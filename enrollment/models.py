"""The ways in: our certificate authority, enrollment links, and the challenges they hand out.

Issued certificates are `mdm.models.Identity`, since the core checks them.
"""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from mdm.models import Device, Enrollment, Identity
from mdm.protocol.binding import Purpose
from mdm.secrets import SealedField
from profiles.models import Version


class CertificateAuthority(models.Model):
    """A CA that issues device identities. Older ones stay trusted, one of them issues."""

    certificate = models.BinaryField()
    # The private key in PKCS#8 (mdm/secrets.py, purpose "ca key").
    sealed_key = SealedField("ca key")
    created_at = models.DateTimeField(db_default=Now())
    active = models.BooleanField(default=True)

    class Meta:
        verbose_name_plural = "certificate authorities"
        constraints = [
            models.UniqueConstraint(
                fields=["active"],
                name="certificate_authority_in_use",
                condition=models.Q(active=True),
            )
        ]

    def __str__(self) -> str:
        return f"Certificate authority {self.pk}"


class EnrollmentLink(models.Model):
    """An address that lets people enroll `max_uses` devices; each issued certificate is a use."""

    name = models.CharField(max_length=100)
    token_sha256 = models.BinaryField(unique=True)
    # The token itself, for admins to copy the address again (mdm/secrets.py, purpose "link").
    sealed_token = SealedField("link")
    # Where set, only the device with this serial number gets in.
    serial_number = models.CharField(max_length=64, blank=True)
    access_rights = models.IntegerField()
    max_uses = models.PositiveIntegerField()
    uses = models.PositiveIntegerField(default=0)
    created_by = models.CharField(max_length=200)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(uses__lte=models.F("max_uses")), name="link_not_overused"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Challenge(models.Model):
    """A single-use permission for one identity certificate; the secret itself is not kept.

    Used, it remembers for which transaction and key, so that a client that missed the answer gets
    the same certificate again and nobody else gets one.
    """

    class Purpose(models.TextChoices):
        DEVICE = Purpose.DEVICE.value
        USER_ENROLLMENT = Purpose.USER_ENROLLMENT.value
        RENEWAL = Purpose.RENEWAL.value

    # Null where the certificate to be renewed takes the secret's place (SCEP's RenewalReq).
    secret_sha256 = models.BinaryField(unique=True, null=True)
    way = models.CharField(max_length=32)
    purpose = models.CharField(max_length=16, choices=Purpose.choices)
    link = models.ForeignKey(
        EnrollmentLink, null=True, on_delete=models.CASCADE, related_name="challenges"
    )
    serial_number = models.CharField(max_length=64, blank=True)
    # The enrollment that a renewal is for.
    enrollment = models.ForeignKey(
        Enrollment, null=True, on_delete=models.CASCADE, related_name="renewals"
    )
    access_rights = models.IntegerField()
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)
    transaction_id = models.CharField(max_length=255, blank=True)
    key_sha256 = models.BinaryField(null=True)
    identity = models.OneToOneField(
        Identity, null=True, on_delete=models.CASCADE, related_name="challenge"
    )

    class Meta:
        indexes = [
            models.Index(
                fields=["serial_number"],
                name="challenge_ade_of_serial",
                condition=models.Q(way="ade"),
            ),
            models.Index(
                fields=["link", "-id"],
                name="challenge_unused_of_link",
                condition=models.Q(used_at__isnull=True),
            ),
            models.Index(
                fields=["expires_at"],
                name="challenge_unused_expiry",
                condition=models.Q(used_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"Challenge {self.pk} ({self.way}, {self.purpose})"


class AppleCertificate(models.Model):
    """A certificate of Apple's that was accepted by its fingerprint (enrollment/apple.py)."""

    sha256 = models.BinaryField(unique=True)
    certificate = models.BinaryField()
    subject = models.CharField(max_length=300)
    fetched_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.subject


class MinimumOS(models.Model):
    """The oldest OS version that devices of a platform may enroll with."""

    platform = models.CharField(max_length=10, choices=Device.Platform.choices, unique=True)
    version = models.CharField(max_length=30)
    set_at = models.DateTimeField(db_default=Now())
    set_by = models.CharField(max_length=200)

    def __str__(self) -> str:
        return f"{self.platform} {self.version}"


class Arrival(models.Model):
    """A device that came by Automated Device Enrollment and was given an enrollment profile.
    Append-only.
    """

    class Flag(models.TextChoices):
        BELOW_MINIMUM = "below_minimum", "Below the minimum OS"
        UNCHECKED = "unchecked", "Not found in ABM, whose list is old"
        OLDER_PROFILE = "older_profile", "With an older version of its profile"
        OTHER_PROFILE = "other_profile", "With another profile than it should have"

    serial_number = models.CharField(max_length=64)
    udid = models.CharField("UDID", max_length=100, blank=True)
    product = models.CharField(max_length=100, blank=True)
    os_version = models.CharField("OS version", max_length=64, blank=True)
    build = models.CharField(max_length=64, blank=True)
    language = models.CharField(max_length=64, blank=True)
    version = models.ForeignKey(Version, null=True, on_delete=models.SET_NULL, related_name="+")
    # Who signed in, where the profile asks for that.
    person = models.CharField(max_length=200, blank=True)
    flags = models.JSONField(default=list)
    address = models.CharField(max_length=64, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["serial_number", "-id"], name="arrival_of_serial")]

    def __str__(self) -> str:
        return f"{self.serial_number} at {self.at:%Y-%m-%d %H:%M}"


class RefusedArrival(models.Model):
    """Devices, or whoever it was, that asked to enroll by ADE and were refused: one row for each
    claimed serial number and reason.
    """

    # What was claimed, and nothing proven. "" where nothing was, or for all beyond a bound.
    serial_number = models.CharField(max_length=64, blank=True)
    reason = models.CharField(max_length=40)
    sentence = models.CharField(max_length=500)
    address = models.CharField(max_length=64, blank=True)
    first_at = models.DateTimeField(db_default=Now())
    last_at = models.DateTimeField(db_default=Now())
    count = models.IntegerField(default=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["serial_number", "reason"], name="refused_arrival_once")
        ]
        indexes = [models.Index(fields=["-last_at"], name="refused_arrival_latest")]

    def __str__(self) -> str:
        return f"{self.serial_number or 'someone'}: {self.reason}"


class Holding(models.Model):
    """A device that waits in Setup Assistant until this server says that it is configured."""

    enrollment = models.OneToOneField(
        Enrollment, primary_key=True, on_delete=models.CASCADE, related_name="holding"
    )
    # The enrollment period that it belongs to: a device that comes back is held anew.
    period_id = models.BigIntegerField(null=True)
    began_at = models.DateTimeField(db_default=Now())
    limit_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True)
    # What released it: all that was wanted was done, the time limit, or someone.
    released_by = models.CharField(max_length=200, blank=True, db_default="")

    class Meta:
        indexes = [
            models.Index(
                fields=["limit_at"], name="holding_open", condition=models.Q(released_at=None)
            )
        ]

    def __str__(self) -> str:
        return f"{self.enrollment_id} since {self.began_at:%Y-%m-%d %H:%M}"
