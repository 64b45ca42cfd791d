"""The audit log's rows. `mdm/audit/record.py` writes them, `seal.py` chains them, `refused.py` sums
up what was refused.
"""

from __future__ import annotations

from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now, Upper

from mdm.secrets import SealedField


class AuditEvent(models.Model):
    """One change by someone, or one reading of a secret. Append-only: triggers in Postgres refuse
    everything but inserts and the two columns of the seal, once.

    A background task fills these, so that writers never wait for one another: the row's number in
    the chain, and a hash over the row and the hash before it.
    """

    class ActorKind(models.TextChoices):
        PERSON = "person"
        TOKEN = "token"
        DEVICE = "device"
        SYSTEM = "system"

    at = models.DateTimeField()
    actor_kind = models.CharField(max_length=10, choices=ActorKind.choices)
    actor_id = models.CharField(max_length=100)
    actor_name = models.CharField(max_length=200)
    address = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=80)
    subject_kind = models.CharField(max_length=40)
    subject_id = models.CharField(max_length=300)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    sealed_as = models.BigIntegerField(null=True, editable=False)
    sealed_hash = models.BinaryField(null=True, editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["subject_kind", "subject_id", "id"]),
            # Lists are in the order of time, so that one of a few days reads these days alone.
            models.Index(fields=["at", "id"], name="audit_at"),
            models.Index(fields=["action", "at"], name="audit_action"),
            models.Index(fields=["actor_kind", "actor_id", "at"], name="audit_actor"),
            models.Index(fields=["address", "at"], name="audit_address", condition=~Q(address="")),
            models.Index(fields=["request_id"], name="audit_request", condition=~Q(request_id="")),
            # Search by how a name begins. By any part of it would take trigrams, which are too
            # common here: a search that met half of the rows took seconds.
            models.Index(OpClass(Upper("actor_name"), name="text_pattern_ops"), name="audit_name"),
            models.Index(OpClass("subject_id", name="varchar_pattern_ops"), name="audit_subject"),
            # Each row is in one of these two: what is to be sealed, and the chain.
            models.Index(
                fields=["id"], name="audit_not_sealed", condition=Q(sealed_as__isnull=True)
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["sealed_as"], name="audit_chain", condition=Q(sealed_as__isnull=False)
            ),
            models.CheckConstraint(
                name="audit_sealed_whole",
                condition=Q(sealed_as__isnull=True, sealed_hash__isnull=True)
                | Q(sealed_as__isnull=False, sealed_hash__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name} {self.action} {self.subject_kind} {self.subject_id}"


class ChainKey(models.Model):
    """The one key of the chain's hashes: random, made when the first row is sealed, and kept under
    GUARD_ENCRYPTION_KEYS, so that it is turned with them and a dump of the database lacks it.
    """

    sealed_key = SealedField("audit_chain")
    made_at = models.DateTimeField(db_default=Now())


class RefusedRequest(models.Model):
    """How often someone was refused something from an address, within an hour. What does not fit
    into an hour's rows any more is summed up in one without a name (`refused.py`).
    """

    hour = models.DateTimeField()
    # "" is a stranger, who showed no right password or token.
    actor_kind = models.CharField(max_length=10, choices=AuditEvent.ActorKind.choices, blank=True)
    actor_id = models.CharField(max_length=100, blank=True)
    actor_name = models.CharField(max_length=200, blank=True)
    address = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=80)
    count = models.BigIntegerField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    # Of the last one: why, in words.
    detail = models.CharField(max_length=300, blank=True)
    request_id = models.CharField(max_length=64, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "actor_kind", "actor_id", "action", "address"],
                name="audit_refused_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.actor_name or 'Others'} {self.action}"
