"""The core's own tabs of the device page: timeline, inventory, identity, audit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby

from django.conf import settings
from django.db.models import Case, F, Max, Q, When
from django.http import QueryDict
from django.utils import timezone

from mdm import moments
from mdm import timeline as timelines
from mdm.audit import selectors
from mdm.audit.models import AuditEvent
from mdm.models import CheckinMessage, Device, Enrollment, EnrollmentPeriod, InventorySection
from mdm.navigation import Event, Pulse
from mdm.timeline import Place

_EVENTS = 60
_ITEMS = 500
_AUDITED = 50

Context = dict[str, object]


def timeline(device: Device, query: QueryDict) -> Context:
    """Events newest first, by day; `before` walks back."""
    try:
        place = Place.read(query.get("before", ""))
    except ValueError:
        place = None
    found, more = timelines.read(device, place, _EVENTS)
    days = [(day, list(events)) for day, events in groupby(found, key=_day)]
    return {
        "days": days,
        "more": str(more or ""),
        "walked": bool(query.get("before")),
        "history_days": settings.ENV.history_days,
    }


def inventory(device: Device, query: QueryDict) -> Context:
    """The sections that were reported, and the content of the one chosen."""
    sections = list(
        InventorySection.objects.filter(enrollment=device.enrollment_id)
        .defer("data")
        .order_by("section")
    )
    if not sections:
        return {"sections": []}
    chosen = next((s for s in sections if s.section == query.get("section")), sections[0])
    return {"sections": sections, "chosen": chosen, **_content(chosen.data)}


def identity(device: Device, query: QueryDict) -> Context:
    """Every enrollment of this machine with its periods and the certificates issued for it."""
    enrollments = (
        Enrollment.objects.filter(device=device)
        .prefetch_related("periods", "identities", "escrow")
        .order_by(F("parent_id").asc(nulls_first=True), "id")
    )
    return {"enrollments": list(enrollments)}


def audit(device: Device, query: QueryDict) -> Context:
    """The newest audit events about this device; the page Audit has them all."""
    found = selectors.about(AuditEvent.objects.order_by("-at", "-id"), device)[: _AUDITED + 1]
    events = list(found)
    return {"events": events[:_AUDITED], "more": len(events) > _AUDITED}


def pulse(device: Device) -> Pulse:
    """What the header and the core's tabs show, in two moments and a few columns."""
    enrollment = device.enrollment
    if enrollment is None:
        return Pulse(mark=f"{device.retired_at}")
    reported = InventorySection.objects.filter(enrollment=enrollment).aggregate(
        at=Max("reported_at")
    )
    parts = (
        device.retired_at,
        enrollment.state,
        enrollment.last_seen_at,
        enrollment.push_problem,
        enrollment.token_updated_at,
        reported["at"],
    )
    return Pulse(mark="|".join(str(part) for part in parts))


def checkin_events(device: Device, before: datetime, limit: int) -> Iterable[Event]:
    messages = (
        CheckinMessage.objects.filter(enrollment__device=device, received_at__lt=before)
        .select_related("enrollment")
        .defer("body")
        .order_by("-received_at", "-id")[:limit]
    )
    for message in messages:
        user = message.enrollment.user_short_name or message.enrollment.user_identifier
        yield Event(
            at=message.received_at,
            icon=_ICONS.get(message.message_type, "send"),
            what=message.message_type,
            detail=f"from the user {user}" if user else _MEANING.get(message.message_type, ""),
        )


def period_events(device: Device, before: datetime, limit: int) -> Iterable[Event]:
    periods = (
        EnrollmentPeriod.objects.filter(enrollment__device=device)
        .filter(Q(completed_at__lt=before) | Q(ended_at__lt=before))
        .select_related("enrollment")
        # By the last of its events that is asked for: what began long ago may have ended lately.
        .order_by(
            Case(When(ended_at__lt=before, then=F("ended_at")), default=F("completed_at")).desc(),
            "-id",
        )[:limit]
    )
    for period in periods:
        yield from (event for event in _of_period(period) if event.at < before)


def audit_events(device: Device, before: datetime, limit: int) -> Iterable[Event]:
    """What was done about the device itself; commands are told by the commands app."""
    acts = AuditEvent.objects.filter(
        subject_kind="device", subject_id=str(device.pk), at__lt=before
    ).order_by("-at", "-id")[:limit]
    for act in acts:
        itself = act.actor_kind == AuditEvent.ActorKind.DEVICE
        by = "the device itself" if itself else act.actor_name
        icon = "fingerprint" if itself else "user"
        yield Event(at=act.at, icon=icon, what=act.action, detail=f"by {by}")


def _of_period(period: EnrollmentPeriod) -> Iterator[Event]:
    user = period.enrollment.user_short_name or period.enrollment.user_identifier
    whose = f"Channel of {user}" if user else "Enrollment"
    if period.completed_at:
        yield Event(at=period.completed_at, icon="circle-check", what=f"{whose} completed")
    if period.ended_at:
        how = _ENDED.get(period.ended_by, period.ended_by)
        yield Event(at=period.ended_at, icon="circle-off", what=f"{whose} ended", detail=how)


def _day(event: Event) -> str:
    return f"{timezone.localtime(event.at):%A}, {moments.day(event.at)}"


def _content(data: object) -> Context:
    """A section as pairs or as a table of items, whatever shape the device's report had."""
    if isinstance(data, Mapping):
        for value in data.values():
            if len(data) == 1 and isinstance(value, list):
                return _content(value)
        return {"pairs": sorted(_pairs(data))}
    items = data if isinstance(data, list) else []
    rows = [item for item in items if isinstance(item, Mapping)]
    keys = sorted({str(key) for row in rows for key in row}, key=_importance)[:_COLUMNS]
    cells = [[_plain(row.get(key)) for key in keys] for row in rows[:_ITEMS]]
    return {"keys": keys, "rows": cells, "left_out": max(0, len(rows) - _ITEMS)}


def _pairs(data: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value and prefix.count(".") < _DEPTH:
            yield from _pairs(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value[:50])
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(item)}" for key, item in list(value.items())[:50])
    return str(value)[:1_000]


def _importance(key: str) -> tuple[int, str]:
    return (_FIRST.index(key) if key in _FIRST else len(_FIRST), key)


_DEPTH = 3
_COLUMNS = 7
_FIRST = (
    "Name",
    "PayloadDisplayName",
    "CommonName",
    "Identifier",
    "PayloadIdentifier",
    "ShortVersion",
    "Version",
    "IsManaged",
    "IsIdentity",
    "PayloadOrganization",
    "BundleSize",
)
_ICONS = {"Authenticate": "fingerprint", "TokenUpdate": "bell-ringing", "CheckOut": "logout"}
_MEANING = {
    "Authenticate": "The device began to enroll",
    "TokenUpdate": "The device said how to wake it",
    "CheckOut": "Management was removed on the device",
    "SetBootstrapToken": "The Mac entrusted its bootstrap token",
    "GetBootstrapToken": "The Mac asked for its bootstrap token",
}
_ENDED = {
    "CheckedOut": "removed on the device",
    "Erased": "erased",
    "Released": "released by an admin",
    "Authenticated": "a new enrollment replaced it",
}
