"""Enrollment > Identities, and the same in the API: which there are, how it stands with each, who
sees them, and how they are found.
"""

from __future__ import annotations

import csv
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from mdm import identities
from mdm.accounts.rights import Role
from mdm.health import readings
from mdm.identities import State
from mdm.models import Device, Enrollment, Group, GroupMember, Identity
from mdm.protocol.binding import Binding, Purpose
from tests import steps
from tests.mdm.dashboard.conftest import Enroll
from tests.people import signed_in as as_user
from tests.people import someone

pytestmark = pytest.mark.django_db

PAGE = "/enrollment/identities/"


def _issue(
    number: int, device: Device | None = None, *, days: int = 700, bound: bool = True, **more: Any
) -> Identity:
    """An identity whose SHA-256 begins with `number`; its device's own where it is `bound`."""
    enrollment = device.enrollment if device else None
    sha256 = bytes([number]) + bytes(30) + b"\7"
    purpose, serial = Purpose.DEVICE, more.pop("serial_number", None)
    made = Identity.objects.create(
        sha256=sha256,
        certificate=b"",
        binding=Binding(purpose, "link", f"r{number}", serial_number=serial).to_uri(),
        expires_at=timezone.now() + timedelta(days=days),
        enrollment=enrollment,
        **more,
    )
    if enrollment and bound:
        Enrollment.objects.filter(pk=enrollment.pk).update(identity_sha256=sha256)
    return made


def _rows(client: Client, query: str) -> dict[str, dict[str, str]]:
    """What the CSV of the page so narrowed holds, by how each SHA-256 begins."""
    answer = client.get(f"{PAGE}export.csv{query}")
    lines = b"".join(answer.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
    return {row["SHA-256"][:2]: row for row in csv.DictReader(lines)}


def test_the_page_the_query_and_the_api_agree_on_how_it_stands_with_each(
    signed_in: Client, enroll: Enroll
) -> None:
    late = timezone.now()
    gone = enroll("GONE", state="CheckedOut")
    wanted = {
        _issue(1, enroll("USED")): State.CURRENT,
        # It speaks with it all the same.
        _issue(2, enroll("LATE"), days=-3): State.CURRENT,
        _issue(3, gone): State.ENDED,
        _issue(4, gone, days=-3, bound=False, revoked_at=late): State.REVOKED,
        _issue(5, serial_number="TOCOME"): State.WAITING,
        _issue(6, days=-3): State.ENDED,
        _issue(7, enroll("BEGUN", state="Authenticated")): State.WAITING,
        # Its renewal is on the way.
        _issue(8, Device.objects.get(serial_number="USED"), bound=False): State.WAITING,
    }
    wanted = {f"0{bytes(each.sha256)[0]}": state for each, state in wanted.items()}

    assert {key: row["State"] for key, row in _rows(signed_in, "").items()} == {
        key: state.label for key, state in wanted.items()
    }
    for state in State:
        fitting = {key for key, each in wanted.items() if each is state}
        assert set(_rows(signed_in, f"?state={state}")) == fitting
        listed = signed_in.get(f"/api/v1/identities/?state={state}").json()["results"]
        assert {each["sha256"][:2] for each in listed} == fitting
        assert {each["state"] for each in listed} == {state.value}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?q=mac-5", {"11"}),
        ("?q=books", {"11"}),
        ("?q=11:00 00", {"11"}),
        ("?q=2B000", {"2b"}),
        ("?q=tocome", {"2b"}),
        ("?q=nothing", set()),
        ("?ends=soon", {"11", "0c"}),
        ("?ends=over", {"0c"}),
        ("?ends=never", set()),
        ("?state=nonsense", set()),
        ("?sort=ends", {"0c", "11", "2b"}),
    ],
)
def test_what_is_searched_and_filtered(
    signed_in: Client, enroll: Enroll, query: str, found: set[str]
) -> None:
    _issue(0x11, enroll("MAC-55", device_name="Bookshelf"), days=20)
    _issue(0x2B, serial_number="TOCOME1")
    _issue(0x0C, enroll("PAD-1", device_name="Pad"), days=-20)

    assert set(_rows(signed_in, query)) == found
    page = signed_in.get(PAGE + query).text
    assert {key for key in ("0c", "11", "2b") if f'title="{key}00' in page} == found


def test_the_api_finds_one_by_each_of_its_filters(signed_in: Client, enroll: Enroll) -> None:
    device = enroll("MAC-55")
    own = _issue(0x11, device, days=20)
    _issue(0x2B, enroll("PAD-1"))
    soon = (timezone.now() + timedelta(days=30)).isoformat().replace("+00:00", "Z")

    for query in (
        *("search=mac", f"device={device.pk}", f"enrollment={device.enrollment_id}"),
        *("serial_number=MAC-55", "sha256=11" + "00" * 30 + "07", f"expires_before={soon}"),
    ):
        (found,) = signed_in.get(f"/api/v1/identities/?{query}").json()["results"]
        assert found["id"] == own.pk, query
    assert (found["device"], found["serial_number"], found["way"]) == (device.pk, "MAC-55", "link")
    assert signed_in.get("/api/v1/identities/?sha256=xyz").json()["results"] == []


def test_someone_with_a_role_for_a_group_sees_those_of_its_devices(enroll: Enroll) -> None:
    group = Group.objects.create(name="Kiosks", kind="static", rank=1, created_by="a test")
    GroupMember.objects.create(group=group, serial_number="INSIDE1")
    inside, outside = _issue(1, enroll("INSIDE1")), _issue(2, enroll("OUTSIDE1"))
    _issue(3, serial_number="INSIDE2")
    viewer = as_user(someone(Role.VIEWER, group=group))

    page = viewer.get(PAGE).text
    assert "INSIDE1" in page
    assert "OUTSIDE1" not in page
    assert set(_rows(viewer, "")) == {"01"}
    assert viewer.get(f"/api/v1/identities/{inside.pk}/").status_code == 200
    assert viewer.get(f"/api/v1/identities/{outside.pk}/").status_code == 404


def test_the_overview_leads_to_those_that_it_counts(signed_in: Client, enroll: Enroll) -> None:
    for number, days in ((1, 5), (2, -5), (3, 300)):
        _issue(number, enroll(f"S{number}"), days=days)
    readings.take_due()

    assert "Identities of 2 devices" in (page := signed_in.get("/").text)
    address = f"{PAGE}?state=current&amp;ends=soon&amp;sort=ends"
    assert address in page
    assert list(_rows(signed_in, address.removeprefix(PAGE).replace("&amp;", "&"))) == ["02", "01"]


def test_an_empty_page_says_how_a_device_gets_one(signed_in: Client) -> None:
    page = signed_in.get(PAGE).text

    assert "A device gets its identity while it enrolls" in page
    assert '"/enrollment/links/"' in page


def test_a_search_and_what_ends_next_take_indexes_alone(enroll: Enroll) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO mdm_identity (sha256, certificate, binding, expires_at)
            SELECT sha256(n::text::bytea), '\\x00', '', now() + n * interval '1 hour'
            FROM generate_series(1, 20000) n
            """
        )
        cursor.execute("UPDATE mdm_identity SET enrollment_id = id WHERE id % 50 > 0")
        cursor.execute("ANALYZE mdm_identity")
    now = timezone.now()

    with steps.plans("mdm_identity") as found:
        list(identities.search(Identity.objects.order_by("-id"), "ab12cd")[:50])
        list(Identity.objects.filter(identities.ending(identities.Ends.OVER, now)))

    assert len(found) == 2
    assert not [plan for plan in found if "Seq Scan" in plan]
