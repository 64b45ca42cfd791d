"""The first page: what needs someone, four numbers, enrollments by day, the first-run checklist."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.db.models import Count
from django.db.models.functions import TruncDate
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from mdm import navigation, scope, standing
from mdm.accounts.models import Grant
from mdm.accounts.rights import Where
from mdm.audit.actor import Actor
from mdm.models import Device, EnrollmentPeriod, Quarantine
from mdm.navigation import Attention, Expiry, Step
from mdm.pages.frame import page
from mdm.push import certificate

_DAYS = 30
_SOON = timedelta(days=30)


@page("dashboard.open")
def overview(request: HttpRequest) -> HttpResponse:
    actor = Actor.of(request)
    seen = actor.where("device.read")
    context = {
        "numbers": _numbers(seen),
        "enrollments": _enrollments_by_day(timezone.localdate(), seen),
        "held": [] if seen.everywhere else _held(actor),
        **(_server() if "server.read" in actor else {}),
    }
    return render(request, "mdm/overview.html", context)


def _server() -> dict[str, object]:
    """What is the business of those who look after the server."""
    steps = navigation.steps()
    return {
        "attention": navigation.attention(),
        "expiries": navigation.expiries(),
        "soon": timezone.now() + _SOON,
        "steps": steps,
        "first_run": not all(step.done for step in steps),
    }


def _held(actor: Actor) -> list[Grant]:
    """The roles of someone who does not see all devices, so that the page can say so."""
    return list(Grant.objects.current().filter(user=actor.user_id).select_related("group"))


@dataclass(frozen=True, slots=True)
class Number:
    label: str
    value: int
    icon: str
    words: str
    url: str


def _numbers(seen: Where) -> list[Number]:
    now = timezone.now()
    count = scope.within(Device.objects.all(), seen, "serial_number").aggregate(
        **{
            word: Count("pk", filter=standing.condition(word, now))
            for word in ("managed", "quiet", "suspect", "awaiting")
        }
    )
    return [
        Number(label, count[word], icon, words, f"{reverse('devices')}?state={word}")
        for word, label, icon, words in (
            ("managed", "Managed", "circle-check", "enrolled now"),
            ("quiet", "Quiet", "zzz", "no contact for 7 days"),
            ("suspect", "Suspect", "alert-triangle", "push problem or quarantine"),
            ("awaiting", "Awaiting", "hourglass", "enrollment not complete"),
        )
    ]


def _enrollments_by_day(today: date, seen: Where) -> dict[str, object]:
    """Completed enrollments of the last 30 days, as the viewer's zone has them, ready for the chart
    and its table.
    """
    first = today - timedelta(days=_DAYS - 1)
    periods = EnrollmentPeriod.objects.filter(
        completed_at__gte=datetime.combine(first, time.min, timezone.get_current_timezone()),
        enrollment__parent__isnull=True,
    )
    found = dict(
        scope.within(periods, seen, "enrollment__device__serial_number")
        .values_list(TruncDate("completed_at"))
        .annotate(count=Count("id"))
    )
    days = [first + timedelta(days=number) for number in range(_DAYS)]
    values = [found.get(day, 0) for day in days]
    return {
        "labels": [f"{day:%b} {day.day}" for day in days],
        "values": values,
        "total": sum(values),
    }


def push_certificate_attention() -> Iterable[Attention]:
    if certificate.active() is None:
        return  # the checklist says so
    for warning in certificate.warnings():
        alarm = warning.level is certificate.Level.ALARM
        yield Attention(
            what=warning.sentence,
            why="Commands reach devices only when they are woken.",
            button="Open the push certificate",
            url=reverse("push_certificate"),
            tone="danger" if alarm else "warning",
        )


def push_certificate_expiry() -> Iterable[Expiry]:
    installed = certificate.active()
    if installed is not None:
        yield Expiry(
            what="Push certificate",
            at=installed.not_after,
            stops="No device can be woken: commands wait until devices connect by themselves.",
            button="Renew",
            url=reverse("push_certificate"),
        )


def quarantine_attention() -> Iterable[Attention]:
    count = Quarantine.objects.filter(state=Quarantine.State.WAITING).count()
    if count:
        cases = "1 case waits" if count == 1 else f"{count:,} cases wait"
        yield Attention(
            what=f"{cases} in quarantine.",
            why="A device turned up with an identity that was not issued for it. It gets nothing"
            " until someone decides.",
            button="Decide",
            url=reverse("quarantine"),
        )


def push_problem_attention() -> Iterable[Attention]:
    count = Device.objects.filter(
        retired_at=None, enrollment__state="Enrolled", enrollment__push_problem__gt=""
    ).count()
    if count:
        devices = "1 device" if count == 1 else f"{count:,} devices"
        yield Attention(
            what=f"{devices} cannot be woken.",
            why="Apple refuses the wake-ups. Commands wait until the device connects by itself.",
            button="Show them",
            url=f"{reverse('devices')}?state=suspect",
        )


def push_certificate_step() -> Step:
    return Step(
        label="Upload the push certificate",
        why="Without it no device can enroll or be woken.",
        button="Upload",
        url=reverse("push_certificate"),
        done=certificate.active() is not None,
        right="push_certificate.install",
    )


def first_device_step() -> Step:
    return Step(
        label="Enroll the first device",
        why="Open an enrollment link on it and follow what it says.",
        button="Show the links",
        url=reverse("links"),
        done=Device.objects.filter(enrollment__enrolled_at__isnull=False).exists(),
    )
