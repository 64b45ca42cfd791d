"""The push certificate is taken in every form people have it, and not where it would do harm."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from django.core.management import CommandError, call_command
from django.utils import timezone

from lab.apns import FaultKind
from lab.authority import Authority, Pair
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed
from mdm.models import Enrollment, PushCertificate
from mdm.push import certificate
from mdm.push.certificate import OtherTopic
from mdm.push.pem import PushCertificateError, Unreadable, WrongCertificate
from mdm.push.wake import wake_due
from mdm.secrets import unseal
from mdm.webhooks.models import Event
from tests.mdm.push.conftest import Enroll
from tests.mdm.push.service import Service

pytestmark = pytest.mark.django_db

ADMIN = Actor.system("test")
PASSWORD = "correct horse"
Issue = Callable[..., Pair]


@pytest.fixture
def issue(apple: Authority, tmp_path: Path) -> Issue:
    """A new push certificate: its topic, and the days until it begins and ends."""

    def make(topic: str, *, begins: int = -1, ends: int = 365) -> Pair:
        now = dt.datetime.now(dt.UTC)
        name = os.urandom(4).hex()
        return apple.issue_push_certificate(
            topic,
            not_before=now + dt.timedelta(days=begins),
            not_after=now + dt.timedelta(days=ends, hours=1),
            into=Pair(tmp_path / f"{name}.pem", tmp_path / f"{name}.key"),
        )

    return make


def texts(pair: Pair) -> tuple[bytes, bytes]:
    return pair.certificate.read_bytes(), pair.key.read_bytes()


def encrypted(key: bytes) -> bytes:
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.encode())
    )


def traditional(key: bytes) -> bytes:
    return load_pem_private_key(key, None).private_bytes(
        Encoding.PEM,
        PrivateFormat.TraditionalOpenSSL,
        BestAvailableEncryption(PASSWORD.encode()),
    )


def as_pkcs12(pair: Pair, password: str | None) -> bytes:
    loaded, key = pair.load()
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return pkcs12.serialize_key_and_certificates(b"push", key, loaded, None, encryption)


def form(name: str, pair: Pair, apple: Authority) -> tuple[bytes, bytes | None, str | None]:
    pem, key = texts(pair)
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    root = apple.root.certificate.read_bytes()
    return {
        "two files": (pem, key, None),
        "one file": (key + pem, None, None),
        "a chain": (root + pem, key, None),
        "DER": (der, key, None),
        "an encrypted key": (pem, encrypted(key), PASSWORD),
        "an old encrypted key": (pem, traditional(key), PASSWORD),
        "PKCS#12": (as_pkcs12(pair, None), None, None),
        "PKCS#12 with a password": (as_pkcs12(pair, PASSWORD), None, PASSWORD),
        "a password that is not needed": (pem, key, PASSWORD),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "two files",
        "one file",
        "a chain",
        "DER",
        "an encrypted key",
        "an old encrypted key",
        "PKCS#12",
        "PKCS#12 with a password",
        "a password that is not needed",
    ],
)
def test_every_form_of_a_certificate_and_its_key_is_taken(
    apple: Authority, topic: str, name: str
) -> None:
    data, key, password = form(name, apple.push, apple)
    installed = certificate.install(ADMIN, data, key, password)
    assert certificate.active() == installed
    assert installed.topic == topic
    own = load_pem_private_key(unseal("push_key", installed.sealed_key), None)
    assert own.private_numbers() == apple.push.load()[1].private_numbers()  # type: ignore[union-attr]
    assert x509.load_pem_x509_certificate(installed.certificate.encode()) == apple.push.load()[0]


def test_the_key_is_nowhere_to_be_read(apple: Authority) -> None:
    installed = certificate.install(ADMIN, *texts(apple.push))
    stored = bytes(installed.sealed_key) + installed.certificate.encode()
    assert b"PRIVATE KEY" not in stored


def test_installing_is_recorded_and_announced(apple: Authority, topic: str) -> None:
    first = certificate.install(ADMIN, *texts(apple.push))
    second = certificate.install(ADMIN, *texts(apple.push))
    event = AuditEvent.objects.latest("id")
    assert event.action == "push_certificate.install"
    assert event.subject_id == str(second.pk)
    assert event.before == event.after
    assert event.after == {
        "topic": topic,
        "serial": first.serial,
        "not_after": first.not_after.isoformat(),
    }
    assert Event.objects.latest("id").kind == "push_certificate.installed"


def test_an_actor_who_is_switched_off_may_not_install(apple: Authority) -> None:
    actor = Actor(kind=ADMIN.kind, id="7", name="Someone", active=False)
    with pytest.raises(NotAllowed):
        certificate.install(actor, *texts(apple.push))
    assert certificate.active() is None


def test_a_renewal_takes_over_and_the_old_one_is_kept(
    apple: Authority, topic: str, issue: Issue, enroll: Enroll
) -> None:
    enroll()
    old = certificate.install(ADMIN, *texts(apple.push))
    new = certificate.install(ADMIN, *texts(issue(topic)))
    old.refresh_from_db()
    assert (old.active, certificate.active()) == (False, new)


@pytest.mark.parametrize("state", [Enrollment.State.ENROLLED, Enrollment.State.AUTHENTICATED])
def test_another_topic_is_refused_while_devices_depend_on_the_old(
    apple: Authority, issue: Issue, enroll: Enroll, state: Enrollment.State
) -> None:
    enroll(state=state)
    old = certificate.install(ADMIN, *texts(apple.push))
    with pytest.raises(OtherTopic, match="1 enrollment listens"):
        certificate.install(ADMIN, *texts(issue("com.apple.mgmt.External.another")))
    assert certificate.active() == old


def test_another_topic_is_fine_when_nobody_listens_to_the_old(
    apple: Authority, issue: Issue, enroll: Enroll
) -> None:
    enroll(state=Enrollment.State.CHECKED_OUT)
    certificate.install(ADMIN, *texts(apple.push))
    new = certificate.install(ADMIN, *texts(issue("com.apple.mgmt.External.another")))
    assert certificate.active() == new


def test_devices_that_could_not_be_woken_are_tried_again_with_the_new_certificate(
    apple: Authority, topic: str, issue: Issue, enroll: Enroll, service: Service
) -> None:
    enrollment = enroll()
    certificate.install(ADMIN, *texts(apple.push))
    service.fault(FaultKind.FORBIDDEN)
    wake_due()
    assert wake_due() == 0
    certificate.install(ADMIN, *texts(issue(topic)))
    assert wake_due() == 1
    enrollment.refresh_from_db()
    assert enrollment.push_problem == ""
    assert service.counts["200"] == 1


def _request(pair: Pair) -> bytes:
    _, key = pair.load()
    name = x509.Name([])
    built = x509.CertificateSigningRequestBuilder().subject_name(name)

    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def wrong(name: str, pair: Pair, issue: Issue) -> tuple[bytes, bytes | None, str | None]:
    pem, key = texts(pair)
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    return {
        "nothing": lambda: (b"", None, None),
        "noise": lambda: (os.urandom(500), None, None),
        "text": lambda: (b"<plist/>", None, None),
        "too much": lambda: (pem + b"\n" * 200_000, key, None),
        "a request": lambda: (_request(pair) + key, None, None),
        "no key": lambda: (pem, None, None),
        "a damaged certificate": lambda: (pem.replace(b"M", b"N"), key, None),
        "a damaged key": lambda: (pem, key.replace(b"M", b"N"), None),
        "a key without its password": lambda: (pem, encrypted(key), None),
        "a wrong password": lambda: (pem, encrypted(key), "wrong"),
        "PKCS#12 without its password": lambda: (as_pkcs12(pair, PASSWORD), None, None),
        "PKCS#12 with a wrong password": lambda: (as_pkcs12(pair, PASSWORD), None, "wrong"),
        "another key": lambda: (pem, other, None),
        "another purpose": lambda: (*texts(issue("com.example.app")), None),
        "expired": lambda: (*texts(issue("com.apple.mgmt.External.1", begins=-9, ends=-2)), None),
        "not yet": lambda: (*texts(issue("com.apple.mgmt.External.1", begins=9)), None),
    }[name]()


@pytest.mark.parametrize(
    ("name", "error", "sentence"),
    [
        ("nothing", Unreadable, "neither PEM nor"),
        ("noise", Unreadable, "neither PEM nor"),
        ("text", Unreadable, "neither PEM nor"),
        ("too much", Unreadable, "too large"),
        ("a request", Unreadable, "not the request"),
        ("no key", Unreadable, "key is missing"),
        ("a damaged certificate", Unreadable, "damaged"),
        ("a damaged key", Unreadable, "damaged"),
        ("a key without its password", Unreadable, "Give its password"),
        ("a wrong password", Unreadable, "password is wrong"),
        ("PKCS#12 without its password", Unreadable, "neither PEM nor"),
        ("PKCS#12 with a wrong password", Unreadable, "neither PEM nor"),
        ("another key", WrongCertificate, "does not belong"),
        ("another purpose", WrongCertificate, "not an MDM push certificate"),
        ("expired", WrongCertificate, "expired on"),
        ("not yet", WrongCertificate, "not valid before"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(
    apple: Authority,
    issue: Issue,
    name: str,
    error: type[PushCertificateError],
    sentence: str,
) -> None:
    with pytest.raises(error, match=sentence):
        certificate.install(ADMIN, *wrong(name, apple.push, issue))
    assert not PushCertificate.objects.exists()
    assert not AuditEvent.objects.exists()


def sentences(days: float) -> list[tuple[str, str]]:
    active = certificate.active()
    assert active is not None
    now = active.not_after - dt.timedelta(days=days)
    return [(warning.level.value, warning.sentence) for warning in certificate.warnings(now)]


def test_its_end_is_announced_in_time(push_certificate: PushCertificate) -> None:
    assert sentences(31) == []
    ((level, sentence),) = sentences(29.5)
    assert (level, "in 29 days" in sentence) == ("warning", True)
    ((level, sentence),) = sentences(1.5)
    assert (level, "in 1 day " in sentence) == ("alarm", True)
    ((level, sentence),) = sentences(-1)
    assert (level, "expired on" in sentence) == ("alarm", True)


def test_that_there_is_none_and_that_apple_refuses_it_are_alarms(apple: Authority) -> None:
    (none,) = certificate.warnings()
    assert "no push certificate" in none.sentence
    installed = certificate.install(ADMIN, *texts(apple.push))
    certificate.note_problem(installed, "403 BadCertificate")
    (refused,) = certificate.warnings(timezone.now())
    assert (refused.level, "403 BadCertificate" in refused.sentence) == ("alarm", True)


def test_the_command_line_installs_and_shows(apple: Authority, topic: str, tmp_path: Path) -> None:
    file, password = tmp_path / "push.p12", tmp_path / "password"
    file.write_bytes(as_pkcs12(apple.push, PASSWORD))
    password.write_text(PASSWORD + "\n")
    said = StringIO()
    call_command(
        "push_certificate", "install", str(file), "--password-file", str(password), stdout=said
    )
    call_command("push_certificate", "show", stdout=said)
    assert said.getvalue().count(f"topic: {topic}") == 2
    with pytest.raises(CommandError, match="neither PEM nor"):
        call_command("push_certificate", "install", str(password))
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("push_certificate", "install", str(tmp_path / "missing"))
