"""Devices that someone had Apple take out of the organization."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from abm.models.servers import Server


class Disown(models.Model):
    """Someone's wish that Apple take devices out of the organization for good. It stays, as the
    record of who did what.
    """

    asked_by = models.CharField(max_length=200)
    asked_at = models.DateTimeField(db_default=Now())
    # Since then Apple is asked about none of those that were left.
    stopped_at = models.DateTimeField(null=True)
    stopped_by = models.CharField(max_length=200, blank=True, db_default="")

    def __str__(self) -> str:
        return f"Disown {self.pk}"


class DisownDevice(models.Model):
    """One serial number of a Disown, and what became of it."""

    class State(models.TextChoices):
        WAITING = "Waiting"
        # Apple is being asked. Without an answer nobody knows: it is never asked twice.
        ASKED = "Asked"
        DISOWNED = "Disowned"
        NOT_OURS = "Not ours"
        REFUSED = "Refused"
        UNCLEAR = "Unclear"
        NOT_ASKED = "Not asked"

    disown = models.ForeignKey(
        Disown, on_delete=models.CASCADE, db_index=False, related_name="devices"
    )
    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, db_index=False, related_name="disowned"
    )
    serial_number = models.CharField(max_length=64)
    state = models.CharField(
        max_length=10,
        choices=State.choices,
        default=State.WAITING,
        db_default=State.WAITING.value,
    )
    # Why, where it was not disowned.
    sentence = models.CharField(max_length=500, blank=True, db_default="")
    # When Apple was asked, and when it was settled what became of it.
    asked_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["server", "serial_number"],
                name="abm_disown_once_at_a_time",
                condition=models.Q(state__in=["Waiting", "Asked"]),
            )
        ]
        indexes = [models.Index(fields=["disown", "state"], name="abm_disown_state")]

    def __str__(self) -> str:
        return f"{self.serial_number}: {self.state}"
