"""The overview of a large fleet shows what a worker counted last."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from mdm import figures
from mdm.accounts.rights import Role
from mdm.health import readings
from mdm.health.models import Reading
from mdm.models import Device, Enrollment, EnrollmentPeriod, Group, GroupMember
from tests.mdm.dashboard.conftest import Enroll
from tests.people import signed_in as as_user
from tests.people import someone

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fleet(enroll: Enroll, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three devices, which are many here; one cannot be woken, one was not heard of for long."""
    monkeypatch.setattr(figures, "MANY", 2)
    enroll("S1")
    enroll("S2", push_problem="BadDeviceToken")
    enroll("S3", last_seen_at=timezone.now() - timedelta(days=20))
    readings.take_due()


def seen(client: Client) -> tuple[dict[str, int], int, list[str]]:
    shown = client.get("/").context
    numbers = {number.label: number.value for number in shown["numbers"]}
    said = [item.what for item in shown.get("attention") or ()]
    return numbers, shown["enrollments"]["total"], said


def test_what_was_counted_is_shown_until_it_is_counted_again(signed_in: Client) -> None:
    numbers, total, said = seen(signed_in)
    assert (numbers["Managed"], numbers["Quiet"], numbers["Suspect"]) == (3, 1, 1)
    assert total == EnrollmentPeriod.objects.count() == 3
    assert "1 device cannot be woken." in said

    Enrollment.objects.update(push_problem="")
    Device.objects.update(retired_at=timezone.now())

    assert seen(signed_in) == (numbers, total, said)
    page = signed_in.get("/").content.decode()
    assert "in 30 days, counted" in page
    # The next beat comes a minute after the last one, which is a moment before this minute is over.
    Reading.objects.update(at=timezone.now() - figures.EVERY + timedelta(seconds=2))
    readings.take_due()
    numbers, _, said = seen(signed_in)
    assert (numbers["Managed"], numbers["Quiet"], numbers["Suspect"]) == (0, 0, 0)
    assert "1 device cannot be woken." not in said


def test_few_devices_are_counted_as_they_are_now(
    signed_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MANY", 3)
    Device.objects.update(retired_at=timezone.now())
    assert seen(signed_in)[0]["Managed"] == 0
    assert ", counted" not in signed_in.get("/").content.decode()


def test_who_sees_a_group_is_shown_the_figures_of_that_group() -> None:
    group = Group.objects.create(name="Kiosks", kind="static", rank=1)
    GroupMember.objects.create(group=group, serial_number="S1")
    helper = as_user(someone(Role.HELPER, group=group))
    assert seen(helper) == ({"Managed": 1, "Quiet": 0, "Suspect": 0, "Awaiting": 0}, 1, [])
