"""Writing events; call these inside the transaction that makes them true.

`deliveries.py` lays them out for the webhooks that want them. Where many may come at once and
nobody has to read them here, `wanted` says whether it is worth the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.conf import settings
from django.utils import timezone

from mdm.webhooks import kinds
from mdm.webhooks.models import Event, Subscription

# When, to what (an id), and the data.
Told = tuple[datetime, str, Mapping[str, object]]


def emit(kind: str, subject: str, data: Mapping[str, object]) -> Event:
    """Record that `kind` (such as "enrollment.completed") happened to `subject` (an id)."""
    event = _event(kind, subject, data, timezone.now())
    event.save(force_insert=True)
    return event


def emit_many(kind: str, told: Iterable[Told]) -> None:
    """Record the same of many, in one statement."""
    Event.objects.bulk_create([_event(kind, subject, data, at) for at, subject, data in told])


def wanted(kind: str) -> bool:
    """Whether any webhook that is on asks for events of this kind."""
    names = [kind, f"{kinds.find(kind).section}.*"]
    return Subscription.objects.filter(active=True, kinds__overlap=names).exists()


def _event(kind: str, subject: str, data: Mapping[str, object], at: datetime) -> Event:
    known = kinds.find(kind)
    if not settings.ENV.production and (fault := known.fault(data)):
        # A mistake of ours, which nobody's work should fail for once it has come so far.
        raise ValueError(fault)
    return Event(at=at, kind=kind, version=known.version, subject=subject[:300], data=dict(data))
