"""Finding events and refusals: for the page, the API and exports. Fast however many there are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection
from django.db.models import Q, QuerySet
from django.utils import timezone

from mdm.accounts.models import User
from mdm.audit.models import AuditEvent, RefusedRequest
from mdm.models import Device, Enrollment, Identity

Events = QuerySet[AuditEvent]
Refusals = QuerySet[RefusedRequest]

# Where sealing is so far behind, something is wrong with it.
_LATE = timedelta(minutes=5)

# Who is looked for by a part of their name: so many people.
_PEOPLE = 50

# One look into the index for each, where DISTINCT would read all rows.
_ACTIONS = """
WITH RECURSIVE found AS (
    SELECT min(action) AS action FROM audit_auditevent
    UNION ALL
    SELECT (SELECT min(action) FROM audit_auditevent WHERE action > found.action)
    FROM found WHERE found.action IS NOT NULL
)
SELECT action FROM found WHERE action IS NOT NULL
"""


def actions() -> list[str]:
    """Every action that there is an event of."""
    with connection.cursor() as cursor:
        cursor.execute(_ACTIONS)
        return [action for (action,) in cursor.fetchall()]


def search(events: Events, text: str) -> Events:
    """Events of someone, or about something, whose name begins with `text`, of a person or action
    that contains it, from this address, or of this request.
    """
    text = text.replace("\0", "").strip()[:100]
    if not text:
        return events
    alike = [action for action in actions() if text.lower() in action]
    known = User.objects.filter(
        Q(first_name__icontains=text)
        | Q(last_name__icontains=text)
        | Q(username__icontains=text)
        | Q(email__icontains=text)
    )
    people = [str(pk) for pk in known.order_by("pk").values_list("pk", flat=True)[:_PEOPLE]]
    return events.filter(
        Q(actor_name__istartswith=text)
        | Q(actor_kind=AuditEvent.ActorKind.PERSON, actor_id__in=people)
        | Q(subject_id__startswith=text)
        | Q(action__in=alike)
        | Q(address=text)
        | Q(request_id=text)
    )


def search_refused(refusals: Refusals, text: str) -> Refusals:
    """Refusals of whom, or of what, whose name contains `text`, or that are from this address."""
    text = text.replace("\0", "").strip()[:100]
    return refusals.filter(Q(actor_name__ilike=text) | Q(action__ilike=text) | Q(address=text))


def about(events: Events, device: Device) -> Events:
    """Events about a device, its enrollments or the identities that were issued to it."""
    own = [str(device.pk), *filter(None, [device.serial_number])]
    keys = Enrollment.objects.filter(device=device).values_list("key", flat=True)
    identities = Identity.objects.filter(enrollment__device=device).only("sha256")
    return events.filter(
        Q(subject_kind="device", subject_id__in=own)
        | Q(subject_kind="enrollment", subject_id__in=[key[:300] for key in keys])
        | Q(subject_kind="identity", subject_id__in=[str(identity) for identity in identities])
    )


def beginning(day: str) -> datetime | None:
    """The moment at which a day begins, as `2026-11-30`; None where that is no day."""
    try:
        return datetime.combine(date.fromisoformat(day), time(), UTC)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Sealed:
    """How far the chain goes: its last number and when that was written, and since when something
    waits for its place.
    """

    number: int | None
    at: datetime | None
    waits_since: datetime | None

    @property
    def late(self) -> bool:
        return self.waits_since is not None and self.waits_since < timezone.now() - _LATE


def sealed() -> Sealed:
    chain = AuditEvent.objects.filter(sealed_as__isnull=False).order_by("-sealed_as")
    waiting = AuditEvent.objects.filter(sealed_as__isnull=True).order_by("pk")
    number, at = chain.values_list("sealed_as", "at").first() or (None, None)
    return Sealed(number, at, waiting.values_list("at", flat=True).first())
