"""Someone with a role for one group sees and reaches its devices alone: in pages, lists, exports,
numbers and commands, and in the API; what is outside is as if it were not there.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.test import Client

from commands import queue
from commands.models import Command, QueueEntry
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.models import Device, Group, GroupMember
from tests.mdm.dashboard.conftest import Enroll
from tests.people import signed_in as as_user
from tests.people import someone

pytestmark = pytest.mark.django_db

Pair = tuple[Device, Device]


@pytest.fixture
def group() -> Group:
    group = Group.objects.create(name="Kiosks", kind="static", rank=1, created_by="a test")
    GroupMember.objects.create(group=group, serial_number="INSIDE1")
    return group


@pytest.fixture
def pair(enroll: Enroll, group: Group) -> Pair:
    """A device in the group, and one outside of it."""
    return enroll("INSIDE1", device_name="Near"), enroll("OUTSIDE1", device_name="Far")


@pytest.fixture
def helper(group: Group) -> Client:
    return as_user(someone(Role.HELPER, group=group))


@pytest.fixture
def operator(group: Group) -> Client:
    return as_user(someone(Role.OPERATOR, group=group))


def _send(*devices: Device, request_type: str = "DeviceInformation") -> Command:
    return queue.enqueue(
        Actor.system("a test"),
        request_type=request_type,
        parameters={},
        enrollments=[device.enrollment_id for device in devices],
    ).command


@pytest.mark.parametrize(
    "path", ["/devices/", "/devices/export.csv", "/devices/?q=SIDE1", "/api/v1/devices/"]
)
def test_a_list_holds_the_devices_of_the_group(helper: Client, pair: Pair, path: str) -> None:
    answer = helper.get(path)

    text = b"".join(answer) if answer.streaming else answer.content
    assert b"INSIDE1" in text
    assert b"OUTSIDE1" not in text


@pytest.mark.parametrize(
    ("path", "query", "outside"),
    [
        ("/devices/", "os", "99.1"),
        ("/commands/", "type", "RestartDevice"),
        ("/commands/", "by", "someone far away"),
    ],
)
def test_filters_offer_nothing_of_what_is_outside(
    helper: Client, signed_in: Client, pair: Pair, path: str, query: str, outside: str
) -> None:
    Device.objects.filter(pk=pair[1].pk).update(os_version="99.1")
    _send(pair[0])
    far = Command.objects.filter(pk=_send(pair[1]).pk)
    far.update(request_type="RestartDevice", asked_by="someone far away")
    offered = f'<option value="{outside}"'

    assert offered in signed_in.get(path).content.decode()
    assert offered not in helper.get(path).content.decode()
    assert outside not in helper.get(path, {query: "x"}).content.decode()


def test_the_search_finds_the_one_device_that_is_seen(helper: Client, pair: Pair) -> None:
    assert helper.get("/search/?q=SIDE1")["Location"] == f"/devices/{pair[0].pk}/"
    answer = helper.get("/search/?q=OUTSIDE1")
    assert answer.status_code == 200
    assert f"/devices/{pair[1].pk}/" not in answer.content.decode()
    found = helper.get("/api/v1/search/?q=SIDE1").json()
    assert found["devices"] == 1
    assert [each["device"] for place in found["places"] for each in place["found"]] == [pair[0].pk]


def _looks(device: Device, entry: QueueEntry) -> list[tuple[str, str]]:
    """Every address of this device and of a command for it, with its method."""
    pk, enrollment = device.pk, device.enrollment_id
    return [
        *(("get", f"/devices/{pk}/{panel}") for panel in ("", "timeline/", "commands/", "abm/")),
        ("get", f"/devices/{pk}/live/timeline/"),
        ("get", f"/devices/{pk}/retire/"),
        ("post", f"/devices/{pk}/retire/"),
        ("post", f"/devices/{pk}/unretire"),
        ("post", f"/devices/{pk}/release/"),
        ("post", f"/devices/{pk}/wake"),
        ("post", f"/devices/{pk}/release-setup"),
        ("post", f"/devices/{pk}/remove-management/"),
        ("get", f"/commands/send/?enrollment={enrollment}"),
        ("post", f"/commands/send/?enrollment={enrollment}&type=RestartDevice"),
        ("get", f"/commands/entries/{entry.pk}/"),
        ("post", f"/commands/entries/{entry.pk}/cancel"),
        ("get", f"/commands/{entry.command_uuid}/"),
        ("post", f"/commands/{entry.command_uuid}/cancel"),
        ("get", f"/api/v1/devices/{pk}/"),
        ("get", f"/api/v1/devices/{pk}/timeline/"),
        ("post", f"/api/v1/devices/{pk}/retire/"),
        ("post", f"/api/v1/devices/{pk}/unretire/"),
        ("get", f"/api/v1/enrollments/{enrollment}/"),
        ("get", f"/api/v1/enrollments/{enrollment}/inventory/"),
        ("post", f"/api/v1/enrollments/{enrollment}/wake/"),
        ("post", f"/api/v1/enrollments/{enrollment}/configured/"),
        ("post", f"/api/v1/enrollments/{enrollment}/remove-management/"),
        ("post", f"/api/v1/enrollments/{enrollment}/release/"),
        ("get", f"/api/v1/entries/{entry.pk}/"),
        ("get", f"/api/v1/entries/{entry.pk}/request/"),
        ("get", f"/api/v1/entries/{entry.pk}/reply/"),
        ("post", f"/api/v1/entries/{entry.pk}/cancel/"),
        ("get", f"/api/v1/commands/{entry.command_uuid}/"),
        ("post", f"/api/v1/commands/{entry.command_uuid}/cancel/"),
    ]


def test_what_is_outside_is_not_there_and_stays_as_it_is(operator: Client, pair: Pair) -> None:
    entry = QueueEntry.objects.get(command=_send(pair[1]))

    for method, path in _looks(pair[1], entry):
        assert getattr(operator, method)(path).status_code == 404, (method, path)

    outside = Device.objects.get(pk=pair[1].pk)
    assert outside.retired_at is None
    assert outside.enrollment is not None
    assert outside.enrollment.state == "Enrolled"
    entry.refresh_from_db()
    assert entry.state == "Queued"
    assert Command.objects.count() == 1


def test_what_is_inside_is_there(operator: Client, pair: Pair) -> None:
    for method, path in _looks(pair[0], QueueEntry.objects.get(command=_send(pair[0]))):
        if method == "get" and not path.endswith("reply/"):
            assert operator.get(path).status_code == 200, path
    assert operator.post(f"/devices/{pair[0].pk}/wake", follow=True).status_code == 200
    assert operator.post(f"/devices/{pair[0].pk}/retire/").status_code == 302
    assert Device.objects.get(pk=pair[0].pk).retired_at is not None


def test_a_role_on_the_server_is_not_had(operator: Client, pair: Pair, group: Group) -> None:
    for path in (
        *("/groups/", f"/groups/{group.pk}/", "/ade-profiles/", "/abm/devices/", "/abm/servers/"),
        *("/enrollment/links/", "/enrollment/quarantine/", "/settings/audit/", "/settings/people/"),
        *("/api/v1/groups/", "/api/v1/links/", "/api/v1/abm-devices/", "/api/v1/quarantine/"),
    ):
        assert operator.get(path).status_code == 403, path
    added = operator.post(f"/groups/{group.pk}/add", {"pasted": "OUTSIDE1"})
    assert added.status_code == 403
    assert operator.post(f"/devices/{pair[0].pk}/delete/").status_code == 403
    assert group.members.count() == 1


def test_a_command_to_both_reaches_the_one_inside(helper: Client, pair: Pair) -> None:
    Device.objects.create(serial_number="NEVER1", udid="never")
    answer = helper.post(
        "/api/v1/commands/",
        json.dumps(
            {
                "request_type": "DeviceInformation",
                "serial_numbers": ["INSIDE1", "OUTSIDE1", "NOWHERE1", "NEVER1"],
                "enrollments": [pair[1].enrollment_id],
                "devices": [pair[1].pk],
                "udids": [pair[1].udid],
            }
        ),
        content_type="application/json",
    )

    assert answer.status_code == 201
    refused = {(each["kind"], each["name"]): each["reason"] for each in answer.json()["refused"]}
    # One that is outside cannot be told from one that nobody knows.
    unknown = refused["serial_number", "NOWHERE1"]
    assert refused["serial_number", "OUTSIDE1"] == unknown
    assert refused["serial_number", "NEVER1"] == unknown
    assert set(refused.values()) == {
        unknown,
        "There is no such enrollment.",
        "There is no such device.",
        "No device with this UDID has enrolled.",
    }
    entry = QueueEntry.objects.get()
    assert entry.enrollment_id == pair[0].enrollment_id


def test_a_selection_holds_what_is_seen(helper: Client, pair: Pair) -> None:
    for chosen in ({"ids": f"{pair[0].pk},{pair[1].pk}"}, {"all": "?"}):
        to = helper.post("/commands/send/selection", chosen)["Location"]
        helper.post(f"{to}&type=DeviceInformation")

    assert set(QueueEntry.objects.values_list("enrollment_id", flat=True)) == {
        pair[0].enrollment_id
    }


def test_a_job_for_both_is_shown_and_counted_by_what_is_seen(helper: Client, pair: Pair) -> None:
    both = _send(*pair)
    _send(pair[1])

    listed = helper.get("/api/v1/commands/").json()["results"]
    assert [each["uuid"] for each in listed] == [str(both.uuid)]
    assert listed[0]["states"] == {"Queued": 1}
    page = helper.get(f"/commands/{both.uuid}/").content.decode()
    assert "INSIDE1" in page
    assert "OUTSIDE1" not in page
    assert helper.get("/commands/").content.decode().count(str(both.uuid)) >= 1
    assert len(helper.get("/api/v1/entries/").json()["results"]) == 1

    helper.post(f"/commands/{both.uuid}/cancel")

    states = dict(both.entries.values_list("enrollment_id", "state"))
    assert states == {pair[0].enrollment_id: "Cancelled", pair[1].enrollment_id: "Queued"}


def test_the_overview_counts_what_is_seen_and_says_whose(helper: Client, pair: Pair) -> None:
    page = helper.get("/").content.decode()

    assert "You see the devices of your groups: Helper for Kiosks." in page
    assert page.count('<span class="stat-number">1</span>') == 1
    assert "First steps" not in page
    assert 'href="/groups/"' not in page


@pytest.fixture
def lock(pair: Pair) -> Callable[[Client, Device], int]:
    def lock(client: Client, device: Device) -> int:
        return client.post(
            "/api/v1/commands/",
            json.dumps(
                {
                    "request_type": "DeviceLock",
                    "parameters": {},
                    "serial_numbers": [device.serial_number],
                }
            ),
            content_type="application/json",
        ).status_code

    return lock


def test_a_helper_destroys_nothing_but_what_was_given_besides(
    helper: Client, pair: Pair, group: Group, lock: Callable[[Client, Device], int]
) -> None:
    assert lock(helper, pair[0]) == 403
    may_lock = as_user(someone(Role.HELPER, name="locker", group=group, also=["DeviceLock"]))

    assert lock(may_lock, pair[0]) == 201
    assert lock(may_lock, pair[1]) == 400
    erase = f"/commands/send/?enrollment={pair[0].enrollment_id}&type=EraseDevice"
    may_lock.post(erase, {"confirmation": "INSIDE1"})

    assert list(Command.objects.values_list("request_type", flat=True)) == ["DeviceLock"]
    offered = may_lock.get(f"/devices/{pair[0].pk}/").content.decode()
    assert "type=DeviceLock" in offered
    assert "type=EraseDevice" not in offered
    assert "type=DeviceLock" not in helper.get(f"/devices/{pair[0].pk}/").content.decode()


def test_who_looks_at_one_group_and_helps_in_another_does_each_there(
    pair: Pair, group: Group
) -> None:
    far = Group.objects.create(name="Far", kind="static", rank=2, created_by="a test")
    GroupMember.objects.create(group=far, serial_number="OUTSIDE1")
    user = someone(Role.HELPER, group=group)
    user.grants.create(role=Role.VIEWER, group=far, given_by="a test")
    client = as_user(user)

    page = client.get(f"/devices/{pair[1].pk}/").content.decode()
    refused = client.post(f"/api/v1/enrollments/{pair[1].enrollment_id}/wake/")

    assert "Send a command" not in page
    assert refused.status_code == 403
    assert "for other groups of devices" in refused.json()["errors"][0]["detail"]
    sent = queue.NobodyCanRunIt
    with pytest.raises(sent, match="Your role does not let you send this"):
        queue.enqueue(
            Actor.person(user),
            request_type="RestartDevice",
            parameters={},
            enrollments=[pair[1].enrollment_id],
        )


def test_a_group_stays_while_rights_hold_for_it(group: Group) -> None:
    someone(Role.HELPER, group=group)
    admin = as_user(someone(Role.ADMIN))

    page = admin.post(f"/groups/{group.pk}/delete/", follow=True).content.decode()
    refused = admin.delete(f"/api/v1/groups/{group.pk}/")

    assert "Rights hold for the devices of this group (Helper)" in page
    assert refused.status_code == 409
    assert Group.objects.filter(pk=group.pk).exists()
