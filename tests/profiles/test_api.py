"""ADE profiles, groups and explanations in the REST API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from abm import copies
from abm.assignment import PURPOSE
from abm.models import Definition, Server
from mdm import secrets
from mdm.accounts.models import User
from mdm.audit.models import AuditEvent
from mdm.models import Group
from profiles import following, giving
from profiles.models import Default, DeviceProfile, Profile
from tests.abm.connected import connect
from tests.profiles.steps import ADMIN, make_profile
from tests.profiles.test_order import follow, listed

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(db: None) -> APIClient:
    client = APIClient()
    client.force_login(User.objects.create_superuser("ada", "ada@example.com", "x"))
    return client


@pytest.fixture
def server(db: None) -> Server:
    return connect()


def call(api: APIClient, method: str, path: str, status: int, **data: Any) -> Any:
    answer = getattr(api, method)(f"/api/v1/{path}", data or None, format="json")
    assert answer.status_code == status, answer.content
    return answer.json() if answer.content else None


def test_a_profile_from_its_first_version_to_its_archive(api: APIClient, server: Server) -> None:
    made = call(
        api,
        "post",
        "ade-profiles/",
        201,
        name="Office",
        content={"is_supervised": True, "department": "IT"},
    )
    pk = made["id"]
    assert made["current"]["number"] == 1
    assert made["current"]["content"]["department"] == "IT"
    giving.set_default(ADMIN, "iOS", None, Profile.objects.get(pk=pk))
    listed("SERIAL1", server)
    follow()

    draft = call(api, "post", f"ade-profiles/{pk}/versions/", 201, content={}, await_minutes=10)
    assert (draft["number"], draft["applied_at"], draft["await_minutes"]) == (2, None, 10)
    preview = call(api, "get", f"ade-profiles/{pk}/versions/2/preview/", 200)
    assert (preview["devices"], preview["requests"]) == (1, 1)
    [line] = preview["lines"]
    assert (line["before"], line["after"]) == ("Office, version 1", "Office, version 2")
    applied = call(api, "post", f"ade-profiles/{pk}/versions/2/apply/", 200)
    assert applied["current"]["number"] == 2
    call(api, "post", f"ade-profiles/{pk}/versions/2/apply/", 409)
    call(api, "delete", f"ade-profiles/{pk}/versions/1/", 409)
    call(api, "post", f"ade-profiles/{pk}/versions/", 201, content={"department": "HR"})
    call(api, "delete", f"ade-profiles/{pk}/versions/3/", 204)
    numbers = [each["number"] for each in call(api, "get", f"ade-profiles/{pk}/versions/", 200)]
    assert numbers == [2, 1]
    call(api, "get", f"ade-profiles/{pk}/versions/9/", 404)

    assert call(api, "patch", f"ade-profiles/{pk}/", 200, name="Offices")["name"] == "Offices"
    assert call(api, "post", f"ade-profiles/{pk}/duplicate/", 201)["name"] == "Offices copy"
    call(api, "post", f"ade-profiles/{pk}/archive/", 409)
    call(api, "post", "ade-defaults/", 200, os="iOS", profile=None)
    assert call(api, "post", f"ade-profiles/{pk}/archive/", 200)["archived_at"]
    assert [
        each["name"] for each in call(api, "get", "ade-profiles/?archived=true", 200)["results"]
    ] == ["Offices"]
    call(api, "post", f"ade-profiles/{pk}/restore/", 200)
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"profile.create", "profile.apply", "profile.archive", "profile.default"} <= actions


def test_what_is_wrong_is_said_by_field(api: APIClient) -> None:
    answer = call(
        api,
        "post",
        "ade-profiles/",
        400,
        name="Office",
        content={"is_mdm_removable": False, "nonsense": 1},
    )
    fields = {each["attr"] for each in answer["errors"]}
    assert fields == {"is_mdm_removable", "nonsense"}
    make_profile("Office")
    answer = call(api, "post", "ade-profiles/", 400, name="office", content={})
    assert answer["errors"][0]["attr"] == "name"


def test_no_secret_is_shown(api: APIClient) -> None:
    profile = make_profile("Office")
    text = str(call(api, "get", f"ade-profiles/{profile.pk}/", 200))
    assert "secret" not in text
    assert "/ade/" not in text


def test_defaults_are_set_and_taken_away(api: APIClient, server: Server) -> None:
    office = make_profile("Office")
    said = call(api, "post", "ade-defaults/", 200, os="macOS", server=server.pk, profile=office.pk)
    assert [(each["os"], each["server"], each["profile"]) for each in said] == [
        ("macOS", server.pk, office.pk)
    ]
    assert call(api, "get", "ade-defaults/", 200) == said
    call(api, "post", "ade-defaults/", 400, os="Solaris", profile=office.pk)
    call(api, "post", "ade-defaults/", 200, os="macOS", server=server.pk, profile=None)
    assert not Default.objects.exists()


def test_a_change_is_previewed_and_not_made(api: APIClient, server: Server) -> None:
    office = make_profile("Office")
    listed("SERIAL1", server)
    follow()
    cart = call(api, "post", "groups/", 201, name="Cart", serial_numbers=["SERIAL1"])

    for path, asked in (
        ("ade-defaults/preview/", {"os": "iOS", "profile": office.pk}),
        ("ade-devices/give/preview/", {"serial_numbers": ["SERIAL1"] * 2, "profile": office.pk}),
        (f"groups/{cart['id']}/preview/", {"profile": office.pk}),
    ):
        said = call(api, "post", path, 200, **asked)
        assert [(line["before"], line["after"], line["devices"]) for line in said["lines"]] == [
            (None, "Office, version 1", 1)
        ], path
        # What the act refuses has no preview.
        Profile.objects.update(archived_at=timezone.now())
        call(api, "post", path, 409, **asked)
        Profile.objects.update(archived_at=None)

    rule = {"match": "all", "conditions": [{"field": "family", "op": "is", "value": "iPhone"}]}
    assert call(api, "post", "groups/count/", 200, rule=rule) == {"devices": 1}
    call(api, "post", "groups/count/", 400, rule={"match": "all"})
    assert not Default.objects.exists()
    assert not DeviceProfile.objects.exists()
    assert call(api, "get", f"groups/{cart['id']}/", 200)["profile"] is None
    assert Group.objects.count() == 1


def test_apples_copy_is_compared(
    api: APIClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = make_profile("Office")
    giving.set_default(ADMIN, "iOS", None, office)
    listed("SERIAL1", server)
    follow()
    [told] = call(api, "get", f"ade-profiles/{office.pk}/apple/", 200)
    assert (told["server"], told["version"], told["state"]) == (server.pk, 1, "Waiting")
    path = f"ade-profiles/{office.pk}/apple/{told['id']}/"
    call(api, "get", path, 404)
    definition = Definition.objects.get()
    sent = json.loads(secrets.unseal(PURPOSE, definition.sealed_document))
    copy = {**sent, "department": "HR", "url": "https://elsewhere.example/secret"}
    Definition.objects.update(
        state=Definition.State.DEFINED,
        sealed_copy=secrets.seal(PURPOSE, json.dumps(copy).encode()),
        copied_at=timezone.now(),
    )

    seen = call(api, "get", path, 200)

    assert {each["key"]: each["after"] for each in seen["differences"]} == {
        "url": "its own",
        "department": "HR",
    }
    assert "secret" not in str(seen)
    called: list[str] = []
    monkeypatch.setattr(copies.current_app, "send_task", lambda name, *_, **__: called.append(name))
    assert call(api, "post", path, 202)["waiting"] is True
    assert called == [copies.FETCH]


def test_groups_are_made_changed_and_deleted(api: APIClient, server: Server) -> None:
    office = make_profile("Office")
    listed("SERIAL1", server)
    cart = call(api, "post", "groups/", 201, name="Cart", serial_numbers=["SERIAL1", "LATER1"])
    assert (cart["kind"], cart["members"], cart["rank"]) == ("static", 2, 1)
    rule = {"match": "all", "conditions": [{"field": "family", "op": "is", "value": "iPhone"}]}
    smart = call(api, "post", "groups/", 201, name="Phones", rule=rule)
    assert (smart["kind"], smart["members"], smart["rank"]) == ("smart", 1, 2)
    bad = {"match": "all", "conditions": [{"field": "family", "op": "is", "value": "Toaster"}]}
    answer = call(api, "post", "groups/", 400, name="Bad", rule=bad)
    assert answer["errors"][0]["detail"].startswith("Condition 1: ")

    changed = call(
        api, "patch", f"groups/{smart['id']}/", 200, name="All", rank=1, profile=office.pk
    )
    assert (changed["name"], changed["rank"], changed["profile"]) == ("All", 1, office.pk)
    path = f"groups/{cart['id']}"
    assert call(api, "post", f"{path}/add/", 200, serial_numbers=["NEW1"]) == {"changed": 1}
    assert call(api, "post", f"{path}/remove/", 200, serial_numbers=["NEW1"]) == {"changed": 1}
    call(api, "post", f"groups/{smart['id']}/add/", 400, serial_numbers=["NEW1"])
    members = call(api, "get", f"group-members/?group={cart['id']}", 200)["results"]
    assert {each["serial_number"] for each in members} == {"SERIAL1", "LATER1"}
    call(api, "delete", f"{path}/", 204)
    assert list(Group.objects.values_list("name", flat=True)) == ["All"]


def test_a_device_is_explained_by_its_serial_number(api: APIClient, server: Server) -> None:
    office = make_profile("Office")
    listed("SERIAL1", server)
    listed("TV1", server, "tvOS", "AppleTV")
    giving.set_default(ADMIN, "iOS", None, office)
    following.follow()

    said = call(api, "get", "ade-devices/SERIAL1/explain/", 200)
    assert (said["state"], said["wanted"]) == ("pending", "Office, version 1")
    assert "the default for iOS and iPadOS" in said["sentence"]
    assert [rule["won"] for rule in said["rules"]] == [False, False, False, True]
    assert call(api, "get", "ade-devices/TV1/explain/", 200)["state"] == "unassigned"
    unknown = call(api, "get", "ade-devices/NOBODY1/explain/", 200)
    assert unknown["state"] == "unlisted"
    assert "lists it for no server" in unknown["sentence"]

    rows = call(api, "get", "ade-devices/?unassigned=true", 200)["results"]
    assert [row["serial_number"] for row in rows] == ["TV1"]
    assert call(api, "get", "ade-devices/SERIAL1/", 200)["rule"] == "default"
    call(api, "get", "ade-devices/NOBODY1/", 404)


def test_a_profile_is_given_to_devices(api: APIClient, server: Server) -> None:
    office = make_profile("Office")
    said = call(
        api, "post", "ade-devices/give/", 200, serial_numbers=["A1", "B2"], profile=office.pk
    )
    assert said == {"changed": 2}
    assert DeviceProfile.objects.count() == 2
    call(api, "post", "ade-devices/give/", 200, serial_numbers=["A1", "B2"], profile=None)
    assert not DeviceProfile.objects.exists()
