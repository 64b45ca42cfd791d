"""The MDM push certificate: taking a new one in, and what there is to know about the one in use.
How the files are read is in `pem.py`.

    PushCertificateError
    ├── Unreadable        no certificate and key could be read from the files
    ├── WrongCertificate  not an MDM push certificate, expired, or not the key's
    └── OtherTopic        its topic would cut off the devices that are enrolled
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography.x509 import Certificate
from cryptography.x509.oid import NameOID
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from mdm import moments, secrets
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.models import Enrollment, PushCertificate
from mdm.push.pem import Credentials, PushCertificateError, WrongCertificate, read
from mdm.push.publish import call_worker_on_commit
from mdm.webhooks.outbox import emit

TOPIC_PREFIX = "com.apple.mgmt."
# Apple's push certificates live for a year, and people are on holiday for weeks.
WARN_BEFORE = timedelta(days=30)
ALARM_BEFORE = timedelta(days=7)
_LOCK = 0x50555348


class OtherTopic(PushCertificateError):
    """Devices only listen to the topic that they enrolled with."""


class Level(StrEnum):
    WARNING = "warning"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Warning:
    """Something about the push certificate that an admin should act on."""

    level: Level
    sentence: str


def active() -> PushCertificate | None:
    """The push certificate in use."""
    return PushCertificate.objects.filter(active=True).first()


def install(
    actor: Actor, data: bytes, key: bytes | None = None, password: str | None = None
) -> PushCertificate:
    """Put a push certificate to use in place of the one before it.

    `data` is PKCS#12, or PEM with the certificate and, unless `key` holds it, its private key.
    Raises NotAllowed, Unreadable, WrongCertificate, OtherTopic.
    """
    allow(actor, "push_certificate.install")
    credentials = read(data, key, password)
    topic = _checked_topic(credentials.certificate)
    with transaction.atomic():
        _one_at_a_time()
        before = active()
        _check_devices(before, topic)
        PushCertificate.objects.filter(active=True).update(active=False)
        after = _store(credentials, topic)
        record(
            actor,
            "push_certificate.install",
            subject_kind="push_certificate",
            subject_id=after.pk,
            before=_facts(before) if before else None,
            after=_facts(after),
        )
        emit("push_certificate.installed", str(after.pk), _facts(after))
        _try_again(topic)
    return after


def warnings(now: datetime | None = None) -> list[Warning]:
    """What is wrong with the push certificate or soon will be, the worst first."""
    certificate = active()
    if certificate is None:
        return [Warning(Level.ALARM, "There is no push certificate: no device can be woken.")]
    found = [_expiry(certificate, now or timezone.now())]
    if certificate.problem:
        found.append(
            Warning(Level.ALARM, f"Apple does not take our pushes: {certificate.problem}.")
        )
    present = [warning for warning in found if warning is not None]
    return sorted(present, key=lambda warning: warning.level is not Level.ALARM)


def note_problem(certificate: PushCertificate, problem: str) -> None:
    """Pushes with this certificate cannot succeed for now."""
    PushCertificate.objects.filter(pk=certificate.pk).update(
        problem=problem[:200], problem_at=Now()
    )


def clear_problem(certificate: PushCertificate) -> None:
    """Pushes with this certificate reach Apple again."""
    PushCertificate.objects.filter(pk=certificate.pk).update(problem="", problem_at=None)


def _checked_topic(certificate: Certificate) -> str:
    values = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
    topic = str(values[0].value) if len(values) == 1 else ""
    if not topic.startswith(TOPIC_PREFIX) or len(topic) > 255:
        raise WrongCertificate(
            "This is not an MDM push certificate: the UID of its subject does not begin with"
            f" {TOPIC_PREFIX}. Create one at identity.apple.com."
        )
    now = timezone.now()
    if certificate.not_valid_after_utc <= now:
        raise WrongCertificate(
            f"This push certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}."
            " Renew it at identity.apple.com and upload the renewed one."
        )
    if certificate.not_valid_before_utc > now + timedelta(days=1):
        raise WrongCertificate(
            "This push certificate is not valid before"
            f" {certificate.not_valid_before_utc:%Y-%m-%d}."
        )
    return topic


def _one_at_a_time() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _check_devices(before: PushCertificate | None, topic: str) -> None:
    """A renewal keeps its topic; another one is fine only while nobody listens to the old."""
    if before is not None and before.topic == topic:
        return
    count = (
        Enrollment.objects.filter(
            state__in=[Enrollment.State.AUTHENTICATED, Enrollment.State.ENROLLED]
        )
        .exclude(topic__in=["", topic])
        .count()
    )
    if count:
        listening = "enrollment listens" if count == 1 else "enrollments listen"
        raise OtherTopic(
            f"This push certificate has the topic {topic}, but {count} {listening} to another one"
            " and would be cut off for good. Renew the existing certificate at"
            " identity.apple.com, with the same Apple Account, instead of creating a new one."
        )


def _store(credentials: Credentials, topic: str) -> PushCertificate:
    certificate = credentials.certificate
    return PushCertificate.objects.create(
        topic=topic,
        certificate=credentials.certificate_pem.decode(),
        sealed_key=secrets.seal("push_key", credentials.key_pem),
        serial=f"{certificate.serial_number:X}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _facts(certificate: PushCertificate) -> dict[str, object]:
    return {
        "topic": certificate.topic,
        "serial": certificate.serial,
        "not_after": certificate.not_after.isoformat(),
    }


def _try_again(topic: str) -> None:
    """What the certificate before could not wake need not wait out its back-off."""
    waiting = Enrollment.objects.filter(topic=topic, wake_at__isnull=False).exclude(push_problem="")
    if waiting.update(wake_at=Now(), push_problem="", push_problem_at=None):
        call_worker_on_commit()


def _expiry(certificate: PushCertificate, now: datetime) -> Warning | None:
    left = certificate.not_after - now
    day = moments.day(certificate.not_after)
    if left <= timedelta(0):
        return Warning(
            Level.ALARM, f"The push certificate expired on {day}: no device can be woken. Renew it."
        )
    if left > WARN_BEFORE:
        return None
    days = left.days
    when = "today" if days == 0 else "in 1 day" if days == 1 else f"in {days} days"
    level = Level.ALARM if left <= ALARM_BEFORE else Level.WARNING
    return Warning(
        level, f"The push certificate expires {when} ({day}). Renew it, with the same topic."
    )
