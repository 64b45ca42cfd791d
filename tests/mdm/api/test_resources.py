"""What all resources share: If-Match, idempotency keys, and a budget of requests."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from mdm import retention
from mdm.accounts import once
from mdm.accounts.models import ApiToken, KeptAnswer, User
from mdm.accounts.rights import Role
from mdm.api import limits
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.models import Group
from mdm.webhooks import subscriptions
from profiles import groups
from tests import steps
from tests.mdm.api.test_access import csrf_token, signed_in
from tests.people import someone

pytestmark = pytest.mark.django_db

LINK = {"name": "Class 7b", "max_uses": 30}


# --- If-Match -------------------------------------------------------------------------------------


def test_a_thing_that_has_changed_since_is_left_alone(api: APIClient) -> None:
    group = Group.objects.create(name="Before", kind="static", rank=1)
    address = f"/api/v1/groups/{group.pk}/"
    etag = api.get(address)["ETag"]

    first = api.patch(address, {"name": "Mine"}, format="json", headers={"If-Match": etag})
    late = api.patch(address, {"name": "Yours"}, format="json", headers={"If-Match": etag})
    gone = api.delete(address, headers={"If-Match": etag})

    assert (first.status_code, late.status_code, gone.status_code) == (200, 412, 412)
    assert late.json()["errors"][0]["code"] == "precondition_failed"
    assert Group.objects.get().name == "Mine"
    now = api.get(address)["ETag"]
    assert api.delete(address, headers={"If-Match": f'"x", {now}'}).status_code == 204


def test_an_act_holds_against_the_fields_that_were_read(api: APIClient, enroll: Any) -> None:
    enrollment = enroll("AAA")
    address = f"/api/v1/devices/{enrollment.device_id}/"
    read = f"{address}?fields=id,retired_at"
    whole, part = api.get(address)["ETag"], api.get(read)["ETag"]
    enrollment.last_seen_at += timedelta(minutes=1)
    enrollment.save()

    by_all = api.post(f"{address}retire/", headers={"If-Match": whole})
    by_some = api.post(f"{address}retire/?fields=id,retired_at", headers={"If-Match": part})
    again = api.post(f"{address}retire/?fields=id,retired_at", headers={"If-Match": part})

    assert [each.status_code for each in (by_all, by_some, again)] == [412, 200, 412]


@pytest.mark.django_db(transaction=True)
def test_nothing_changes_between_the_check_and_the_act(admin: User) -> None:
    group = Group.objects.create(name="Before", kind="static", rank=1)
    client = signed_in(admin)
    address = f"/api/v1/groups/{group.pk}/"
    etag, token = client.get(address)["ETag"], csrf_token(client)

    with transaction.atomic():
        Group.objects.filter(pk=group.pk).update(name="Mine")
        late = steps.Meanwhile(
            lambda: client.patch(
                address,
                {"name": "Yours"},
                format="json",
                headers={"If-Match": etag, "X-CSRFToken": token},
            )
        )
        assert late.waits

    assert late.returned().status_code == 412


@pytest.mark.parametrize(
    ("method", "address", "locked"),
    [
        ("post", "devices/{device}/retire/", ["mdm_enrollment", "mdm_device"]),
        ("patch", "groups/{group}/", ["mdm_group", "mdm_group"]),
        ("delete", "groups/{group}/", ["mdm_group"]),
        ("post", "people/{person}/deactivate/", ["accounts_user", "accounts_user"]),
        ("delete", "grants/{grant}/", ["accounts_user", "accounts_grant"]),
        (
            *("post", "webhook-deliveries/{delivery}/replay/"),
            ["webhooks_subscription", "webhooks_delivery"],
        ),
    ],
)
def test_what_is_locked_for_if_match_is_locked_in_the_acts_order(
    api: APIClient, admin: User, enroll: Any, method: str, address: str, locked: list[str]
) -> None:
    webhook, _ = subscriptions.create(
        Actor.system("test"), name="x", url="https://hook.example/", kinds=["device.*"]
    )
    ids = {
        "device": enroll("AAA").device_id,
        "group": groups.create_static(Actor.system("test"), "Class", ()).pk,
        "person": admin.pk,
        "grant": admin.grants.earliest("pk").pk,
        "delivery": subscriptions.test(Actor.system("test"), webhook).pk,
    }
    headers = {"If-Match": '"old"'}
    if "webhook" in address:
        # No token touches those.
        api = signed_in(admin)
        headers["X-CSRFToken"] = "a" * 32
        api.cookies["csrftoken"] = "a" * 32
    with CaptureQueriesContext(connection) as asked:
        response = api.generic(method.upper(), f"/api/v1/{address.format(**ids)}", headers=headers)

    assert response.status_code == 412
    taken = [row["sql"] for row in asked if re.search("LOCK TABLE|FOR UPDATE", row["sql"])]
    assert [re.search(r'(?:FROM|TABLE) "?(\w+)', sql)[1] for sql in taken] == locked


# --- Idempotency keys -----------------------------------------------------------------------------


def _post(client: APIClient, key: str, body: Any = LINK, **headers: str) -> Any:
    sent = {"Idempotency-Key": key, **headers}
    return client.post("/api/v1/links/", body, format="json", headers=sent)


def _links() -> int:
    return AuditEvent.objects.filter(action="link.create").count()


def test_the_same_request_is_done_once_and_answered_alike(api: APIClient) -> None:
    first, again = _post(api, "k"), _post(api, "k")

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert _links() == 1
    assert "Idempotency-Replayed" not in first
    assert again["Idempotency-Replayed"] == "true"


def test_another_request_with_the_key_is_refused(api: APIClient, enroll: Any) -> None:
    _post(api, "k")
    device = enroll("AAA").device

    other_body = _post(api, "k", {"name": "Class 8a"})
    other_place = api.post(f"/api/v1/devices/{device.pk}/retire/", headers={"Idempotency-Key": "k"})

    assert (other_body.status_code, other_place.status_code) == (422, 422)
    assert other_body.json()["errors"][0]["code"] == "idempotency_key_reused"
    assert _links() == 1


def test_a_key_is_its_owners(api: APIClient, admin: User) -> None:
    first = _post(api, "k")
    person = signed_in(admin)
    mine = _post(person, "k", **{"X-CSRFToken": csrf_token(person)})

    assert mine.status_code == 201
    assert mine.json()["id"] != first.json()["id"]


def test_what_failed_may_be_tried_anew(api: APIClient) -> None:
    refused = _post(api, "k", {"name": ""})

    assert refused.status_code == 400
    assert not KeptAnswer.objects.exists()
    assert _post(api, "k").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "\t", "schl\xfcssel"])
def test_a_key_that_is_none_is_refused(api: APIClient, key: str) -> None:
    assert _post(api, key).status_code == 400
    assert _links() == 0


def test_a_secret_in_an_answer_is_sealed(admin: User) -> None:
    client = signed_in(admin)
    sent = {"Idempotency-Key": "k", "X-CSRFToken": csrf_token(client)}
    wanted = {"name": "backup", "role": "viewer"}

    first = client.post("/api/v1/tokens/", wanted, format="json", headers=sent)
    again = client.post("/api/v1/tokens/", wanted, format="json", headers=sent)

    text = first.json()["token"]
    assert again.json()["token"] == text
    assert again["Cache-Control"] == "no-store"
    assert ApiToken.objects.count() == 1
    assert text.encode() not in bytes(KeptAnswer.objects.get().sealed)


def test_who_may_no_longer_does_not_see_the_answer(bearer: Any, admin: User, token: str) -> None:
    api = bearer(token)
    _post(api, "k")
    ApiToken.objects.update(role=Role.VIEWER)

    assert _post(api, "k").status_code == 403


def test_after_a_day_a_key_is_new(api: APIClient) -> None:
    _post(api, "k")
    KeptAnswer.objects.update(at=F("at") - once.KEPT_FOR)

    assert "Idempotency-Replayed" not in _post(api, "k")
    assert _links() == 2
    assert KeptAnswer.objects.count() == 1


def test_answers_go_after_a_day(api: APIClient) -> None:
    _post(api, "old")
    KeptAnswer.objects.update(at=F("at") - once.KEPT_FOR - timedelta(minutes=1))
    _post(api, "young")
    cache.clear()

    retention.remove_old()

    assert KeptAnswer.objects.count() == 1


def test_answers_do_not_fill_the_server(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "LARGEST", 10)
    monkeypatch.setattr(once, "MOST_ANSWERS", 1)

    first, again, one_more = _post(api, "k"), _post(api, "k"), _post(api, "other")

    assert first.status_code == 201
    assert again.status_code == 409
    assert "too large" in again.json()["errors"][0]["detail"]
    assert one_more.status_code == 429
    assert int(one_more["Retry-After"]) > 0
    assert _links() == 1


@pytest.mark.django_db(transaction=True)
def test_while_the_first_runs_the_second_hears_so_and_a_crash_leaves_nothing(
    token: str, bearer: Any
) -> None:
    first, second = bearer(token), bearer(token)
    answers = []
    # That it is used is noted once a minute, and then its row is locked no more.
    first.get("/api/v1/rights/")

    # As if the process ended right before it commits the act and its answer.
    with transaction.atomic():
        assert _post(first, "k").status_code == 201
        steps.in_thread(lambda: answers.append(_post(second, "k"))).join()
        transaction.set_rollback(True)

    assert answers[0].status_code == 409
    assert answers[0].json()["errors"][0]["code"] == "still_running"
    assert answers[0]["Retry-After"] == "1"
    assert _links() == 0
    done = _post(second, "k")
    assert (done.status_code, _links()) == (201, 1)
    assert "Idempotency-Replayed" not in done


# --- Budgets --------------------------------------------------------------------------------------


@pytest.fixture
def two_a_minute(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ENV = replace(settings.ENV, api_rate=2)
    # One minute for all: it does not end within a test.
    monkeypatch.setattr(limits.time, "time", lambda: 600_000_010)
    limits._redis().flushdb()


@pytest.mark.usefixtures("two_a_minute")
def test_a_token_has_its_own_budget_and_hears_what_is_left(api: APIClient, admin: User) -> None:
    address = "/api/v1/rights/"

    answers = [api.get(address) for _ in range(3)]

    assert [each.status_code for each in answers] == [200, 200, 429]
    assert [each["RateLimit"] for each in answers] == [
        f'"requests";r={left};t=50' for left in (1, 0, 0)
    ]
    assert answers[2]["RateLimit-Policy"] == '"requests";q=2;w=60'
    assert answers[2]["Retry-After"] == "50"
    assert answers[2].json()["errors"][0]["code"] == "throttled"
    assert signed_in(admin).get(address).status_code == 200


@pytest.mark.usefixtures("two_a_minute")
def test_what_is_refused_counts_too(bearer: Any) -> None:
    client = signed_in(someone(Role.VIEWER))

    assert [client.get("/api/v1/people/").status_code for _ in range(3)] == [403, 403, 429]


@pytest.mark.usefixtures("two_a_minute")
def test_strangers_share_the_budget_of_their_address_and_hold_up_nobody_else(
    bearer: Any, api: APIClient
) -> None:
    guessing, without = bearer("guard_" + "0" * 64), APIClient()

    statuses = [
        client.get("/api/v1/rights/").status_code
        for client in (guessing, without, guessing, without)
    ]

    assert statuses == [401, 401, 429, 429]
    assert api.get("/api/v1/rights/").status_code == 200


@pytest.mark.usefixtures("two_a_minute")
def test_strangers_over_ipv6_share_the_budget_of_their_network() -> None:
    statuses = [
        APIClient(REMOTE_ADDR=address).get("/api/v1/rights/").status_code
        for address in (
            *("2001:db8::1", "2001:db8::a:1", "2001:db8::2", "2001:db8:0:1::1"),
            *("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"),
        )
    ]

    assert statuses == [401, 401, 429, 401, 401, 401, 429, 401]


@pytest.mark.usefixtures("two_a_minute")
def test_without_redis_everybody_passes(api: APIClient, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    limits._redis.cache_clear()
    try:
        statuses = {api.get("/api/v1/rights/").status_code for _ in range(4)}
    finally:
        limits._redis.cache_clear()

    assert statuses == {200}
