"""Our MDM servers in ABM, their keys, and the tokens uploaded for them."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from mdm.secrets import SealedField


class Server(models.Model):
    """One MDM server in ABM (Apple's newer word: device management service), and how far its sync
    has come. `name` is ours, `server_name` Apple's.
    """

    class Phase(models.TextChoices):
        """What `cursor` belongs to."""

        LIST = "list", "Reading the whole list"
        # The list was read; what it did not contain is being asked about.
        MISSING = "missing", "Asking about devices that were not listed"
        FEED = "feed", "Following changes"

    class Problem(models.TextChoices):
        """Why the last conversation with Apple failed. "" means that it did not."""

        TERMS_NOT_SIGNED = "terms_not_signed"
        EXPIRED = "expired"
        REJECTED = "rejected"
        THROTTLED = "throttled"
        UNREACHABLE = "unreachable"
        REFUSED = "refused"
        STUCK = "stuck"

    name = models.CharField(max_length=125)
    created_at = models.DateTimeField(db_default=Now())
    disconnected_at = models.DateTimeField(null=True)

    sealed_token = SealedField("server_token", null=True)
    token_expires_at = models.DateTimeField(null=True)
    token_accepted_at = models.DateTimeField(null=True)
    # The last threshold, in days, at which the token's end was announced.
    reminded_days = models.SmallIntegerField(null=True)

    # What /account says; `account` is the whole answer.
    server_uuid = models.CharField("server UUID", max_length=100, blank=True, db_default="")
    server_name = models.CharField(max_length=1000, blank=True, db_default="")
    org_name = models.CharField(max_length=1000, blank=True, db_default="")
    admin_id = models.CharField(max_length=1000, blank=True, db_default="")
    account = models.JSONField(default=dict, db_default={})
    account_read_at = models.DateTimeField(null=True)

    page_size = models.IntegerField(default=100, db_default=100)
    phase = models.CharField(
        max_length=10, choices=Phase.choices, default=Phase.LIST, db_default=Phase.LIST.value
    )
    cursor = models.CharField(max_length=1000, blank=True, db_default="")
    # Counts full lists: a device that carries a smaller number was not in the last one.
    list_number = models.IntegerField(default=0, db_default=0)
    # Apple's clock when the last full list began.
    list_began_at = models.DateTimeField(null=True)
    list_finished_at = models.DateTimeField(null=True)
    list_asked_at = models.DateTimeField(null=True)
    # The run that may write; one that finds another number here has been overtaken.
    run_id = models.BigIntegerField(null=True)
    synced_at = models.DateTimeField(null=True)
    # How many runs in a row got the same cursor back.
    stuck_runs = models.SmallIntegerField(default=0, db_default=0)

    problem = models.CharField(max_length=20, choices=Problem.choices, blank=True, db_default="")
    problem_said = models.CharField(max_length=300, blank=True, db_default="")
    problem_at = models.DateTimeField(null=True)
    retry_at = models.DateTimeField(null=True)

    # Someone stopped the assignment of profiles for a while.
    assigning_paused_at = models.DateTimeField(null=True)
    assigning_paused_by = models.CharField(max_length=200, blank=True, db_default="")
    # How many devices one request names.
    assigning_batch = models.IntegerField(default=200, db_default=200)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["server_uuid"],
                name="abm_server_once",
                condition=models.Q(disconnected_at=None) & ~models.Q(server_uuid=""),
            )
        ]

    def __str__(self) -> str:
        return self.name or self.server_name or f"ABM server {self.pk}"


class KeyPair(models.Model):
    """A key whose certificate is uploaded to ABM; server tokens come encrypted for it."""

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="key_pairs")
    certificate = models.TextField("certificate (PEM)")
    sealed_key = SealedField("server_token_key")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"Key pair {self.pk} of {self.server_id}"


class TokenUpload(models.Model):
    """A server token that someone uploaded: kept apart until Apple has accepted it."""

    class State(models.TextChoices):
        CHECKING = "Checking"
        ACCEPTED = "Accepted"
        REFUSED = "Refused"

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="uploads")
    # Gone once it is decided.
    sealed_token = SealedField("server_token", null=True)
    expires_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.CHECKING)
    # Why it was refused and what to do, or what it is good for.
    sentence = models.CharField(max_length=500, blank=True)
    uploaded_at = models.DateTimeField(db_default=Now())
    uploaded_by = models.CharField(max_length=200)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["server", "-id"], name="abm_upload_latest")]

    def __str__(self) -> str:
        return f"Token for {self.server_id}: {self.state}"
