"""What probes found, figures that are worked out now and then, and when backups were taken."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class ProbeResult(models.Model):
    """What came of a probe (`probes.py`) the last time, and who wants it tried again. The probe
    itself, with its words, is code; `name` leads to it.
    """

    name = models.CharField(max_length=40, unique=True)
    asked_at = models.DateTimeField(null=True)
    asked_by = models.CharField(max_length=200, blank=True, db_default="")
    # The person, whom a test mail goes to.
    asked_by_id = models.BigIntegerField(null=True)
    began_at = models.DateTimeField(null=True)
    checked_at = models.DateTimeField(null=True)
    # None until it was tried; since when it has been what it is; when it was good for the first
    # time.
    good = models.BooleanField(null=True)
    since = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)
    found = models.CharField(max_length=500, blank=True, db_default="")
    # When something ends that it found, such as a certificate.
    ends_at = models.DateTimeField(null=True)
    dismissed_at = models.DateTimeField(null=True)
    dismissed_by = models.CharField(max_length=200, blank=True, db_default="")
    dismissed_because = models.CharField(max_length=200, blank=True, db_default="")

    def __str__(self) -> str:
        return self.name


class Reading(models.Model):
    """Figures that would cost a page too much, as a worker took them last (`readings.py`)."""

    name = models.CharField(max_length=40, unique=True)
    at = models.DateTimeField()
    data = models.JSONField()

    def __str__(self) -> str:
        return self.name


class Backup(models.Model):
    """That the database was backed up: by `manage.py backup`, or as someone says (`size` None)."""

    at = models.DateTimeField(db_default=Now())
    how = models.CharField(max_length=200)
    by = models.CharField(max_length=200)
    size = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        return f"{self.how} at {self.at:%Y-%m-%d %H:%M}"
