"""Settings > Webhooks, and the same in the API: adding one, trying it, reading its log."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import time
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit.models import AuditEvent
from mdm.settings import BASE_DIR
from mdm.webhooks import kinds, sending, subscriptions
from mdm.webhooks.models import Delivery, Event, Subscription
from mdm.webhooks.outbox import emit
from tests.mdm.webhooks.conftest import ACTOR
from tests.mdm.webhooks.receiver import Receiver, status
from tests.people import signed_in, someone

pytestmark = pytest.mark.django_db

NEW = "/settings/webhooks/new/"
GONE = {"serial_number": "C02", "udid": "U", "name": "iPad"}
VERIFY = (BASE_DIR / "mdm/templates/mdm/webhooks/verify.txt").read_text()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    here = (ipaddress.ip_network("127.0.0.1/32"),)
    settings.ENV = dataclasses.replace(settings.ENV, webhook_networks=here)
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def api(admin: User) -> APIClient:
    client = APIClient()
    client.force_login(admin)
    return client


def secret_on(page: str) -> str:
    (secret,) = re.findall(r'id="secret" value="(whsec_[^"]+)"', page)
    return unescape(secret)


def test_one_is_added_tried_and_what_came_of_it_is_shown(
    signed_in: Client, receiver: Receiver
) -> None:
    assert "No webhooks yet" in signed_in.get("/settings/webhooks/").text
    receiver.answers = [status(500, b"<script>alert(1)</script>")]
    given = {"name": "Tickets", "url": f"{receiver.url}?key=1", "kinds": ["device.*"]}
    answer = signed_in.post(NEW, given)
    secret = secret_on(answer.text)
    assert "no-store" in answer["Cache-Control"]
    webhook = Subscription.objects.get()
    here = f"/settings/webhooks/{webhook.pk}/"
    assert secret not in signed_in.get(here).text

    tried = signed_in.post(f"{here}test")

    assert 'hx-trigger="every 1s"' in signed_in.get(tried["Location"]).text
    sending.send_due()
    page = signed_in.get(tried["Location"]).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "hx-trigger" not in page.partition('id="delivery"')[2].partition("</section>")[0]
    assert "webhook.test" in page
    # A test that fails is shown where it was made, and says nothing of what else is sent.
    assert "Nothing sent yet" in signed_in.get("/settings/webhooks/").text
    assert "500 &lt;script&gt;" in signed_in.get(f"{here}?state=failed").text
    assert "Nothing fits" in signed_in.get(f"{here}?state=delivered").text
    # What is printed for receivers is true of what they get.
    scope: dict[str, Any] = {}
    exec(VERIFY, scope)
    (came,) = receiver.came
    assert scope["is_from_guardmdm"](secret, came.headers, came.body)
    assert not scope["is_from_guardmdm"](secret, came.headers, came.body + b" ")
    old = str(int(time.time()) - 1000)
    assert not scope["is_from_guardmdm"](secret, {**came.headers, "webhook-timestamp": old}, b"")
    shown = unescape(answer.text.replace("\r", ""))
    assert VERIFY.strip() in shown
    assert VERIFY.strip() in (BASE_DIR / "docs/webhooks.md").read_text()


def test_what_failed_is_sent_again_by_one_or_all(signed_in: Client, receiver: Receiver) -> None:
    webhook, _ = subscriptions.create(ACTOR, name="x", url=receiver.url, kinds=["device.*"])
    here = f"/settings/webhooks/{webhook.pk}/"
    for number in range(3):
        emit("device.retired", str(number), GONE)
    sending.send_due()
    assert "Send all again that failed" not in signed_in.get(here).text
    Delivery.objects.update(state="failed")
    first = Delivery.objects.earliest("pk")
    assert "Send all again that failed" in signed_in.get(here).text

    signed_in.post(f"{here}deliveries/{first.pk}/replay")
    assert sending.send_due() == 1
    signed_in.post(f"{here}replay")
    assert sending.send_due() == 2

    assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
    assert len(receiver.came) == 6
    assert "Works" in signed_in.get(here).text


def test_it_is_changed_rotated_switched_and_deleted(signed_in: Client) -> None:
    webhook, first = subscriptions.create(
        ACTOR, name="x", url="https://a.example/?token=hidden", kinds=["device.*"]
    )
    here = f"/settings/webhooks/{webhook.pk}/"
    changed = {"name": "Chat", "url": "https://b.example/?token=hidden", "kinds": ["abm.*"]}

    signed_in.post(f"{here}change/", changed)
    rotated = secret_on(signed_in.post(f"{here}rotate").text)
    signed_in.post(f"{here}switch", {"on": ""})
    emit("abm.server.disconnected", "1", {"name": "Office"})
    signed_in.post(f"{here}switch", {"on": "yes"})

    webhook.refresh_from_db()
    assert (webhook.name, webhook.kinds, webhook.active) == ("Chat", ["abm.*"], True)
    assert rotated != first
    assert "signs as well until" in signed_in.get(here).text
    sending.send_due()
    assert not Delivery.objects.exists()  # it was off then
    signed_in.post(f"{here}delete/")
    assert not Subscription.objects.exists()
    rows = AuditEvent.objects.filter(subject_kind="webhook").order_by("pk")
    assert list(rows.values_list("action", flat=True)) == [
        *("webhook.create", "webhook.change", "webhook.rotate", "webhook.off", "webhook.on"),
        "webhook.delete",
    ]
    told = str(list(rows.values_list("before", "after")))
    assert "hidden" not in told
    assert "whsec" not in told
    assert "https://b.example/…" in told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": " "}, "Give it a name"),
        ({"url": "ftp://x.example/"}, "begins with https://"),
        ({"url": "https://10.0.0.1/"}, "GUARD_WEBHOOK_NETWORKS"),
        ({"url": "https://[::ffff:127.0.0.1]/"}, "GUARD_WEBHOOK_NETWORKS"),
        ({"kinds": []}, "Choose at least one"),
        ({"kinds": ["device.sneezed"]}, "There are no events device.sneezed"),
        ({"kinds": ["webhook.test"]}, "There are no events webhook.test"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said_by_its_field(signed_in, api, given, said) -> None:
    good = {"name": "x", "url": "https://a.example/", "kinds": ["device.*"]}

    page = signed_in.post(NEW, {**good, **given})
    assert page.status_code == 422
    assert said in unescape(page.text)
    answer = api.post("/api/v1/webhooks/", {**good, **given}, format="json")
    assert answer.status_code == 400
    assert {error["attr"].partition(".")[0] for error in answer.json()["errors"]} == set(given)
    assert not Subscription.objects.exists()


def test_in_production_it_is_https_alone(signed_in: Client, settings: Any) -> None:
    given = {"name": "x", "url": "http://a.example/", "kinds": ["device.*"]}
    assert signed_in.post(NEW, given).status_code == 200
    settings.ENV = dataclasses.replace(settings.ENV, mode=settings.ENV.mode.PRODUCTION)

    assert signed_in.post(NEW, given).status_code == 422


def test_one_that_was_switched_off_needs_attention(signed_in: Client) -> None:
    webhook, _ = subscriptions.create(
        ACTOR, name="Chat", url="https://a.example/", kinds=["device.*"]
    )
    subscriptions.give_up(webhook.pk, "Nothing was delivered for 3 days.")
    page = signed_in.get("/").text
    assert "The webhook Chat was switched off." in page
    assert f"/settings/webhooks/{webhook.pk}/" in page

    subscriptions.switch(ACTOR, webhook, True)

    assert "was switched off" not in signed_in.get("/").text


def test_who_reads_the_server_reads_the_log_but_no_address() -> None:
    webhook, _ = subscriptions.create(
        ACTOR, name="x", url="https://a.example/T0/secret-part", kinds=["device.*"]
    )
    emit("device.retired", "1", GONE)
    sending.deliveries.spread()
    viewer = signed_in(someone(Role.VIEWER))
    sent = Delivery.objects.get()
    here = f"/settings/webhooks/{webhook.pk}/"
    pages = [
        viewer.get(path).text
        for path in (
            *("/settings/webhooks/", here, f"{here}deliveries/{sent.pk}/"),
            *("/api/v1/webhooks/", f"/api/v1/webhook-deliveries/{sent.pk}/"),
        )
    ]

    assert "https://a.example/…" in pages[1]
    assert "device.retired" in pages[2]
    assert all("secret-part" not in page for page in pages)
    assert viewer.post(f"{here}test").status_code == 403


# --- The API --------------------------------------------------------------------------------------


def test_the_api_does_the_same(api: APIClient, receiver: Receiver) -> None:
    made = api.post(
        "/api/v1/webhooks/",
        {"name": "Tickets", "url": receiver.url, "kinds": ["device.retired", "abm.*"]},
        format="json",
    )
    assert made.status_code == 201
    assert made["Cache-Control"] == "no-store"
    here, secret = f"/api/v1/webhooks/{made.json()['id']}/", made.json()["secret"]
    assert "secret" not in api.get(here).json()
    assert api.get(here).json()["url"] == receiver.url

    tried = api.post(f"{here}test/")
    assert tried.status_code == 202
    sending.send_due()
    assert receiver.came[0].is_signed_with(secret)
    log = api.get(f"/api/v1/webhook-deliveries/?webhook={made.json()['id']}&state=delivered")
    (one,) = log.json()["results"]
    assert one["id"] == tried.json()["id"]
    assert one["event"] == receiver.came[0].event
    assert (one["attempts"][0]["status"], one["attempts"][0]["said"]) == (200, "thanks")

    api.post(f"/api/v1/webhook-deliveries/{one['id']}/replay/")
    sending.send_due()
    assert len(receiver.came) == 2
    new = api.post(f"{here}rotate/").json()
    assert new["secret"] != secret
    assert new["old_secret_until"] > timezone.now().isoformat()
    off = api.patch(here, {"active": False, "name": "Off"}, format="json").json()
    assert (off["active"], off["name"]) == (False, "Off")
    assert api.post(f"{here}test/").status_code == 409
    api.patch(here, {"active": True}, format="json")
    Delivery.objects.update(state="failed", event=emit("device.retired", "1", GONE))
    assert api.post(f"{here}replay/").json() == {"deliveries": 1}
    assert api.delete(here).status_code == 204


def test_every_kind_is_listed_and_described_in_the_schema(api: APIClient) -> None:
    listed = {kind["name"]: kind for kind in api.get("/api/v1/webhook-kinds/").json()}
    schema = api.get("/api/v1/schema/").json()

    assert set(schema["webhooks"]) == set(listed) == {kind.name for kind in kinds.every()}
    for name, path in schema["webhooks"].items():
        content = path["post"]["requestBody"]["content"]["application/json"]
        assert content["example"]["kind"] == name
        assert set(content["schema"]["properties"]["data"]["properties"]) == {
            field["name"] for field in listed[name]["data"]
        }
        assert content["example"] == {**listed[name]["example"]}


def test_hostile_numbers_are_not_found(api: APIClient) -> None:
    for path in ("webhooks/99999999999999999999/", "webhook-deliveries/?webhook=99999999999999999"):
        assert api.get(f"/api/v1/{path}").status_code in {200, 404}
    assert Event.objects.count() == 0
