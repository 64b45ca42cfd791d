"""A service that answers what is written down, and a server of ours that has a token for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from abm.models import Server
from tests.abm.apple import Apple, apple
from tests.abm.connected import connect
from tests.abm.scripted import Script, service


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


@pytest.fixture
def server(transactional_db: None) -> Server:
    return connect()
