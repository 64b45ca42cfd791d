"""The event outbox (`outbox.py` writes it), who wants to hear of events (`subscriptions.py`), and
what was sent to whom (`deliveries.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from mdm.secrets import SealedField


class Event(models.Model):
    """Something others may want to know, written in the transaction that made it true. Check-in
    writes some by SQL (`mdm/statements.py`).
    """

    at = models.DateTimeField()
    kind = models.CharField(max_length=60)
    version = models.SmallIntegerField(default=1, db_default=1)
    subject = models.CharField(max_length=300)
    data = models.JSONField()
    # When it was laid out for whoever wants it.
    spread_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["id"], name="event_unspread", condition=models.Q(spread_at__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"

    @property
    def public_id(self) -> str:
        """The same each time that it is sent."""
        return f"evt_{self.pk}"

    def as_sent(self) -> dict[str, Any]:
        """What receivers get of it (`kinds.py` has the schema)."""
        return {
            "id": self.public_id,
            "kind": self.kind,
            "version": self.version,
            "at": self.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "subject": self.subject,
            "data": self.data,
        }


class Subscription(models.Model):
    """A webhook: an address that is told of events of some kinds."""

    name = models.CharField(max_length=100)
    url = models.CharField(max_length=2000)
    # Names of kinds, or "section.*".
    kinds = ArrayField(models.CharField(max_length=60))
    active = models.BooleanField(default=True)
    # It hears of what happens from here on.
    active_since = models.DateTimeField()
    # Why the server switched it off; "" where a person did.
    off_because = models.CharField(max_length=300, blank=True, default="")
    sealed_secret = SealedField("webhook_secret")
    # The secret before it, which signs as well until then.
    sealed_old_secret = SealedField("webhook_secret", null=True)
    old_secret_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200)
    # The first failure since the last success.
    failing_since = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name

    @property
    def host(self) -> str:
        """The address without what may be a secret in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/…"


class Delivery(models.Model):
    """One event for one webhook, until it is delivered or given up."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SENDING = "sending", "Sending"
        DELIVERED = "delivered", "Delivered"
        FAILED = "failed", "Failed"

    subscription = models.ForeignKey(
        Subscription, on_delete=models.CASCADE, db_index=False, related_name="deliveries"
    )
    event = models.ForeignKey(
        Event, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+"
    )
    # When the event happened: both are kept for the same time.
    at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    # When to send it; while it is being sent, when its sender is taken for dead.
    due_at = models.DateTimeField(null=True)
    # How often it was sent since it was last asked for.
    tries = models.SmallIntegerField(default=0)
    # The last of them, oldest first: at, status, ms, said, trouble. What receivers say is hostile.
    attempts: models.JSONField[Any, Any] = models.JSONField(default=list)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["subscription", "event"], name="delivery_once")
        ]
        indexes = [
            models.Index(fields=["subscription", "-id"], name="delivery_of_webhook"),
            models.Index(fields=["subscription", "state", "-id"], name="delivery_by_state"),
            models.Index(
                fields=["subscription", "due_at"],
                name="delivery_due",
                condition=models.Q(due_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"Event {self.event_id} for {self.subscription_id}: {self.state}"

    @property
    def next_try(self) -> datetime | None:
        """When it is sent next, where that is not just now."""
        return self.due_at if self.due_at and self.due_at > timezone.now() else None

    @property
    def last(self) -> dict[str, Any]:
        """The last attempt; empty before the first."""
        return self.attempts[-1] if self.attempts else {}


class Reminder(models.Model):
    """That something's end was told of (`reminders.py`), and how many days before it, last."""

    # Its end and its name.
    what = models.CharField(max_length=300, unique=True)
    days = models.SmallIntegerField()

    def __str__(self) -> str:
        return f"{self.what}: {self.days} days"
