"""Finding device identities: by how it stands with them, by when they end, by device or SHA-256."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never
from urllib.parse import quote

from django.db.models import BooleanField, Case, F, Q, QuerySet, TextChoices, When
from django.db.models.expressions import RawSQL

from mdm import search as words
from mdm.models import Device, Enrollment, Identity
from mdm.protocol.binding import BadBinding, Binding, Purpose

Rows = QuerySet[Identity]

# Identities that end within it are worth a look.
SOON = timedelta(days=30)

_FEW = 1_000
_Enrolled = Enrollment.State


class State(TextChoices):
    """How it stands with an identity."""

    # Its device speaks with it, also when its time is over (mdm/identity.py).
    CURRENT = "current", "In use"
    # Its device has not enrolled with it, or not renewed to it yet.
    WAITING = "waiting", "Not used yet"
    # Another took its place, or its device was deleted.
    REVOKED = "revoked", "Revoked"
    # Its time is over, or so is the management that it was for.
    ENDED = "ended", "Ended"


class Ends(TextChoices):
    """When an identity ends, as people ask for it; what is over is among what ends soon."""

    SOON = "soon", "within 30 days"
    OVER = "over", "in the past"


_OVER = (_Enrolled.CHECKED_OUT, _Enrolled.ERASED, _Enrolled.RELEASED)
# That its enrollment speaks with it. As a CASE, because of two columns that are equal Postgres
# expects that hardly any row has them so, and then reads the tables in the wrong order.
_ITS_OWN = Q(
    Case(
        When(enrollment__identity_sha256=F("sha256"), then=True),
        default=False,
        output_field=BooleanField(),
    )
)
_UNUSED = (
    Q(enrollment=None)
    | Q(enrollment__state=_Enrolled.AUTHENTICATED)
    | (Q(enrollment__state=_Enrolled.ENROLLED) & ~_ITS_OWN)
)


def of(identity: Identity, now: datetime) -> State:
    """The state of an identity whose `enrollment` was selected with it."""
    if identity.revoked_at is not None:
        return State.REVOKED
    enrollment = identity.enrollment
    if enrollment is not None and enrollment.state in _OVER:
        return State.ENDED
    if enrollment is not None and enrollment.state == _Enrolled.ENROLLED:
        bound = enrollment.identity_sha256
        if bound is not None and bytes(bound) == bytes(identity.sha256):
            return State.CURRENT
    return State.WAITING if identity.expires_at > now else State.ENDED


def condition(state: State, now: datetime) -> Q:
    """The same, for a query."""
    match state:
        case State.CURRENT:
            return Q(revoked_at=None, enrollment__state=_Enrolled.ENROLLED) & _ITS_OWN
        case State.WAITING:
            return Q(revoked_at=None, expires_at__gt=now) & _UNUSED
        case State.REVOKED:
            return Q(revoked_at__isnull=False)
        case State.ENDED:
            late = Q(expires_at__lte=now) & _UNUSED
            return Q(revoked_at=None) & (Q(enrollment__state__in=_OVER) | late)
        case _:
            assert_never(state)


def ending(ends: Ends, now: datetime) -> Q:
    """Identities that end by then; for a query."""
    return Q(expires_at__lt=now + SOON if ends is Ends.SOON else now)


def search(rows: Rows, text: str) -> Rows:
    """Identities of devices whose serial number or name contains `text`, those that nobody used yet
    and that are for a serial number which begins so, and those whose SHA-256 does.
    """
    text = words.clean(text)
    if not text:
        return rows
    for_serial = f"serial_number={quote(text.upper(), safe='')}"
    return rows.filter(
        Q(enrollment__in=_of_devices(text))
        | Q(enrollment=None, binding__contains=for_serial)
        | _begins(text)
    )


def binding(identity: Identity) -> Binding | None:
    """What it was issued for; None where that cannot be read any more."""
    try:
        return Binding.from_uri(identity.binding)
    except BadBinding:
        return None


def way(identity: Identity) -> str:
    """How its device came by it, in words."""
    bound = binding(identity)
    if bound is None:
        return "not known"
    if bound.purpose is Purpose.RENEWAL:
        return "Renewal"
    return _WAYS.get(bound.way, bound.way)


_WAYS = {"link": "Enrollment link", "ade": "Automated Device Enrollment"}


def serial_number(identity: Identity) -> str:
    """The serial number of its device or, before that has enrolled, the one that it is for."""
    if identity.enrollment is not None:
        return identity.enrollment.device.serial_number or ""
    bound = binding(identity)
    return (bound.serial_number or "") if bound else ""


def _of_devices(text: str) -> list[int] | RawSQL:
    """The enrollments of devices that are called so, found beforehand: once, and while they are few
    Postgres then needs no more than indexes.
    """
    named = Device.objects.filter(Q(serial_number__ilike=text) | Q(device_name__ilike=text))
    enrollments = Enrollment.objects.filter(device__in=named, parent=None).order_by()
    found = list(enrollments.values_list("pk", flat=True))
    return found if len(found) <= _FEW else RawSQL("SELECT unnest(%s::bigint[])", [found])


def _begins(text: str) -> Q:
    """That the SHA-256 begins so, as people copy it: with colons or spaces, in either case."""
    digits = "".join(text.lower().replace(":", " ").split())
    if not digits or len(digits) > 64 or not set(digits) <= set("0123456789abcdef"):
        return Q(pk__in=[])
    low, high = (bytes.fromhex(digits.ljust(64, rest)) for rest in "0f")
    return Q(sha256__gte=low, sha256__lte=high)
