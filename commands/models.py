"""What admins asked for (Command), for whom (QueueEntry), and what devices said (Reply)."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Now

from mdm.models import Enrollment
from mdm.secrets import SealedField


class Command(models.Model):
    """What someone asked for, once, with the bytes to deliver to every receiver."""

    uuid = models.UUIDField("CommandUUID", default=uuid.uuid4, unique=True)
    request_type = models.CharField(max_length=60, db_index=True)
    # The parameters as asked for, secrets masked: for people to read.
    parameters = models.JSONField(default=dict)
    # The first command that this one tries again where it failed (commands/retry.py).
    retry_of = models.ForeignKey(
        "self",
        null=True,
        on_delete=models.SET_NULL,
        db_constraint=False,
        db_index=False,
        related_name="retries",
    )
    destructive = models.BooleanField(default=False)
    asked_by = models.CharField(max_length=200)
    # The person, also where a token of theirs asked; null for the command line and tasks.
    asked_by_id = models.BigIntegerField(null=True)
    # How the text of the token begins that asked, where one did (mdm/accounts/tokens.py).
    asked_by_token = models.CharField(max_length=25, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())
    # How many entries were made.
    targets = models.IntegerField(default=0, db_default=0)
    # Whether any entry is held back (commands/restraint.py), and until when at least.
    held = models.BooleanField(default=False, db_default=False)
    starts_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["retry_of"],
                name="command_retries",
                condition=models.Q(retry_of__isnull=False),
            ),
            models.Index(fields=["id"], name="command_held", condition=models.Q(held=True)),
            # What was asked for lately, so that what goes on is counted from there.
            models.Index(fields=["created_at"], name="command_lately"),
            # What someone's destructive commands of the last hour add up to.
            models.Index(
                fields=["created_at"],
                name="command_destructive",
                condition=models.Q(destructive=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.request_type} {self.uuid}"


class Asked(models.Model):
    """What a command was asked for with, secrets included, sealed (purpose "command"), so that it
    can be asked for again (commands/retry.py). It may be megabytes, and commands are read by the
    thousand: hence a row of its own.
    """

    command = models.OneToOneField(
        Command,
        primary_key=True,
        on_delete=models.CASCADE,
        db_constraint=False,
        related_name="asked",
    )
    sealed = SealedField("command")

    def __str__(self) -> str:
        return f"What {self.command_id} was asked for with"


class Tally(models.Model):
    """What the entries of a large command added up to when they were last counted
    (commands/tally.py).
    """

    command = models.OneToOneField(
        Command,
        primary_key=True,
        on_delete=models.CASCADE,
        db_constraint=False,
        related_name="tally",
    )
    # How many entries are in each state, and how many of them are not finished.
    states = models.JSONField(default=dict)
    unfinished = models.IntegerField(default=0)
    # When half of the answers were there, and the ids of the entries that were answered last.
    median_at = models.DateTimeField(null=True)
    slowest = models.JSONField(default=list)
    # The first error that devices gave, with how often, the most frequent first.
    errors = models.JSONField(default=list)
    counted_at = models.DateTimeField(db_default=Now())
    # When to count again; null for what will not change any more.
    due_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["due_at"], name="tally_due", condition=models.Q(due_at__isnull=False)
            )
        ]

    def __str__(self) -> str:
        return f"Tally of {self.command_id}"


class Approval(models.Model):
    """That a second person is wanted for a command, and what they decided."""

    class State(models.TextChoices):
        WAITING = "waiting"
        APPROVED = "approved"
        REFUSED = "refused"
        # Cancelled by whoever asked, or by anyone who may cancel.
        WITHDRAWN = "withdrawn"
        EXPIRED = "expired"

    command = models.OneToOneField(
        Command, on_delete=models.CASCADE, db_constraint=False, related_name="approval"
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    because = models.CharField(max_length=400)
    asked_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    # When those who may decide were written to.
    told_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.CharField(max_length=200, blank=True, db_default="")
    note = models.CharField(max_length=200, blank=True, db_default="")

    class Meta:
        indexes = [
            models.Index(
                fields=["id"], name="approval_waiting", condition=models.Q(state="waiting")
            )
        ]

    def __str__(self) -> str:
        return f"Approval of {self.command_id}: {self.state}"


class Pause(models.Model):
    """A time in which no destructive command goes out."""

    began_at = models.DateTimeField(db_default=Now())
    began_by = models.CharField(max_length=200)
    reason = models.CharField(max_length=200, blank=True, db_default="")
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=200, blank=True, db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["ended_at"],
                name="pause_once",
                condition=models.Q(ended_at__isnull=True),
                nulls_distinct=False,
            )
        ]

    def __str__(self) -> str:
        return f"Paused by {self.began_by}"


class Payload(models.Model):
    """The bytes of a command for all receivers of one kind, sealed (purpose "command").

    What a command contains depends on what is known of the receiver: a command to many devices
    has one payload for each kind of them.
    """

    command = models.ForeignKey(Command, on_delete=models.CASCADE, related_name="payloads")
    sealed = SealedField("command")

    def __str__(self) -> str:
        return f"Payload {self.pk} of {self.command_id}"


class QueueEntry(models.Model):
    """A command for one enrollment. Finished entries leave every index that connect reads."""

    class State(models.TextChoices):
        # Kept back (commands/restraint.py): connect does not hand it out.
        HELD = "Held"
        QUEUED = "Queued"
        SENT = "Sent"
        NOT_NOW = "NotNow"
        ACKNOWLEDGED = "Acknowledged"
        ERROR = "Error"
        COMMAND_FORMAT_ERROR = "CommandFormatError"
        CANCELLED = "Cancelled"
        EXPIRED = "Expired"

    enrollment = models.ForeignKey(
        Enrollment,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="queue",
    )
    command = models.ForeignKey(
        Command,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="entries",
    )
    command_uuid = models.UUIDField("CommandUUID")
    state = models.CharField(max_length=20, choices=State.choices, default=State.QUEUED)
    # The larger number goes first (commands.catalog.Priority).
    priority = models.SmallIntegerField(default=0)
    # At most one unfinished entry per enrollment with the same key; null for commands that each
    # count.
    coalesce_key = models.CharField(max_length=60, null=True)
    payload = models.ForeignKey(
        Payload,
        null=True,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    # This receiver's own bytes instead, where they hold a secret of its own.
    sealed_payload = SealedField("command", null=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)
    sent_at = models.DateTimeField(null=True)
    deliveries = models.SmallIntegerField(default=0, db_default=0)
    not_now_at = models.DateTimeField(null=True)
    not_now_count = models.SmallIntegerField(default=0, db_default=0)
    finished_at = models.DateTimeField(null=True)
    # Why it ended without an answer, for people.
    ended_because = models.CharField(max_length=200, blank=True, db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["enrollment", "command_uuid"], name="queue_entry_command_once"
            ),
            models.UniqueConstraint(
                fields=["enrollment", "coalesce_key"],
                name="queue_entry_coalesced",
                condition=models.Q(finished_at__isnull=True),
            ),
        ]
        indexes = [
            models.Index(fields=["command", "id"], name="queue_entry_of_command"),
            models.Index(
                "enrollment",
                models.F("priority").desc(),
                "id",
                name="queue_entry_next",
                condition=models.Q(finished_at__isnull=True),
            ),
            models.Index(
                fields=["expires_at"],
                name="queue_entry_expiring",
                condition=models.Q(finished_at__isnull=True, expires_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.command_uuid} for {self.enrollment_id}: {self.state}"


class Reply(models.Model):
    """A device's final answer to a command. Append-only; undrained replies are the outbox."""

    enrollment = models.ForeignKey(
        Enrollment,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="replies",
    )
    command_uuid = models.UUIDField("CommandUUID")
    status = models.CharField(max_length=20)
    error_chain = models.JSONField(null=True)
    # The body as received, sealed (purpose "reply").
    sealed_body = SealedField("reply")
    received_at = models.DateTimeField(db_default=Now())
    # When its consequences (inventory, next commands) were applied.
    drained_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["enrollment", "command_uuid"], name="reply_once")
        ]
        indexes = [
            models.Index(
                fields=["id"], name="reply_undrained", condition=models.Q(drained_at__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return f"{self.status} to {self.command_uuid} by {self.enrollment_id}"
