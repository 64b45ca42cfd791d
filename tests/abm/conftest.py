"""A service that answers what is written down, and a server of ours that has a token for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from abm.models import Server
from abm.wire.server_token import ServerToken
from mdm import secrets
from tests.abm.apple import Apple, apple
from tests.abm.patience import PATIENT
from tests.abm.scripted import Script, service

__all__ = ["PATIENT"]


@pytest.fixture
def script(settings: Settings) -> Iterator[Script]:
    with service() as script:
        settings.ENV = dataclasses.replace(settings.ENV, dep_url=script.url)
        yield script


@pytest.fixture
def lab_apple(settings: Settings, transactional_db: None) -> Iterator[Apple]:
    """The lab's Apple, which the product talks with."""
    with apple() as played:
        settings.ENV = dataclasses.replace(settings.ENV, dep_url=played.url)
        yield played


def connect(name: str = "Office", **more) -> Server:
    """A server with a token that is good for a year."""
    expires = timezone.now() + timedelta(days=365)
    token = ServerToken(
        consumer_key="CK_1",
        consumer_secret="CS_2",
        access_token=f"AT_{name}",
        access_secret="AS_4",
        access_token_expiry=expires.astimezone(UTC),
    )
    return Server.objects.create(
        name=name,
        sealed_token=secrets.seal("server_token", token.to_json()),
        **{"token_expires_at": expires, "token_accepted_at": datetime.now(UTC), **more},
    )


@pytest.fixture
def server(transactional_db: None) -> Server:
    return connect()
