"""Events reach receivers, on real sockets: signed, at least once, each receiver at its own pace."""

from __future__ import annotations

import dataclasses
import threading
import time
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from mdm.audit.models import AuditEvent
from mdm.env import Mode
from mdm.webhooks import deliveries, sending, subscriptions
from mdm.webhooks.models import Delivery, Event, Subscription
from mdm.webhooks.outbox import emit
from tests import steps
from tests.mdm.webhooks.conftest import ACTOR, Subscribe, as_if_passed
from tests.mdm.webhooks.receiver import Receiver, close, status, wait_for

pytestmark = pytest.mark.django_db

GONE = {"serial_number": "C02", "udid": "U", "name": "Ada's iPad"}
State = Delivery.State


def happen(count: int = 1) -> None:
    for number in range(count):
        emit("device.deleted", str(number), GONE)


def later(by: timedelta) -> int:
    as_if_passed(by=by)
    return sending.send_due()


# --- What arrives ---------------------------------------------------------------------------------


def test_an_event_arrives_whole_and_signed(receiver: Receiver, subscribe: Subscribe) -> None:
    webhook, secret = subscribe(f"{receiver.url}?key=1")
    happen()

    assert sending.send_due() == 1

    (came,) = receiver.came
    event = Event.objects.get()
    assert came.path == "/hook?key=1"
    assert came.event == {
        "id": f"evt_{event.pk}",
        "kind": "device.deleted",
        "version": 1,
        "at": event.at.isoformat().replace("+00:00", "Z"),
        "subject": "0",
        "data": GONE,
    }
    assert came.headers["webhook-id"] == f"evt_{event.pk}"
    assert abs(int(came.headers["webhook-timestamp"]) - time.time()) < 60
    assert came.headers["content-type"] == "application/json"
    assert came.is_signed_with(secret)
    assert not came.is_signed_with(subscribe(receiver.url)[1])
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.due_at, delivery.tries) == (State.DELIVERED, None, 1)
    assert (delivery.last["status"], delivery.last["said"]) == (200, "thanks")
    webhook.refresh_from_db()
    assert webhook.delivered_at is not None


def test_each_hears_of_what_it_asked_for_from_then_on(
    receiver: Receiver, subscribe: Subscribe
) -> None:
    happen()
    for name, kinds in (
        ("one", ["device.deleted"]),
        ("section", ["device.*"]),
        ("other", ["device.retired", "abm.*"]),
        ("off", ["device.*"]),
    ):
        subscribe(f"{receiver.url}/{name}", *kinds, name=name)
    subscriptions.switch(ACTOR, Subscription.objects.get(name="off"), False)
    emit("device.deleted", "now", GONE)

    sending.send_due()

    assert sorted((came.path, came.event["subject"]) for came in receiver.came) == [
        ("/hook/one", "now"),
        ("/hook/section", "now"),
    ]
    assert not Event.objects.filter(spread_at=None).exists()


def test_while_nobody_asks_for_anything_nothing_is_laid_out(db: None) -> None:
    happen(3)

    assert sending.send_due() == 0

    assert not Delivery.objects.exists()
    assert not Event.objects.filter(spread_at=None).exists()


def test_for_a_day_both_secrets_sign(receiver: Receiver, subscribe: Subscribe) -> None:
    webhook, old = subscribe(receiver.url)
    _, new = subscriptions.rotate(ACTOR, webhook)
    happen()
    sending.send_due()
    assert receiver.came[0].is_signed_with(old)
    assert receiver.came[0].is_signed_with(new)

    Subscription.objects.update(old_secret_until=timezone.now() - timedelta(seconds=1))
    happen()
    sending.send_due()

    assert not receiver.came[1].is_signed_with(old)
    assert receiver.came[1].is_signed_with(new)


# --- What goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "noted"),
    [
        (status(500, b"<b>oh\x00\x1b[2J no</b>"), (500, "<b>oh [2J no</b>", "")),
        (status(302, Location="/elsewhere"), (302, "", "")),
        (close, (None, "", "The connection failed")),
    ],
    ids=["500", "redirect", "closing"],
)
def test_what_was_not_taken_comes_again_the_same(
    receiver: Receiver, subscribe: Subscribe, answer, noted
) -> None:
    webhook, secret = subscribe(receiver.url)
    receiver.answers = [answer]
    happen()

    assert sending.send_due() == 1
    assert sending.send_due() == 0  # not at once
    delivery = Delivery.objects.get()
    assert delivery.state == State.WAITING
    last = delivery.last
    assert (last["status"], last["said"]) == noted[:2]
    assert last["trouble"].startswith(noted[2])
    webhook.refresh_from_db()
    assert webhook.failing_since is not None

    assert later(sending.DELAYS[0] * 2) == 1

    assert [came.path for came in receiver.came] == ["/hook", "/hook"]
    first, second = receiver.came
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert second.is_signed_with(secret)
    delivery.refresh_from_db()
    assert (delivery.state, len(delivery.attempts)) == (State.DELIVERED, 2)
    webhook.refresh_from_db()
    assert webhook.failing_since is None


def test_after_about_three_days_it_is_given_up(receiver: Receiver, subscribe: Subscribe) -> None:
    subscribe(receiver.url)
    receiver.answers = [status(503)] * 20
    happen()
    sending.send_due()

    for delay in sending.DELAYS:
        assert Delivery.objects.get().state == State.WAITING
        later(delay * 2)

    assert Delivery.objects.get().state == State.FAILED
    assert len(receiver.came) == len(sending.DELAYS) + 1
    assert timedelta(days=2.5) < sum(sending.DELAYS, timedelta()) < timedelta(days=3.5)


@pytest.mark.parametrize("way", ["410", "days"])
def test_a_receiver_that_wants_no_more_is_switched_off(
    receiver: Receiver, subscribe: Subscribe, way: str
) -> None:
    webhook, _ = subscribe(receiver.url)
    receiver.answers = [status(410 if way == "410" else 500)] * 9
    happen(2)
    if way == "days":
        sending.send_due()
        Subscription.objects.update(failing_since=F("failing_since") - timedelta(days=4))
        later(sending.DELAYS[0] * 2)
        webhook.refresh_from_db()
        assert webhook.active  # it may be quiet for days: each event has all its tries
        Delivery.objects.filter(pk=webhook.deliveries.earliest("pk").pk).update(
            tries=len(sending.DELAYS)
        )
        later(sending.DELAYS[2] * 2)
    else:
        sending.send_due()

    webhook.refresh_from_db()
    assert not webhook.active
    assert ("410" if way == "410" else "3 days") in webhook.off_because
    assert AuditEvent.objects.latest("id").action == "webhook.off"
    assert set(Delivery.objects.values_list("state", "due_at")) == {(State.FAILED, None)}
    asked = len(receiver.came)
    happen()
    assert sending.send_due() == 0
    # Whoever mends it can have all of that sent again.
    receiver.answers = []
    subscriptions.switch(ACTOR, webhook, True)
    assert subscriptions.replay_failed(ACTOR, webhook) == 2
    assert sending.send_due() == 2
    assert len(receiver.came) == asked + 2


def test_a_receiver_that_fails_is_asked_by_one_at_a_time(
    receiver: Receiver, subscribe: Subscribe
) -> None:
    webhook, _ = subscribe(receiver.url)
    happen(deliveries.AT_ONCE + 3)
    deliveries.spread()
    deliveries.note(webhook.pk, delivered=False)
    assert len(deliveries.claim(50)) == 1
    assert deliveries.claim(50) == []

    deliveries.note(webhook.pk, delivered=True)

    assert len(deliveries.claim(50)) == deliveries.AT_ONCE - 1
    assert deliveries.claim(50) == []


def test_a_slow_receiver_holds_up_nobody_else(allowed: None, subscribe: Subscribe) -> None:
    many, all_came = 20, threading.Event()
    with ExitStack() as stack:
        slow, fast = stack.enter_context(Receiver()), stack.enter_context(Receiver())
        slow.answers = [wait_for(all_came)] * many
        fast.on_event = lambda: all_came.set() if len(fast.came) == many else None
        subscribe(slow.url)
        subscribe(fast.url)
        happen(many)

        sending.send_due()

        # The slow one answers only when the fast one has everything.
        assert set(Delivery.objects.values_list("state")) == {(State.DELIVERED,)}
        assert len(slow.came) == len(fast.came) == many


def test_in_production_nothing_goes_out_in_the_clear(
    receiver: Receiver, subscribe: Subscribe, settings
) -> None:
    subscribe(receiver.url)
    happen()
    settings.ENV = dataclasses.replace(settings.ENV, mode=Mode.PRODUCTION)

    assert sending.send_due() == 1

    assert receiver.came == []
    assert "https://" in Delivery.objects.get().last["trouble"]


# --- At least once --------------------------------------------------------------------------------


def test_what_a_killed_worker_had_goes_out_when_its_lease_is_over(
    receiver: Receiver, subscribe: Subscribe
) -> None:
    subscribe(receiver.url)
    happen()
    deliveries.spread()
    (lost,) = deliveries.claim(1)

    assert sending.send_due() == 0
    assert later(deliveries.LEASE) == 1

    assert len(receiver.came) == 1
    # Its worker was not dead after all: what it has to say counts no more.
    assert not deliveries.settle(lost, State.FAILED, timedelta(), {})
    assert Delivery.objects.get().state == State.DELIVERED


@pytest.mark.django_db(transaction=True)
def test_an_event_is_laid_out_as_a_whole_or_not_at_all(
    receiver: Receiver, subscribe: Subscribe
) -> None:
    subscribe(receiver.url)
    happen()

    with steps.killed_before("UPDATE webhooks_event", after=0), pytest.raises(steps.Killed):
        sending.send_due()

    assert sending.send_due() == 1
    assert sending.send_due() == 0
    assert len(receiver.came) == 1


@pytest.mark.django_db(transaction=True)
def test_two_workers_send_each_once_and_no_more_at_once_than_they_should(
    receiver: Receiver, subscribe: Subscribe
) -> None:
    subscribe(receiver.url)
    happen(30)
    busy, most, lock = 0, 0, threading.Lock()

    def count(handler) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        status(200)(handler)
        with lock:
            busy -= 1

    receiver.answers = [count] * 30
    second = steps.in_thread(sending.send_due)
    sending.send_due()
    second.join()

    assert len({came.headers["webhook-id"] for came in receiver.came}) == 30
    assert len(receiver.came) == 30
    assert most <= deliveries.AT_ONCE


def test_what_lost_its_event_holds_up_nothing(receiver: Receiver, subscribe: Subscribe) -> None:
    webhook, _ = subscribe(receiver.url)
    happen(2)
    deliveries.spread()
    deliveries.note(webhook.pk, delivered=False)  # one at a time, the oldest first
    Event.objects.filter(pk=Event.objects.earliest("pk").pk)._raw_delete("default")
    Delivery.objects.filter(event=Event.objects.get()).update(due_at=timezone.now())

    assert sending.send_due() == 1
    assert len(receiver.came) == 1


# --- Replaying and trying -------------------------------------------------------------------------


def test_a_delivery_is_replayed_with_its_id(receiver: Receiver, subscribe: Subscribe) -> None:
    subscribe(receiver.url)
    happen()
    sending.send_due()

    subscriptions.replay(ACTOR, Delivery.objects.get())
    sending.send_due()

    assert len({came.headers["webhook-id"] for came in receiver.came}) == 1
    assert len(receiver.came) == 2
    assert AuditEvent.objects.latest("id").action == "webhook.replay"


def test_a_test_goes_ahead_of_what_waits_to_that_one_alone_and_is_tried_once(
    receiver: Receiver, subscribe: Subscribe
) -> None:
    webhook, _ = subscribe(receiver.url, "device.*")
    subscribe(f"{receiver.url}/other", "device.*")
    happen(3)
    deliveries.spread()
    deliveries.note(webhook.pk, delivered=False)
    made = subscriptions.test(ACTOR, webhook)
    receiver.answers = [status(500)]

    (first,) = [one for one in deliveries.claim(50) if one.subscription == webhook.pk]
    assert first.id == made.pk
    later(deliveries.LEASE)

    kinds = [(came.path, came.event["kind"]) for came in receiver.came]
    assert kinds.count(("/hook", "webhook.test")) == 1
    assert ("/hook/other", "webhook.test") not in kinds
    subscriptions.switch(ACTOR, webhook, False)
    with pytest.raises(subscriptions.SwitchedOff):
        subscriptions.test(ACTOR, webhook)


def test_a_test_that_fails_is_over(receiver: Receiver, subscribe: Subscribe) -> None:
    webhook, _ = subscribe(receiver.url)
    receiver.answers = [status(500)]
    made = subscriptions.test(ACTOR, webhook)

    sending.send_due()

    made.refresh_from_db()
    assert made.state == State.FAILED
    assert subscriptions.replay_failed(ACTOR, webhook) == 0
    webhook.refresh_from_db()
    assert webhook.failing_since is None


@pytest.mark.parametrize("path", ["x" * 2000, "ü" * 500])
def test_an_address_is_measured_as_it_will_be_asked(subscribe: Subscribe, path: str) -> None:
    with pytest.raises(subscriptions.BadWebhook, match="2,000"):
        subscribe(f"https://hook.example/{path}")


def test_a_new_address_is_judged_by_itself(receiver: Receiver, subscribe: Subscribe) -> None:
    webhook, _ = subscribe(receiver.url)
    deliveries.note(webhook.pk, delivered=False)

    assert subscriptions.change(ACTOR, webhook, url=receiver.url).failing_since is not None
    assert subscriptions.change(ACTOR, webhook, url=f"{receiver.url}/new").failing_since is None


@pytest.mark.django_db(transaction=True)
def test_whatever_ends_a_run_what_was_sent_counts(receiver: Receiver, subscribe: Subscribe) -> None:
    subscribe(receiver.url)
    happen()
    over, claims = threading.Event(), 0
    receiver.answers = [wait_for(over)]

    def fail_at_the_second_claim(execute, sql, params, many, context):
        nonlocal claims
        claims += "state = 'sending', due_at" in sql
        if claims == 2:
            claims += 1
            over.set()
            raise RuntimeError
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail_at_the_second_claim), pytest.raises(RuntimeError):
        sending.send_due()

    assert Delivery.objects.get().state == State.DELIVERED


@pytest.mark.django_db(transaction=True)
def test_a_webhook_that_is_being_deleted_is_waited_for(
    receiver: Receiver, subscribe: Subscribe
) -> None:
    webhook, _ = subscribe(receiver.url)
    happen()

    with transaction.atomic():
        subscriptions.delete(ACTOR, webhook)
        meanwhile = steps.Meanwhile(deliveries.spread)
        assert meanwhile.waits

    assert meanwhile.returned() == 1
    assert not Event.objects.filter(spread_at=None).exists()
    assert not Delivery.objects.exists()


def test_deleting_a_webhook_takes_its_log_along(receiver: Receiver, subscribe: Subscribe) -> None:
    webhook, _ = subscribe(receiver.url)
    happen()
    sending.send_due()

    subscriptions.delete(ACTOR, webhook)

    assert not Delivery.objects.exists()
    assert Event.objects.exists()
