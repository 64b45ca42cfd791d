"""The first page: what needs someone, four numbers, enrollments by day, what ends when, and the
first-run checklist until all of it worked (`mdm/health/probes.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from mdm import figures, navigation
from mdm.accounts.models import Grant
from mdm.audit.actor import Actor
from mdm.figures import Figures
from mdm.health import probes, readings, things
from mdm.models import Device, Quarantine
from mdm.navigation import Attention, Expiry
from mdm.pages import health
from mdm.pages.frame import page
from mdm.push import certificate

_SOON = timedelta(days=30)


@page("dashboard.open")
def overview(request: HttpRequest) -> HttpResponse:
    actor = Actor.of(request)
    seen = actor.where("device.read")
    whole = "server.read" in actor
    found = figures.of(seen, whole=whole)
    context = {
        "numbers": figures.numbers(found, whole=whole),
        "counted_at": found.at,
        "enrollments": _enrollments(found),
        "held": [] if seen.everywhere else _held(actor),
        **(_server(found) if whole else {}),
    }
    return render(request, "mdm/overview.html", context)


def _server(found: Figures) -> dict[str, object]:
    """What is the business of those who look after the server."""
    lines = probes.lines()
    return {
        "attention": figures.attention(found),
        "expiries": navigation.expiries(),
        "soon": timezone.now() + _SOON,
        "first_run": probes.first_run(lines),
        **health.checklist(lines),
    }


def _held(actor: Actor) -> list[Grant]:
    """The roles of someone who does not see all devices, so that the page can say so."""
    return list(Grant.objects.current().filter(user=actor.user_id).select_related("group"))


def _enrollments(found: Figures) -> dict[str, object]:
    """Completed enrollments of the last 30 days, ready for the chart and its table."""
    days = found.by_day()
    return {
        "labels": [f"{day:%b} {day.day}" for day in days],
        "values": list(days.values()),
        "total": sum(days.values()),
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


def audit_attention() -> Iterable[Attention]:
    """An audit log that is not sealed any more, as the page Health has it."""
    for thing in things.audit(None):
        if thing.wrong:
            yield Attention(
                what=f"Audit log: not sealed since {thing.since:%B %d, %H:%M} UTC.",
                why=f"A change of newer rows could not be proven. {thing.fix}",
                button="Open Health",
                url=reverse("health"),
                tone="danger",
            )


def health_attention() -> Iterable[Attention]:
    """What keeps the server itself from working."""
    for thing in things.urgent():
        yield Attention(
            what=f"{thing.name}: {thing.word.lower()}.",
            why=" ".join(filter(None, (thing.evidence, thing.fix))),
            button="Open Health",
            url=reverse("health"),
            tone="danger" if thing.tone == "bad" else "warning",
        )


def identities_expiry() -> Iterable[Expiry]:
    """The identities of devices that end soon, as one line."""
    reading = readings.last(readings.IDENTITIES_ENDING)
    if reading is None or not reading.data["count"]:
        return
    count = reading.data["count"]
    yield Expiry(
        what=f"Identities of {count:,} devices" if count > 1 else "The identity of a device",
        at=datetime.fromisoformat(reading.data["first"]),
        stops="A device goes on being managed with it, and cannot enroll again with it. A proxy"
        " that checks dates turns the device away.",
        button="Show them" if count > 1 else "Show it",
        url=f"{reverse('identities')}?state=current&ends=soon&sort=ends",
    )


def broken_attention() -> Iterable[Attention]:
    """What worked once and does not now."""
    lines = probes.lines()
    for line in () if probes.first_run(lines) else lines:
        if not line.settled:
            yield Attention(
                what=f"{line.probe.label}: it worked, and does not now.",
                why=line.result.found,
                button="Open Health",
                url=reverse("health"),
            )


def tls_expiry() -> Iterable[Expiry]:
    """The certificate that the probe of the public address saw."""
    for line in probes.lines():
        if line.result.ends_at is not None:
            yield Expiry(
                what=f"TLS certificate of {settings.ENV.public_url}",
                at=line.result.ends_at,
                stops="No device can connect: commands wait, and none can enroll.",
                button="Open Health",
                url=reverse("health"),
            )
