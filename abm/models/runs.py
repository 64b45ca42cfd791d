"""Runs of the sync, and what each of them said."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from abm.models.servers import Server


class SyncRun(models.Model):
    """One run of a server's sync; the counts grow while it goes on."""

    class State(models.TextChoices):
        WAITING = "Waiting"
        RUNNING = "Running"
        FINISHED = "Finished"
        FAILED = "Failed"
        INTERRUPTED = "Interrupted"

    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, db_index=False, related_name="runs"
    )
    full = models.BooleanField(default=False)
    state = models.CharField(max_length=12, choices=State.choices, default=State.WAITING)
    asked_by = models.CharField(max_length=200)
    asked_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    # When the last page was written.
    moved_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # What it is doing now, in words; "" when it is over.
    doing = models.CharField(max_length=300, blank=True, db_default="")
    pages = models.IntegerField(default=0, db_default=0)
    devices = models.IntegerField(default=0, db_default=0)
    added = models.IntegerField(default=0, db_default=0)
    changed = models.IntegerField(default=0, db_default=0)
    removed = models.IntegerField(default=0, db_default=0)
    ignored = models.IntegerField(default=0, db_default=0)
    # How often Apple had to be asked again.
    errors = models.IntegerField(default=0, db_default=0)
    problem = models.CharField(max_length=20, blank=True, db_default="")
    sentence = models.CharField(max_length=500, blank=True, db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["server"],
                name="abm_run_one_at_a_time",
                condition=models.Q(state__in=["Waiting", "Running"]),
            )
        ]
        indexes = [models.Index(fields=["server", "-id"], name="abm_run_latest")]

    def __str__(self) -> str:
        return f"Run {self.pk} of {self.server_id}"

    @property
    def over(self) -> bool:
        return self.finished_at is not None


class RunLine(models.Model):
    """A line of a run's log. Append-only."""

    class Level(models.TextChoices):
        INFO = "info"
        WARNING = "warning"
        ERROR = "error"

    run = models.ForeignKey(
        SyncRun, on_delete=models.CASCADE, db_constraint=False, related_name="lines"
    )
    at = models.DateTimeField(db_default=Now())
    level = models.CharField(max_length=10, choices=Level.choices, default=Level.INFO)
    sentence = models.CharField(max_length=500)

    def __str__(self) -> str:
        return self.sentence
