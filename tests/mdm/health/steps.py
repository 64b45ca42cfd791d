"""What tests of health do more than once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from allauth.mfa.models import Authenticator
from django.utils import timezone

from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.health import probes, pulse
from mdm.health.models import ProbeResult
from tests.people import someone


def all_alive() -> None:
    """Workers of every queue and the beat have just been heard of."""
    pulse.worker_lives("worker@here", pulse.queues())
    pulse.beat_ticks()
    for queue in pulse.queues():
        pulse.answered(queue)


def all_good(at: datetime | None = None) -> None:
    """Every probe found that it works."""
    moment = at or timezone.now()
    ProbeResult.objects.bulk_create(
        ProbeResult(
            name=line.probe.name,
            good=True,
            found="It works.",
            began_at=moment,
            checked_at=moment,
            since=moment,
            done_at=moment,
        )
        for line in probes.lines()
    )


def tried(name: str) -> ProbeResult:
    """A worker tries it now."""
    ProbeResult.objects.filter(name=name).update(began_at=None)
    probes.carry_out(name)
    return ProbeResult.objects.get(name=name)


def use_mail_server(settings: Any, port: int) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    settings.EMAIL_TIMEOUT = 10


def ready_admin(name: str) -> User:
    """An admin who has been here, and has a second factor."""
    user = someone(Role.ADMIN, name=name)
    prove(user)
    return user


def prove(user: User) -> None:
    user.password = user.password if user.has_usable_password() else "one that they chose"
    user.last_login = timezone.now() - timedelta(hours=1)
    user.save()
    Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={})
