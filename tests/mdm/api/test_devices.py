"""Devices, enrollments and inventory through the API."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from django.utils import timezone

from mdm.audit.models import AuditEvent
from mdm.models import Device, Enrollment, InventorySection, Quarantine

pytestmark = pytest.mark.django_db


def serials(response) -> list[str]:
    assert response.status_code == 200
    return [device["serial_number"] for device in response.json()["results"]]


def test_pages_follow_one_another_and_hold_each_device_once(api, enroll):
    for number in range(5):
        enroll(f"SERIAL{number}")

    seen, address = [], "/api/v1/devices/?page_size=2"
    while address:
        page = api.get(address)
        seen += serials(page)
        address = page.json()["next"]

    assert seen == ["SERIAL4", "SERIAL3", "SERIAL2", "SERIAL1", "SERIAL0"]


def test_a_page_asks_the_same_number_of_queries_however_many_devices(
    api, enroll, django_assert_num_queries
):
    api.get("/api/v1/devices/")
    for number in range(3):
        enroll(f"SERIAL{number}")
    with django_assert_num_queries(3):
        assert len(serials(api.get("/api/v1/devices/"))) == 3
    for number in range(3, 20):
        enroll(f"SERIAL{number}")
    with django_assert_num_queries(3):
        assert len(serials(api.get("/api/v1/devices/"))) == 20


@pytest.mark.parametrize(
    "cursor",
    ["p=abc", "p=1;drop", "p=%00", "p=99999999999999999999999", "p=-1", "o=x", "p=1&o=-1", "p=²"],
)
def test_a_cursor_that_we_did_not_make_is_refused(api, cursor):
    made = base64.b64encode(cursor.encode()).decode()

    assert api.get("/api/v1/devices/", {"cursor": made}).status_code == 404
    assert api.get("/api/v1/tokens/", {"cursor": made}).status_code == 404


def test_search_finds_any_part_of_a_name_and_knows_no_wildcards(api, enroll):
    enroll("AAA", device_name="Ada's iPhone")
    enroll("BBB", device_name="50% off")

    assert serials(api.get("/api/v1/devices/", {"search": "da's i"})) == ["AAA"]
    assert serials(api.get("/api/v1/devices/", {"search": "%"})) == ["BBB"]
    assert serials(api.get("/api/v1/devices/", {"search": "bb"})) == ["BBB"]


def test_filters_narrow_the_list(api, enroll):
    enroll("IPHONE")
    enroll("MAC", platform="macOS", os_version="15.1", supervised=True)
    gone = enroll("GONE", state="CheckedOut")
    Enrollment.objects.filter(pk=gone.pk).update(last_seen_at=timezone.now() - timedelta(days=30))

    def found(**filters):
        return set(serials(api.get("/api/v1/devices/", filters)))

    assert found(platform="macOS") == {"MAC"}
    assert found(supervised="true") == {"MAC"}
    assert found(os_version="17.5") == {"IPHONE", "GONE"}
    assert found(state=["CheckedOut"]) == {"GONE"}
    assert found(standing="managed") == {"IPHONE", "MAC"}
    assert found(serial_number="IPHONE") == {"IPHONE"}
    week_ago = (timezone.now() - timedelta(days=7)).isoformat()
    assert found(last_seen_before=week_ago) == {"GONE"}


def test_a_device_says_how_it_stands(api, enroll):
    enrollment = enroll("AAA", state="CheckedOut")

    device = api.get(f"/api/v1/devices/{enrollment.device_id}/").json()

    assert device["standing"]["word"] == "Checked out"
    assert device["enrollment"]["id"] == enrollment.pk


def test_a_retired_device_leaves_the_list_and_can_come_back(api, enroll):
    device = enroll("AAA").device

    retired = api.post(f"/api/v1/devices/{device.pk}/retire/")

    assert retired.status_code == 200
    assert retired.json()["retired_at"]
    assert retired.json()["enrollment"]["state"] == "Released"
    assert serials(api.get("/api/v1/devices/")) == []
    assert serials(api.get("/api/v1/devices/?retired=true")) == ["AAA"]
    back = api.post(f"/api/v1/devices/{device.pk}/unretire/")
    assert back.json()["retired_at"] is None
    assert serials(api.get("/api/v1/devices/")) == ["AAA"]


def test_an_enrolled_device_is_not_deleted(api, enroll):
    device = enroll("AAA").device

    refused = api.delete(f"/api/v1/devices/{device.pk}/")

    assert refused.status_code == 409
    assert refused.json()["errors"][0]["code"] == "conflict"
    assert Device.objects.filter(pk=device.pk).exists()


def test_deleting_a_device_is_recorded_as_the_tokens_act(api, enroll):
    device = enroll("AAA", state="CheckedOut").device

    assert api.delete(f"/api/v1/devices/{device.pk}/").status_code == 204

    assert not Device.objects.filter(pk=device.pk).exists()
    event = AuditEvent.objects.get(action="device.delete")
    assert (event.actor_kind, event.actor_name) == ("token", "tests (ada)")


def test_releasing_an_enrollment_ends_its_period(api, enroll):
    enrollment = enroll("AAA")

    released = api.post(f"/api/v1/enrollments/{enrollment.pk}/release/")

    assert released.status_code == 200
    assert released.json()["state"] == "Released"
    assert released.json()["periods"][0]["ended_by"] == "Released"


def test_a_wake_up_is_due_at_once_and_only_for_who_is_enrolled(api, enroll):
    enrollment, gone = enroll("AAA"), enroll("BBB", state="CheckedOut")
    Enrollment.objects.update(topic="com.apple.mgmt.x", push_magic="m", sealed_push_token=b"t")

    assert api.post(f"/api/v1/enrollments/{enrollment.pk}/wake/").status_code == 204
    assert api.post(f"/api/v1/enrollments/{gone.pk}/wake/").status_code == 409

    enrollment.refresh_from_db()
    gone.refresh_from_db()
    assert enrollment.wake_at is not None
    assert gone.wake_at is None


def test_an_enrollment_shows_no_push_token_and_no_push_magic(api, enroll):
    enrollment = enroll("AAA")
    Enrollment.objects.filter(pk=enrollment.pk).update(
        push_magic="magic-word", sealed_push_token=b"sealed-token"
    )

    for address in ("/api/v1/enrollments/", f"/api/v1/enrollments/{enrollment.pk}/"):
        text = api.get(address).text
        assert "magic" not in text
        assert "sealed" not in text


def test_inventory_is_listed_by_section_and_read_one_at_a_time(api, enroll):
    enrollment = enroll("AAA")
    InventorySection.objects.create(
        enrollment=enrollment,
        section="ProfileList",
        data=[{"PayloadIdentifier": "com.example"}],
        item_count=1,
        reported_at=timezone.now(),
    )
    address = f"/api/v1/enrollments/{enrollment.pk}/inventory/"

    (section,) = api.get(address).json()
    one = api.get(f"{address}ProfileList/").json()

    assert (section["section"], section["item_count"]) == ("ProfileList", 1)
    assert "data" not in section
    assert one["data"] == [{"PayloadIdentifier": "com.example"}]
    assert api.get(f"{address}SecurityInfo/").status_code == 404


def test_the_inventory_of_one_enrollment_is_not_reached_through_another(api, enroll):
    mine, other = enroll("AAA"), enroll("BBB")
    InventorySection.objects.create(
        enrollment=other, section="ProfileList", data=[], reported_at=timezone.now()
    )

    response = api.get(f"/api/v1/enrollments/{mine.pk}/inventory/ProfileList/")

    assert response.status_code == 404


def test_a_case_in_quarantine_is_decided_once(api):
    now = timezone.now()
    case = Quarantine.objects.create(
        enrollment_key="udid",
        identity_sha256=b"\x01" * 32,
        certificate=b"",
        body=b"",
        reason="another identity",
        first_at=now,
        last_at=now,
    )
    address = f"/api/v1/quarantine/{case.pk}/"

    assert api.get(address).json()["identity_sha256"] == "01" * 32
    assert api.post(f"{address}accept/").json()["state"] == "Accepted"
    assert api.post(f"{address}accept/").status_code == 409
    assert api.get("/api/v1/quarantine/?state=Waiting").json()["results"] == []
