"""The audit log's rows. `mdm/audit/record.py` writes them."""

from __future__ import annotations

from django.db import models


class AuditEvent(models.Model):
    """One change by someone, or one reading of a secret. Append-only.

    `sealed_hash` is filled by a background task that chains the rows, so that writers never wait
    for one another.
    """

    class ActorKind(models.TextChoices):
        PERSON = "person"
        TOKEN = "token"
        DEVICE = "device"
        SYSTEM = "system"

    at = models.DateTimeField(db_index=True)
    actor_kind = models.CharField(max_length=10, choices=ActorKind.choices)
    actor_id = models.CharField(max_length=100)
    actor_name = models.CharField(max_length=200)
    address = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=80, db_index=True)
    subject_kind = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=300)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    sealed_hash = models.BinaryField(null=True, editable=False)

    class Meta:
        indexes = [models.Index(fields=["subject_kind", "subject_id", "id"])]

    def __str__(self) -> str:
        return f"{self.actor_name} {self.action} {self.subject_kind} {self.subject_id}"
