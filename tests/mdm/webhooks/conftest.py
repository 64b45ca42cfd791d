"""A receiver on this machine that the server may ask, and webhooks."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db.models import F

from mdm.audit.actor import Actor
from mdm.webhooks import subscriptions
from mdm.webhooks.models import Delivery, Subscription
from tests.mdm.webhooks.receiver import Receiver

ACTOR = Actor.system("test")
HERE = ipaddress.ip_network("127.0.0.1/32")

Subscribe = Callable[..., tuple[Subscription, str]]


@pytest.fixture
def allowed(settings: Any) -> None:
    settings.ENV = dataclasses.replace(settings.ENV, webhook_networks=(HERE,))


@pytest.fixture
def receiver(allowed: None) -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def subscribe(db: None) -> Subscribe:
    def make(url: str, *kinds: str, name: str = "Tickets") -> tuple[Subscription, str]:
        return subscriptions.create(ACTOR, name=name, url=url, kinds=kinds or ["device.*"])

    return make


def as_if_passed(**moment: Any) -> None:
    """Put what is due to be sent earlier, as if so much time had passed."""
    Delivery.objects.filter(due_at__isnull=False).update(due_at=F("due_at") - moment["by"])
