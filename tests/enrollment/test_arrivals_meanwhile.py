"""A device that asks to be let in twice, or while its earlier challenge is being redeemed: the
second one waits in Postgres until the first is decided, and the newest counts alone.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from enrollment.models import Arrival, Challenge
from profiles.models import Profile
from tests.enrollment.arriving import SERIAL, come, identity, let_in
from tests.machines import Machine
from tests.steps import Meanwhile

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_identity_that_was_being_issued_as_the_device_asked_again_is_void(
    ca: Any, office: Profile
) -> None:
    first = let_in(come(office))
    with transaction.atomic():
        late = identity(ca, first)
        again = Meanwhile(lambda: come(office))
    second = let_in(again.returned())

    assert late is not None
    assert Machine(certificate=late, serial_number=SERIAL).authenticate().status == 403
    newest = identity(ca, second, number=1)
    assert newest is not None
    machine = Machine(certificate=newest, serial_number=SERIAL, key_number=1)
    assert machine.authenticate().status == 200


def test_of_two_that_come_at_once_one_holds_a_challenge(ca: Any, office: Profile) -> None:
    with transaction.atomic():
        first = let_in(come(office))
        again = Meanwhile(lambda: come(office))
    second = let_in(again.returned())

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
        again = Meanwhile(lambda: come(office))
    let_in(again.returned())

    assert machine.token_update().status == 200
    # Nor is its identity revoked: it may begin anew with it.
    assert machine.authenticate().status == 200
