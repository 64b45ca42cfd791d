"""A device that comes by ADE, in steps: listed, let in or refused, given its identity."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cryptography import x509
from django.utils import timezone

from abm.models import AbmDevice, Definition, Server
from enrollment.models import RefusedArrival
from enrollment.wire.profile import MIME_TYPE
from lab.devices.profile import Profile as Installed
from lab.devices.profile import read_profile
from mdm.audit.actor import Actor
from mdm.models import Device
from mdm.secrets import seal
from mdm.wsgi import application
from profiles import editing
from profiles.models import Profile, Version
from tests import machines
from tests.enrollment import factory
from tests.enrollment.scep_client import Client, build_csr
from tests.machines import Answered

ADMIN = Actor.system("tests")
SERIAL = "F2LXK0ABCD"


def listed(server: Server, serial: str) -> AbmDevice:
    device, _ = Device.objects.get_or_create(serial_number=serial)
    return AbmDevice.objects.create(
        server=server,
        device=device,
        serial_number=serial,
        os="iOS",
        device_family="iPhone",
        profile_status="assigned",
    )


def path_of(profile: Profile) -> str:
    assert profile.current is not None
    return f"/ade/{editing.secret_of(profile.current)}"


def come(profile: Profile, message: bytes | None = None) -> Answered:
    """A device asks to be let in."""
    body = factory.machine_info(SERIAL) if message is None else message
    return machines.call(application, "POST", path_of(profile), body, "application/pkcs7-signature")


def let_in(answered: Answered) -> Installed:
    """The enrollment profile that it was given."""
    assert (answered.status, answered.headers["Content-Type"]) == (200, MIME_TYPE)
    return read_profile(answered.body)


def identity(ca: Any, profile: Installed, number: int = 0) -> x509.Certificate | None:
    """What SCEP gives for the profile's challenge, with one of the run's keys."""
    challenge = profile.identity().challenge
    assert challenge is not None
    key = machines.key(number)
    client = Client(ca.certificate, key, build_csr(key, challenge)).but(
        transaction_id=f"transaction-{number}-{challenge[:8]}"
    )
    answered = machines.call(application, "POST", "/scep?operation=PKIOperation", client.message())
    return client.read(answered.body).certificate


def defined(server: Server, given: Profile | Version) -> Definition:
    """Apple knows this version, or the current one, of this server."""
    version = given.current if isinstance(given, Profile) else given
    assert version is not None
    made, _ = Definition.objects.update_or_create(
        server=server,
        reference=version.pk,
        defaults={
            "name": str(version),
            "sealed_document": seal("ade_profile", b"{}"),
            "profile_uuid": f"UUID-{version.pk}",
            "state": Definition.State.DEFINED,
        },
    )
    return made


def expire(server: Server) -> None:
    """Its token has expired: its list grows old."""
    yesterday = timezone.now() - timedelta(days=1)
    Server.objects.filter(pk=server.pk).update(token_expires_at=yesterday)


def refused(reason: str) -> RefusedArrival:
    [row] = RefusedArrival.objects.all()
    assert row.reason == reason
    return row
