"""Writing events; call `emit` inside the transaction that makes the event true."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils import timezone

from mdm.webhooks.models import Event


def emit(kind: str, subject: str, data: Mapping[str, object]) -> None:
    """Record that `kind` (such as "enrollment.completed") happened to `subject` (an id)."""
    Event.objects.create(at=timezone.now(), kind=kind, subject=subject, data=dict(data))
