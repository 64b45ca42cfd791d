"""The ways in: our certificate authority, enrollment links, and the challenges they hand out.

Issued certificates are `mdm.models.Identity`, since the core checks them.
"""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from mdm.models import Enrollment, Identity
from mdm.protocol.binding import Purpose
from mdm.secrets import SealedField


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
