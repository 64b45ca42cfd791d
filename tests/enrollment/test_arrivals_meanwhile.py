"""A device that asks to be let in twice, or while its earlier challenge is being redeemed: the
second one waits in Postgres until the first is decided, and the newest counts alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from enrollment.models import Arrival, Challenge
from profiles import editing, following, giving
from profiles.models import Profile
from profiles.wire.content import new_content
from tests.abm.connected import connect
from tests.enrollment import factory
from tests.enrollment.test_arrivals import ADMIN, SERIAL, come, identity, let_in, listed
from tests.machines import Answered, Machine
from tests.steps import in_thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def office(ca: Any, push_certificate: Any, settings: Settings) -> Profile:
    settings.ENV = dataclasses.replace(settings.ENV, device_ca=factory.root())
    made = editing.create(ADMIN, "Office", new_content())
    giving.set_default(ADMIN, "iOS", None, made)
    listed(connect(), SERIAL)
    following.follow()
    return made


def meanwhile(act: Callable[[], Answered]) -> Callable[[], Answered]:
    """Begin `act` elsewhere, until it waits for this transaction or is done; its answer."""
    said: list[Answered] = []
    thread = in_thread(lambda: said.append(act()))
    while thread.is_alive() and not _somebody_waits():
        pass

    def answered() -> Answered:
        thread.join()
        return said[0]

    return answered


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted"
            " AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))"
        )
        return bool(cursor.fetchone()[0])


def test_an_identity_that_was_being_issued_as_the_device_asked_again_is_void(
    ca: Any, office: Profile
) -> None:
    first = let_in(come(office))
    with transaction.atomic():
        late = identity(ca, first)
        again = meanwhile(lambda: come(office))
    second = let_in(again())

    assert late is not None
    assert Machine(certificate=late, serial_number=SERIAL).authenticate().status == 403
    newest = identity(ca, second, number=1)
    assert newest is not None
    machine = Machine(certificate=newest, serial_number=SERIAL, key_number=1)
    assert machine.authenticate().status == 200


def test_of_two_that_come_at_once_one_holds_a_challenge(ca: Any, office: Profile) -> None:
    with transaction.atomic():
        first = let_in(come(office))
        again = meanwhile(lambda: come(office))
    second = let_in(again())

    assert identity(ca, first) is None
    assert identity(ca, second, number=1) is not None
    assert (Challenge.objects.count(), Arrival.objects.count()) == (1, 2)


def test_one_that_enrolls_as_somebody_with_its_serial_number_asks_again_stays(
    ca: Any, office: Profile
) -> None:
    certificate = identity(ca, let_in(come(office)))
    assert certificate is not None
    machine = Machine(certificate=certificate, serial_number=SERIAL)
    with transaction.atomic():
        assert machine.authenticate().status == 200
        again = meanwhile(lambda: come(office))
    let_in(again())

    assert machine.token_update().status == 200
    # Nor is its identity revoked: it may begin anew with it.
    assert machine.authenticate().status == 200
