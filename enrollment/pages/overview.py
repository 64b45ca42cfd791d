"""What enrollment adds to the overview, to what ends when, and to a device's timeline."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Count, OuterRef, Q, Subquery, Sum
from django.urls import reverse
from django.utils import timezone

from enrollment import apple, authority
from enrollment.models import Arrival, RefusedArrival
from enrollment.pages.arrivals import flag_words
from mdm.models import Device
from mdm.navigation import Attention, Event, Expiry
from profiles.models import Default

_LATELY = timedelta(days=1)
_WRONG_LATELY = timedelta(days=30)
# Reasons that a person can do something about; the others are for the page.
_MENDABLE = ("not_listed", "no_trust", "signs_in", "too_often")


def trust_attention() -> Iterable[Attention]:
    """Devices are to enroll by ADE, and none could be believed."""
    if Default.objects.exists() and not apple.ready():
        yield Attention(
            what="Apple’s certificates are not here yet.",
            why="A device proves by them which serial number it has. Until then none can enroll by"
            " Automated Device Enrollment.",
            button="Fetch them",
            url=reverse("ade_settings"),
            tone="danger",
        )


def refused_attention() -> Iterable[Attention]:
    """Devices that were turned away lately, for a reason that someone can mend."""
    rows = RefusedArrival.objects.filter(
        reason__in=_MENDABLE, last_at__gte=timezone.now() - _LATELY
    )
    # One row for each device, and one that sums up all beyond a bound.
    known, others = rows.aggregate(
        known=Count("pk", filter=~Q(serial_number="")),
        others=Sum("count", filter=Q(serial_number=""), default=0),
    ).values()
    count = known + others
    if count:
        devices = "1 device was" if count == 1 else f"{count:,} devices were"
        yield Attention(
            what=f"{devices} refused at enrollment within a day.",
            why="Each says why, and what to do.",
            button="Show them",
            url=reverse("arrivals_refused"),
        )


def wrong_profile_attention() -> Iterable[Attention]:
    """Devices that enrolled with another profile than they should have."""
    newest = Arrival.objects.filter(serial_number=OuterRef("serial_number")).order_by("-pk")
    rows = Arrival.objects.filter(
        pk=Subquery(newest.values("pk")[:1]), flags__contains=[Arrival.Flag.OTHER_PROFILE]
    )
    count = rows.filter(at__gte=timezone.now() - _WRONG_LATELY).count()
    if count:
        devices = "1 device" if count == 1 else f"{count:,} devices"
        yield Attention(
            what=f"{devices} enrolled with another profile than they should have.",
            why="Apple gave it before the rules were changed, or a default was wrong then. Each"
            " gets the right one when it is next erased.",
            button="Show them",
            url=f"{reverse('arrivals')}?flag={Arrival.Flag.OTHER_PROFILE}",
        )


def expiries() -> Iterable[Expiry]:
    """When the authority ends that issues devices' identities."""
    certificate = authority.certificate()
    if certificate is not None:
        yield Expiry(
            what="Certificate authority of the devices' identities",
            at=certificate.not_valid_after_utc,
            stops="No device can enroll, and none gets a new identity. Devices that are enrolled go"
            " on with the one they have.",
        )


def events(device: Device, before: datetime, limit: int) -> Iterable[Event]:
    """When a device came by Automated Device Enrollment."""
    if not device.serial_number:
        return
    rows = Arrival.objects.filter(serial_number=device.serial_number, at__lt=before)
    for row in rows.select_related("version__profile").order_by("-pk")[:limit]:
        odd = flag_words(row)
        who = f", {row.person} signed in" if row.person else ""
        yield Event(
            at=row.at,
            icon="id",
            what="It came by Automated Device Enrollment and was given its enrollment profile",
            detail=f"{row.version or 'a deleted profile'}{who}{f' · {odd}' if odd else ''}",
        )
