"""Secrets at rest: sealed for one purpose, opened by listed keys, sealed anew when keys rotate."""

from __future__ import annotations

import os

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from commands import queue
from mdm import rotation
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.models import Escrow
from mdm.secrets import Unsealable, seal, unseal
from tests import machines
from tests.machines import Machine

OLD, NEW = b"o" * 32, b"n" * 32
ADMIN = Actor.system("test")


def test_a_sealed_value_opens_for_its_purpose_only():
    sealed = seal("push_token", b"secret")

    assert b"secret" not in sealed
    assert unseal("push_token", sealed) == b"secret"
    with pytest.raises(Unsealable):
        unseal("unlock_token", sealed)


@pytest.mark.parametrize("damage", [b"", b"\x01", b"\x02" + b"x" * 40, None])
def test_a_damaged_value_is_one_kind_of_error(damage):
    sealed = seal("a", b"secret")
    with pytest.raises(Unsealable):
        unseal("a", sealed[:-1] + bytes([sealed[-1] ^ 1]) if damage is None else damage)


def test_a_new_key_in_front_opens_what_the_old_one_sealed():
    with override_settings(ENCRYPTION_KEYS=(OLD,)):
        sealed = seal("a", b"secret")
    with override_settings(ENCRYPTION_KEYS=(NEW, OLD)):
        assert unseal("a", sealed) == b"secret"
    with override_settings(ENCRYPTION_KEYS=(NEW,)), pytest.raises(Unsealable):
        unseal("a", sealed)


@pytest.mark.django_db
def test_after_rotation_the_old_key_can_go():
    with override_settings(ENCRYPTION_KEYS=(OLD,)):
        machines.install_authority()
        machines.install_push_certificate()
        machine = Machine.enrolled()
        machine.token_update(UnlockToken=os.urandom(2000))
        machine.check_in("SetBootstrapToken", BootstrapToken=b"bootstrap")
        for request_type in ("ClearPasscode", "SecurityInfo"):
            queue.enqueue(
                ADMIN,
                request_type=request_type,
                parameters={},
                enrollments=[machine.enrollment.pk],
            )
        made = machine.idle().plist["CommandUUID"]
        machine.connect("Acknowledged", made)

    with override_settings(ENCRYPTION_KEYS=(NEW, OLD)):
        done, stuck = rotation.rotate(ADMIN)
        assert (done > 6, stuck) == (True, 0)
        assert rotation.rotate(ADMIN) == (0, 0)

    with override_settings(ENCRYPTION_KEYS=(NEW,)):
        for model, field in rotation.sealed_fields():
            for row in model._default_manager.all():
                sealed = getattr(row, field.attname)
                if sealed is not None:
                    assert any(_opens(purpose, sealed) for purpose in field.purposes), field
        assert machine.idle().status == 200
        assert Escrow.objects.count() == 2
    assert AuditEvent.objects.filter(action="keys.rotate").count() == 2


@pytest.mark.django_db
def test_what_no_key_opens_is_said_and_left_alone():
    with override_settings(ENCRYPTION_KEYS=(OLD,)):
        machines.install_push_certificate()
    with (
        override_settings(ENCRYPTION_KEYS=(NEW,)),
        pytest.raises(CommandError, match="1 secrets cannot be opened"),
    ):
        call_command("rotate_keys")


def _opens(purpose: str, sealed: bytes) -> bool:
    try:
        unseal(purpose, sealed)
    except Unsealable:
        return False
    return True
