"""Who gets in, with what, and how far (tokens, sessions, scopes, CSRF, other people's things)."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from mdm.accounts import tokens
from mdm.accounts.models import ApiToken, User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.models import Device

pytestmark = pytest.mark.django_db


def signed_in(user: User) -> APIClient:
    """A person in a browser, whose requests are checked for forgery."""
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(user)
    return client


def csrf_token(client: Client) -> str:
    client.get("/accounts/login/?next=/")
    cookie = client.cookies.get("csrftoken")
    if cookie is None:
        client.cookies["csrftoken"] = "a" * 32
        return "a" * 32
    return cookie.value


def test_a_person_who_is_signed_in_may_read(admin, enroll):
    enroll("AAA")

    assert signed_in(admin).get("/api/v1/devices/").status_code == 200


def test_a_session_without_a_csrf_token_changes_nothing(admin, enroll):
    device = enroll("AAA").device

    refused = signed_in(admin).post(f"/api/v1/devices/{device.pk}/retire/")

    assert refused.status_code == 403
    assert "CSRF" in refused.json()["errors"][0]["detail"]
    device.refresh_from_db()
    assert device.retired_at is None


def test_a_session_with_its_csrf_token_may_change(admin, enroll):
    device = enroll("AAA").device
    client = signed_in(admin)

    done = client.post(
        f"/api/v1/devices/{device.pk}/retire/", headers={"X-CSRFToken": csrf_token(client)}
    )

    assert done.status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer nonsense",
        "Bearer a b",
        "Bearer guard_" + "0" * 64,
        "Bearer \xff\xfe",
        "Bearer " + "x" * 7000,
    ],
)
def test_a_token_that_is_none_answers_401(client, admin, header):
    response = client.get("/api/v1/devices/", headers={"Authorization": header})

    assert response.status_code == 401
    assert response.json()["type"] == "client_error"


def test_a_token_is_no_use_with_its_end_changed(bearer, token):
    assert (
        bearer(token[:-1] + ("0" if token[-1] != "0" else "1")).get("/api/v1/devices/").status_code
        == 401
    )


def test_a_token_that_has_expired_is_refused_and_stays_in_the_list(bearer, token, admin):
    ApiToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))

    assert bearer(token).get("/api/v1/devices/").status_code == 401

    (listed,) = signed_in(admin).get("/api/v1/tokens/").json()["results"]
    assert listed["name"] == "tests"


def test_the_tokens_of_someone_switched_off_are_refused(api, admin):
    User.objects.filter(pk=admin.pk).update(is_active=False)

    assert api.get("/api/v1/devices/").status_code == 401


def test_a_token_to_read_changes_nothing(bearer, admin, enroll):
    device = enroll("AAA").device
    _, text = tokens.create(
        Actor.person(admin),
        admin,
        name="reader",
        role=Role.VIEWER,
        expires_in=timedelta(days=1),
    )
    reader = bearer(text)

    assert reader.get("/api/v1/devices/").status_code == 200
    refused = reader.post(f"/api/v1/devices/{device.pk}/retire/")

    assert refused.status_code == 403
    said = refused.json()["errors"][0]["detail"]
    assert "this token has less than its owner: the role viewer" in said
    device.refresh_from_db()
    assert device.retired_at is None


def new_token(client: APIClient, **wanted) -> dict:
    response = client.post(
        "/api/v1/tokens/",
        {"name": "backup", "role": "viewer", **wanted},
        format="json",
        headers={"X-CSRFToken": csrf_token(client)},
    )
    return {"status": response.status_code, **response.json()}


def test_a_new_token_is_shown_once_and_kept_nowhere(admin, bearer):
    client = signed_in(admin)

    made = new_token(client, expires_in_days=7)

    assert made["status"] == 201
    assert bearer(made["token"]).get("/api/v1/devices/").status_code == 200
    stored = ApiToken.objects.get()
    assert made["token"] not in str(vars(stored))
    listed = client.get("/api/v1/tokens/").text
    assert made["token"] not in listed
    assert stored.digest not in listed
    assert "token_key" in listed
    event = AuditEvent.objects.get(action="token.create")
    assert made["token"] not in str(vars(event))
    assert timedelta(days=6) < stored.expiry - timezone.now() <= timedelta(days=7)


@pytest.mark.parametrize(
    "wanted",
    [{"role": ""}, {"role": "god"}, {"group": 99}, {"name": ""}, {"expires_in_days": 100_000}],
)
def test_a_token_is_not_made_beyond_the_limits(admin, wanted):
    assert new_token(signed_in(admin), **wanted)["status"] == 400
    assert not ApiToken.objects.exists()


def test_a_person_has_so_many_tokens_that_work_and_no_more(admin, monkeypatch):
    monkeypatch.setattr(tokens, "MOST", 2)
    client = signed_in(admin)
    other = User.objects.create_superuser("grace", "grace@example.com")
    assert new_token(signed_in(other))["status"] == 201

    assert [new_token(client)["status"] for _ in range(3)] == [201, 201, 409]
    said = new_token(client)["errors"][0]["detail"]
    assert "2 tokens that work" in said
    with pytest.raises(CommandError, match="2 tokens that work"):
        call_command("guard", "tokens", "--create", "x", "--user", "ada", "--role", "viewer")
    # One that has ended makes room.
    ApiToken.objects.filter(pk=ApiToken.objects.filter(user=admin).first().pk).update(
        expiry=timezone.now()
    )
    assert new_token(client)["status"] == 201


def test_a_token_makes_no_tokens(api):
    refused = api.post("/api/v1/tokens/", {"name": "heir", "role": "admin"}, format="json")

    assert refused.status_code == 403
    assert ApiToken.objects.count() == 1


def test_a_token_notes_when_it_was_used(api):
    assert ApiToken.objects.get().last_used_at is None

    api.get("/api/v1/devices/")

    assert ApiToken.objects.get().last_used_at is not None


def test_a_token_in_use_is_written_once_a_minute_at_most(api, django_assert_num_queries):
    api.get("/api/v1/command-types/")

    with django_assert_num_queries(2):
        api.get("/api/v1/command-types/")


def test_a_revoked_token_is_refused_at_once(api, token, admin):
    client = signed_in(admin)

    gone = client.delete(
        f"/api/v1/tokens/{token[:15]}/", headers={"X-CSRFToken": csrf_token(client)}
    )

    assert gone.status_code == 204
    assert api.get("/api/v1/devices/").status_code == 401
    assert AuditEvent.objects.filter(action="token.revoke").exists()


def test_another_persons_tokens_are_neither_seen_nor_revoked(token):
    eve = User.objects.create_superuser("eve", "eve@example.com")
    client = signed_in(eve)

    assert client.get("/api/v1/tokens/").json()["results"] == []
    refused = client.delete(
        f"/api/v1/tokens/{token[:15]}/", headers={"X-CSRFToken": csrf_token(client)}
    )

    assert refused.status_code == 404
    assert ApiToken.objects.count() == 1


def test_one_token_does_not_revoke_another(api, admin):
    other, _ = tokens.create(
        Actor.person(admin),
        admin,
        name="other",
        role=Role.VIEWER,
        expires_in=timedelta(days=1),
    )

    assert api.delete(f"/api/v1/tokens/{other.token_key}/").status_code == 403
    assert ApiToken.objects.filter(pk=other.pk).exists()


def test_a_token_is_in_no_log(api, token, caplog, capfd):
    caplog.set_level(logging.DEBUG)

    api.get("/api/v1/devices/")
    api.get("/api/v1/nothing/")
    api.post("/api/v1/commands/", "{", content_type="application/json")

    out, err = capfd.readouterr()
    assert token not in caplog.text + out + err
    assert token[15:] not in caplog.text + out + err


@pytest.mark.parametrize("method", ["put", "patch", "post"])
def test_a_devices_columns_cannot_be_written(api, enroll, method):
    device = enroll("AAA").device

    response = getattr(api, method)(
        f"/api/v1/devices/{device.pk}/", {"serial_number": "STOLEN"}, format="json"
    )

    assert response.status_code == 405
    assert not Device.objects.filter(serial_number="STOLEN").exists()


def test_what_a_client_may_not_say_is_ignored(admin):
    eve = User.objects.create_superuser("eve", "eve@example.com")

    made = new_token(
        signed_in(admin),
        user=eve.pk,
        user_id=eve.pk,
        digest="0" * 128,
        token_key="guard_mine",
        last_used_at="2020-01-01T00:00:00Z",
    )

    assert made["status"] == 201
    stored = ApiToken.objects.get()
    assert stored.user == admin
    assert stored.digest != "0" * 128
    assert stored.token_key != "guard_mine"
    assert stored.last_used_at is None


def test_the_docs_ask_a_stranger_to_sign_in(client):
    response = client.get("/api/v1/docs/")

    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/")


def test_the_session_of_someone_switched_off_is_refused(admin):
    client = signed_in(admin)
    User.objects.filter(pk=admin.pk).update(is_active=False)

    assert client.get("/api/v1/devices/").status_code == 401
