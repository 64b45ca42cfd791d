"""Moments are shown in the zone that the browser names, to people alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client
from django.utils import timezone

from mdm.models import EnrollmentPeriod, Refusal
from tests.mdm.dashboard.conftest import Enroll

pytestmark = pytest.mark.django_db

AT = datetime(2026, 11, 3, 23, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cookie", "exact", "hour"),
    [
        (None, "2026-11-03 23:30:05 UTC", "November 3, 2026, 23:00 UTC"),
        ("UTC", "2026-11-03 23:30:05 UTC", "November 3, 2026, 23:00 UTC"),
        ("Europe/Berlin", "2026-11-04 00:30:05 CET (Europe/Berlin)", "November 4, 2026, 00:00 CET"),
        ("Asia/Kolkata", "2026-11-04 05:00:05 IST (Asia/Kolkata)", "November 4, 2026, 04:30 IST"),
        ("Mars/Base", "2026-11-03 23:30:05 UTC", "November 3, 2026, 23:00 UTC"),
        ("../../etc/passwd", "2026-11-03 23:30:05 UTC", "November 3, 2026, 23:00 UTC"),
    ],
)
def test_a_page_says_moments_in_the_viewers_zone(
    signed_in: Client, enroll: Enroll, cookie: str | None, exact: str, hour: str
) -> None:
    device = enroll("S1", last_seen_at=AT)
    Refusal.objects.create(reason="x", hour=AT.replace(minute=0, second=0), count=1, last_at=AT)
    if cookie:
        signed_in.cookies["zone"] = cookie

    titles = re.findall(r'<time [^>]*title="([^"]+)"', signed_in.get("/devices/").content.decode())
    assert titles == [exact]
    assert hour in signed_in.get("/enrollment/refused/").content.decode()
    # Programs read the same wherever their owner is.
    answer = signed_in.get(f"/api/v1/devices/{device.pk}/").content.decode()
    assert "+05:30" not in answer
    assert "+01:00" not in answer


def test_a_day_of_the_overview_is_the_viewers(signed_in: Client, enroll: Enroll) -> None:
    """An enrollment of 23:30 UTC is the next day's in Berlin, and counted once in each."""
    enroll("S1")
    late = (timezone.now() - timedelta(days=3)).replace(hour=23, minute=30)
    EnrollmentPeriod.objects.update(completed_at=late)
    days = []
    for zone in ("UTC", "Europe/Berlin"):
        signed_in.cookies["zone"] = zone
        page = signed_in.get("/").context["enrollments"]
        assert sum(page["values"]) == page["total"] == 1
        days.append(page["labels"][page["values"].index(1)])
    assert days[0] != days[1]
