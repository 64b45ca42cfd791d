"""Sending commands from the dashboard: forms made from parameters, selections, confirmations."""

from __future__ import annotations

import plistlib
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client

from commands.catalog import all_types
from commands.models import Command, QueueEntry
from commands.pages import form
from mdm.accounts.models import User
from tests.mdm.dashboard.conftest import Enroll
from tests.steps import plans

PROFILE = plistlib.dumps(
    {
        "PayloadType": "Configuration",
        "PayloadIdentifier": "com.example.wifi",
        "PayloadUUID": "7c1f3b52-6a53-4a7b-9c9e-3a4d9d7f1c11",
        "PayloadVersion": 1,
        "PayloadContent": [],
    }
)


def _send(enrollment: int, request_type: str) -> str:
    return f"/commands/send/?enrollment={enrollment}&type={request_type}"


@pytest.mark.parametrize("command", all_types(), ids=lambda command: command.request_type)
def test_every_command_has_a_form_with_a_field_for_each_parameter(
    signed_in: Client, enroll: Enroll, command: object
) -> None:
    device = enroll(platform="")

    page = signed_in.get(_send(device.enrollment_id, command.request_type)).content.decode()

    for field in _flat(form.draw(command.parameters)):
        if field.kind != "group":
            assert f'name="{field.name}"' in page
            assert f'for="{field.id}"' in page


def _flat(fields: list[form.Field]) -> list[form.Field]:
    return [found for each in fields for found in (each, *_flat(each.fields))]


def test_what_a_device_cannot_do_is_said_before_it_is_asked(
    signed_in: Client, enroll: Enroll
) -> None:
    device = enroll(platform="macOS", os_version="15.1")

    page = signed_in.get(f"/commands/send/?enrollment={device.enrollment_id}").content.decode()

    assert "ClearPasscode does not exist on macOS." in page
    assert "type=ClearPasscode" not in page
    assert "type=RestartDevice" in page


def test_a_field_that_a_device_does_not_have_is_not_asked_for(
    signed_in: Client, enroll: Enroll
) -> None:
    mac, phone = enroll("MAC", platform="macOS", os_version="15.1"), enroll("PHONE")

    on_mac = signed_in.get(_send(mac.enrollment_id, "EraseDevice")).content.decode()
    on_phone = signed_in.get(_send(phone.enrollment_id, "EraseDevice")).content.decode()

    assert "p.PreserveDataPlan" not in on_mac
    assert "p.PIN" in on_mac
    assert "p.PreserveDataPlan" in on_phone
    assert "p.PIN" not in on_phone


def test_a_wrong_value_is_told_beside_its_field_and_the_rest_is_kept(
    signed_in: Client, enroll: Enroll
) -> None:
    device = enroll(platform="macOS", os_version="15.1")
    where = _send(device.enrollment_id, "DeviceLock")

    answer = signed_in.post(
        where, {"p.PIN": "12", "p.Message": "Call <me>", "confirmation": device.serial_number}
    )
    page = answer.content.decode()

    assert answer.status_code == 422
    assert not Command.objects.exists()
    assert re.search(r'name="p\.PIN"[^>]*aria-invalid="true"[^>]*f-p-PIN-error', page)
    assert "Call &lt;me&gt;" in page
    assert 'value="12"' not in page


def test_a_missing_value_that_is_needed_is_told(signed_in: Client, enroll: Enroll) -> None:
    device = enroll()

    page = signed_in.post(_send(device.enrollment_id, "RemoveProfile"), {}).content.decode()

    assert "This is required." in page
    assert not Command.objects.exists()


def test_a_profile_is_uploaded_and_arrives_as_it_is(signed_in: Client, enroll: Enroll) -> None:
    from commands.queue import COMMAND
    from mdm.secrets import unseal

    device = enroll()
    file = SimpleUploadedFile("wifi.mobileconfig", PROFILE)

    answer = signed_in.post(_send(device.enrollment_id, "InstallProfile"), {"p.Payload": file})

    assert answer.status_code == 302, answer.content.decode()
    entry = QueueEntry.objects.select_related("payload").get()
    sealed = entry.sealed_payload or entry.payload.sealed
    assert plistlib.loads(unseal(COMMAND, sealed))["Command"]["Payload"] == PROFILE


def test_fields_within_fields_and_lists_reach_the_catalog() -> None:
    from django.test import RequestFactory

    from commands import catalog

    erase = catalog.get("EraseDevice")
    request = RequestFactory().post(
        "/", {"p.ReturnToService.Enabled": "true", "p.DisallowProximitySetup": "false"}
    )

    assert form.read(request, erase.parameters) == {
        "ReturnToService": {"Enabled": "true"},
        "DisallowProximitySetup": "false",
    }
    information = catalog.get("DeviceInformation")
    request = RequestFactory().post("/", {"p.Queries": " OSVersion \n\nBuildVersion\n"})
    assert form.read(request, information.parameters) == {"Queries": ["OSVersion", "BuildVersion"]}


@pytest.mark.parametrize("typed", ["", "C02", "wrong"])
def test_an_erase_that_was_not_confirmed_is_not_sent(
    signed_in: Client, enroll: Enroll, typed: str
) -> None:
    device = enroll("C02ABC")

    answer = signed_in.post(_send(device.enrollment_id, "EraseDevice"), {"confirmation": typed})

    assert answer.status_code == 422
    assert "Type C02ABC to confirm." in answer.content.decode()
    assert not Command.objects.exists()


def test_an_erase_confirmed_by_its_serial_number_is_sent(signed_in: Client, enroll: Enroll) -> None:
    device = enroll("C02ABC")

    answer = signed_in.post(_send(device.enrollment_id, "EraseDevice"), {"confirmation": "c02abc"})

    assert answer["Location"] == f"/devices/{device.pk}/commands/"
    assert QueueEntry.objects.get().command.request_type == "EraseDevice"


def test_pasting_a_command_is_no_way_round_the_confirmation(
    signed_in: Client, enroll: Enroll
) -> None:
    device = enroll("C02ABC")
    plist = plistlib.dumps({"RequestType": "EraseDevice"}).decode()

    answer = signed_in.post(_send(device.enrollment_id, "Raw"), {"p.Plist": plist})

    assert answer.status_code == 422
    assert not Command.objects.exists()


# --- Selections ----------------------------------------------------------------------------------


def _choose(client: Client, **posted: object) -> str:
    """Choose devices in the list; returns where to choose the command."""
    answer = client.post("/commands/send/selection", posted)
    assert answer.status_code == 302
    return str(answer["Location"])


def test_the_ticked_devices_get_the_command_wherever_they_were_ticked(
    signed_in: Client, enroll: Enroll
) -> None:
    first, second, third = enroll("S1"), enroll("S2"), enroll("S3")

    where = _choose(signed_in, ids=f"{first.pk},{second.pk}", id=[second.pk])
    answer = signed_in.post(f"{where}&type=SecurityInfo", {})

    got = set(QueueEntry.objects.values_list("enrollment_id", flat=True))
    assert got == {first.enrollment_id, second.enrollment_id}
    assert third.enrollment_id not in got
    assert answer["Location"] == f"/commands/{Command.objects.get().uuid}/"


def test_all_that_the_filters_leave_can_be_chosen_and_is_frozen_then(
    signed_in: Client, enroll: Enroll
) -> None:
    macs = {enroll(f"M{n}", platform="macOS", os_version="15.1").enrollment_id for n in range(60)}
    enroll("PHONE")

    where = _choose(signed_in, all="?platform=macOS")
    late = enroll("LATE", platform="macOS", os_version="15.1")
    signed_in.post(f"{where}&type=SecurityInfo", {})

    got = set(QueueEntry.objects.values_list("enrollment_id", flat=True))
    assert got == macs
    assert late.enrollment_id not in got


def test_a_list_is_judged_before_it_is_sent_and_those_who_cannot_are_named(
    signed_in: Client, enroll: Enroll
) -> None:
    able = enroll("ABLE", supervised=True)
    enroll("UNABLE", supervised=False)
    enroll("GONE", state="CheckedOut", supervised=True)

    where = _choose(signed_in, all="?")
    page = signed_in.get(f"{where}&type=RestartDevice").content.decode()
    sent = signed_in.post(f"{where}&type=RestartDevice", {}, follow=True).content.decode()

    assert "RestartDevice needs a supervised device; this one is not supervised." in page
    assert "This device is not enrolled now." in page
    assert [e.enrollment_id for e in QueueEntry.objects.all()] == [able.enrollment_id]
    assert "1 cannot take it: RestartDevice needs a supervised device" in sent


def test_erasing_a_selection_wants_its_number_typed(signed_in: Client, enroll: Enroll) -> None:
    where = _choose(signed_in, ids=",".join(str(enroll(f"S{n}").pk) for n in range(3)))

    signed_in.post(f"{where}&type=EraseDevice", {"confirmation": "2"})
    assert not Command.objects.exists()
    signed_in.post(f"{where}&type=EraseDevice", {"confirmation": "3"})
    assert QueueEntry.objects.count() == 3


def test_a_selection_belongs_to_whoever_made_it(signed_in: Client, enroll: Enroll) -> None:
    where = _choose(signed_in, ids=str(enroll().pk))
    other = Client()
    other.force_login(User.objects.create_superuser("ben", "ben@example.com"))

    answer = other.post(f"{where}&type=RestartDevice", {})

    assert answer["Location"] == "/devices/"
    assert not Command.objects.exists()


@pytest.mark.parametrize("posted", [{"ids": "1,x"}, {"ids": "9" * 40}, {"id": "1 OR 1=1"}])
def test_a_selection_is_a_list_of_numbers(
    signed_in: Client, db: None, posted: dict[str, str]
) -> None:
    assert signed_in.post("/commands/send/selection", posted).status_code == 400


def test_choosing_nobody_leads_back_to_the_list(signed_in: Client, db: None) -> None:
    assert _choose(signed_in, ids="") == "/devices/"
    assert _choose(signed_in, ids="12345") == "/devices/"
    assert signed_in.get("/commands/send/?to=nonsense")["Location"] == "/devices/"


# --- Jobs ----------------------------------------------------------------------------------------


def test_a_job_shows_who_is_where_and_cancels_the_rest(signed_in: Client, enroll: Enroll) -> None:
    where = _choose(signed_in, ids=",".join(str(enroll(f"S{n}").pk) for n in range(3)))
    signed_in.post(f"{where}&type=SecurityInfo", {})
    job = f"/commands/{Command.objects.get().uuid}/"
    QueueEntry.objects.filter(enrollment__device__serial_number="S0").update(state="Sent")

    page = signed_in.get(job).content.decode()
    mark = re.findall(r"\?mark=([\w.]+)", page)[0]
    fragment = {"HX-Request": "true", "HX-Target": "job-progress"}
    unchanged = signed_in.get(f"{job}?mark={mark}", headers=fragment)
    signed_in.post(f"{job}cancel")
    changed = signed_in.get(f"{job}?mark={mark}", headers=fragment)

    assert "3 receivers" in page
    assert unchanged.status_code == 204
    assert changed.status_code == 200
    states = QueueEntry.objects.order_by("enrollment__device__serial_number")
    assert list(states.values_list("state", flat=True)) == ["Sent", "Cancelled", "Cancelled"]
    shown = signed_in.get(f"{job}?state=Cancelled&q=s1").content.decode()
    assert "S1" in shown
    assert "S2" not in shown


def test_jobs_are_found_by_name_person_and_uuid(signed_in: Client, enroll: Enroll) -> None:
    device = enroll()
    for request_type in ("SecurityInfo", "ProfileList"):
        signed_in.post(_send(device.enrollment_id, request_type), {})
    security = Command.objects.get(request_type="SecurityInfo")

    by_the_server = signed_in.get("/commands/", {"by": "the server"}).content.decode()
    assert "Nothing fits" in by_the_server
    for text, found in (("security", 1), ("Ada", 2), (str(security.uuid), 1), ("zzz", 0)):
        page = signed_in.get("/commands/", {"q": text}).content.decode()
        assert len(re.findall(r'href="/commands/[0-9a-f-]{36}/"', page)) == found, text


def test_the_counter_in_the_top_bar_counts_what_is_in_flight(
    signed_in: Client, enroll: Enroll
) -> None:
    assert signed_in.get("/commands/running").content.strip() == b""
    signed_in.post(_send(enroll().enrollment_id, "ProfileList"), {})

    assert '<span class="nums">1</span>' in signed_in.get("/commands/running").content.decode()
    assert "0 of 1 finished" in signed_in.get("/work/").content.decode()


def test_what_goes_on_is_found_from_what_was_asked_for_lately(
    signed_in: Client, enroll: Enroll
) -> None:
    device = enroll()
    signed_in.post(_send(device.enrollment_id, "ProfileList"), {})
    with connection.cursor() as cursor:
        cursor.execute(_MANY_OLD)
        cursor.execute("ANALYZE commands_command, commands_queueentry")

    with plans('FROM "commands_queueentry"') as made:
        page = signed_in.get("/commands/running").content.decode()
        signed_in.get("/work/")

    assert '<span class="nums">1</span>' in page
    used = [("command_lately" in plan, "queue_entry_of_command" in plan) for plan in made[:2]]
    assert used == [(True, True)] * 2


# Commands of long ago that nobody answered, each for one of many.
_MANY_OLD = """
WITH asked AS (
    INSERT INTO commands_command (uuid, request_type, parameters, destructive, asked_by, created_at)
    SELECT gen_random_uuid(), 'ProfileList', '{}', false, 'Ada', now() - interval '9 days'
    FROM generate_series(1, 5000)
    RETURNING id, uuid
)
INSERT INTO commands_queueentry
    (enrollment_id, command_id, command_uuid, state, priority, created_at)
SELECT 1000000 + asked.id, asked.id, asked.uuid, 'Queued', 0, now() - interval '9 days'
FROM asked"""
