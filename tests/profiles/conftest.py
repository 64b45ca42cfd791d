"""The lab's Apple, which the product talks with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from tests.abm.apple import Apple, apple


@pytest.fixture
def lab_apple(settings: Settings, transactional_db: None) -> Iterator[Apple]:
    with apple() as played:
        settings.ENV = dataclasses.replace(settings.ENV, dep_url=played.url)
        yield played
