"""Enrollments for the tests of push, and their tokens."""

from __future__ import annotations

import secrets as random
from datetime import timedelta

from django.utils import timezone

from mdm.models import Device, Enrollment
from mdm.secrets import seal, unseal

MAGIC = "0E6C1C3F-2B5A-4B0B-9C3C-8F6F7B1D2A90"


def new_enrollment(**fields: object) -> tuple[Enrollment, str]:
    """An enrolled device that is due, and its push token in hex."""
    token = random.token_bytes(32)
    now = timezone.now()
    values: dict[str, object] = {
        "key": token.hex()[:40],
        "device": Device.objects.create(),
        "kind": Enrollment.Kind.DEVICE,
        "channel": Enrollment.Channel.DEVICE,
        "device_identifier": token.hex()[:40],
        "state": Enrollment.State.ENROLLED,
        "push_magic": MAGIC,
        "sealed_push_token": seal("push_token", token),
        "token_updated_at": now - timedelta(days=1),
        "wake_at": now - timedelta(seconds=1),
    }
    return Enrollment.objects.create(**values | fields), token.hex()


def token_of(enrollment: Enrollment) -> str:
    assert enrollment.sealed_push_token is not None
    return unseal("push_token", enrollment.sealed_push_token).hex()
