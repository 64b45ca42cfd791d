"""The event outbox: what happened, for webhooks and mail to read. `outbox.py` writes it."""

from __future__ import annotations

from django.db import models


class Event(models.Model):
    """Something others may want to know, written in the transaction that made it true."""

    at = models.DateTimeField()
    kind = models.CharField(max_length=60)
    subject = models.CharField(max_length=300)
    data = models.JSONField()

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"
