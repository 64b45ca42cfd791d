"""The root of a stand-in, GUARD_DEVICE_CA: it counts in tests and the demo, never in production."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from pytest_django import Settings

from enrollment import apple
from mdm.env import BadEnvironment, Env, Mode
from tests.enrollment import factory

_KEY = "k" * 43 + "="
PRODUCTION = {
    "GUARD_ENV": "production",
    "GUARD_SECRET_KEY": "s" * 50,
    "GUARD_ENCRYPTION_KEYS": _KEY,
    "DATABASE_URL": "postgresql://guard@localhost/guard",
    "REDIS_URL": "redis://localhost:6379/0",
    "GUARD_PUBLIC_URL": "https://mdm.example.com",
    "GUARD_DASHBOARD_URL": "https://guard.example.com",
}


@pytest.mark.django_db
def test_the_root_of_a_stand_in_counts_outside_of_production_alone(settings: Settings) -> None:
    settings.ENV = dataclasses.replace(settings.ENV, device_ca=factory.root())
    assert apple.ready()
    settings.ENV = dataclasses.replace(settings.ENV, mode=Mode.PRODUCTION)
    assert not apple.ready()


def test_production_refuses_the_setting() -> None:
    assert Env.load(PRODUCTION).device_ca is None
    with pytest.raises(BadEnvironment, match="GUARD_DEVICE_CA"):
        Env.load({**PRODUCTION, "GUARD_DEVICE_CA": "/etc/root.pem"})


def test_elsewhere_it_is_a_path() -> None:
    assert Env.load({"GUARD_DEVICE_CA": "/etc/root.pem"}).device_ca == Path("/etc/root.pem")
