"""Who gets an identity certificate by SCEP, how often, and for what."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from django.db import connection, transaction
from django.utils import timezone

from enrollment import challenges, links, scep
from enrollment.models import Challenge, EnrollmentLink
from enrollment.wire.authority import Authority, issue_identity
from enrollment.wire.errors import BadRequest
from enrollment.wire.profile import AccessRights
from mdm import identity
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.models import Device, Enrollment, Identity
from mdm.protocol.binding import Binding, Purpose
from mdm.protocol.signature import SignerCertificate
from tests.enrollment.conftest import MakeClient
from tests.enrollment.scep_client import Answer, Client, build_csr, rsa_key, self_signed

BAD_REQUEST, BAD_CERT_ID = "2", "4"


def ask(client: Client) -> Answer:
    return client.read(scep.answer(client.message()).body)


def uses(link: EnrollmentLink) -> int:
    return EnrollmentLink.objects.get(pk=link.pk).uses


def assert_refused(client: Client, fail_info: str = BAD_REQUEST) -> None:
    issued_before = Identity.objects.count()
    answer = ask(client)
    assert (answer.status, answer.fail_info, answer.certificate) == ("2", fail_info, None)
    assert Identity.objects.count() == issued_before


def test_a_challenge_gets_a_certificate_that_the_core_accepts(
    make_client: MakeClient, link: EnrollmentLink
) -> None:
    certificate = ask(make_client()).certificate
    assert certificate is not None
    challenge = Challenge.objects.get()
    issued = identity.issued(SignerCertificate(certificate.public_bytes(Encoding.DER)))
    assert issued.binding == Binding(Purpose.DEVICE, "link", str(challenge.pk))
    assert uses(link) == 1


def test_the_certificate_is_kept_with_what_it_was_issued_for(
    make_client: MakeClient, admin: Actor
) -> None:
    only = links.create(
        admin, name="One Mac", serial_number="c02xx1234", access_rights=AccessRights(3)
    )
    certificate = ask(make_client(challenges.for_link(only))).certificate
    assert certificate is not None
    row = Identity.objects.get()
    assert bytes(row.certificate) == certificate.public_bytes(Encoding.DER)
    assert Binding.from_uri(row.binding).serial_number == "C02XX1234"
    assert row.expires_at == certificate.not_valid_after_utc
    assert row.access_rights == 3
    assert AuditEvent.objects.filter(action="identity.issue").count() == 1


def test_the_same_transaction_gets_the_same_certificate_and_costs_nothing(
    make_client: MakeClient, link: EnrollmentLink
) -> None:
    client = make_client()
    first, second = ask(client), ask(client.but(nonce=b"another nonce..."))
    assert first.certificate == second.certificate
    assert first.certificate is not None
    assert uses(link) == 1
    assert Identity.objects.count() == 1


def test_a_revoked_certificate_is_not_given_out_again(make_client: MakeClient) -> None:
    client = make_client()
    ask(client)
    Identity.objects.update(revoked_at=timezone.now())
    assert_refused(client)


def test_a_challenge_does_not_serve_a_second_key(make_client: MakeClient) -> None:
    secret_key = make_client()
    ask(secret_key)
    thief = secret_key.but(
        key=rsa_key("b"), signer=self_signed(rsa_key("b")), csr=_csr_of(secret_key, "b")
    )
    assert_refused(thief)


def test_a_challenge_does_not_serve_a_second_transaction(make_client: MakeClient) -> None:
    client = make_client()
    ask(client)
    assert_refused(client.but(transaction_id="another"))


@pytest.mark.parametrize("secret", ["", "guessed", "nul\0", "ü" * 100])
def test_an_unknown_challenge_is_refused(make_client: MakeClient, secret: str) -> None:
    assert_refused(make_client(secret))


def test_a_request_without_a_challenge_is_refused(make_client: MakeClient) -> None:
    assert_refused(make_client().but(csr=build_csr(rsa_key())))


def test_an_expired_challenge_is_refused(make_client: MakeClient) -> None:
    client = make_client()
    Challenge.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert_refused(client)


def test_a_late_repeat_of_a_finished_transaction_is_answered(make_client: MakeClient) -> None:
    client = make_client()
    first = ask(client)
    Challenge.objects.update(expires_at=timezone.now() - timedelta(days=1))
    EnrollmentLink.objects.update(revoked_at=timezone.now())
    assert ask(client).certificate == first.certificate


def test_revoking_a_link_voids_the_profiles_it_has_handed_out(
    make_client: MakeClient, link: EnrollmentLink, admin: Actor
) -> None:
    client = make_client()
    links.revoke(admin, link)
    assert_refused(client)
    assert uses(link) == 0


def test_a_challenge_does_not_outlive_its_link(make_client: MakeClient, admin: Actor) -> None:
    soon = timezone.now() + timedelta(minutes=5)
    short = links.create(admin, name="Short", expires_at=soon)
    challenges.for_link(short)
    assert Challenge.objects.get(link=short).expires_at == soon


def test_profiles_beyond_the_uses_of_a_link_get_nothing(
    make_client: MakeClient, link: EnrollmentLink
) -> None:
    clients = [make_client(transaction_id=f"t{n}") for n in range(4)]
    for client in clients[:3]:
        assert ask(client).status == "0"
    assert_refused(clients[3])
    assert uses(link) == 3


def test_a_message_that_cannot_be_opened_spends_no_challenge(
    make_client: MakeClient, link: EnrollmentLink
) -> None:
    client = make_client()
    assert ask(client.but(signer_key=rsa_key("b"), key=rsa_key())).status == "2"
    assert uses(link) == 0
    assert ask(client).status == "0"


def test_what_the_request_asks_for_besides_its_key_is_ignored(
    make_client: MakeClient, link: EnrollmentLink
) -> None:
    extensions = (
        x509.BasicConstraints(ca=True, path_length=None),
        x509.SubjectAlternativeName(
            [
                x509.DNSName("mdm.example.com"),
                x509.UniformResourceIdentifier(Binding(Purpose.DEVICE, "ade", "1").to_uri()),
            ]
        ),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
    )
    csr = build_csr(
        rsa_key(), challenges.for_link(link), subject="Device CA", extensions=extensions
    )
    certificate = ask(make_client().but(csr=csr)).certificate
    assert certificate is not None
    found = certificate.extensions
    assert not found.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = found.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.crl_sign) == (False, False)
    assert list(found.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    names = found.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == []
    assert Binding.from_certificate(certificate).way == "link"
    assert "Device CA" not in certificate.subject.rfc4514_string()


def test_the_database_never_holds_the_secret_itself(ca: Authority, link: EnrollmentLink) -> None:
    secret = challenges.for_link(link)
    row = Challenge.objects.values().get()
    assert secret not in str(row)
    assert secret.encode() not in bytes(row["secret_sha256"])


def test_loading_a_link_without_end_keeps_the_table_small(
    link: EnrollmentLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challenges, "MAX_OPEN", 3)
    secrets = [challenges.for_link(link) for _ in range(6)]
    assert Challenge.objects.count() == 3
    newest = challenges.redeem(secrets[-1], "t", b"k")
    assert newest.link == link


def test_expired_challenges_go_when_the_next_one_is_made(
    link: EnrollmentLink, admin: Actor
) -> None:
    challenges.for_link(link)
    Challenge.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    other = links.create(admin, name="Other")
    challenges.for_link(other)
    assert Challenge.objects.get().link == other


def test_a_spent_challenge_is_never_forgotten(
    make_client: MakeClient, link: EnrollmentLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client()
    first = ask(client)
    monkeypatch.setattr(challenges, "MAX_OPEN", 1)
    for _ in range(3):
        challenges.for_link(link)
    assert ask(client).certificate == first.certificate


# --- Renewals ---------------------------------------------------------------------------------


@pytest.fixture
def enrolled(make_client: MakeClient, db: None) -> tuple[Enrollment, x509.Certificate]:
    """An enrollment and the identity that speaks for it."""
    certificate = ask(make_client(key="old")).certificate
    assert certificate is not None
    row = Identity.objects.get()
    enrollment = Enrollment.objects.create(
        key="udid-1",
        device=Device.objects.create(serial_number="C02XX1234"),
        kind=Enrollment.Kind.DEVICE,
        channel=Enrollment.Channel.DEVICE,
        device_identifier="UDID-1",
        state=Enrollment.State.ENROLLED,
        identity_sha256=bytes(row.sha256),
        topic="com.apple.mgmt.External.1",
        access_rights=8191,
    )
    return enrollment, certificate


Enrolled = tuple[Enrollment, x509.Certificate]


def renewal(client: Client, old: x509.Certificate, key: str = "new") -> Client:
    return client.but(
        csr=build_csr(rsa_key(key)),
        signer=old,
        signer_key=rsa_key("old"),
        message_type="17",
        transaction_id=f"renewal-{key}",
    )


def test_an_identity_in_use_is_renewed_for_its_own_enrollment_only(
    make_client: MakeClient, enrolled: Enrolled
) -> None:
    enrollment, old = enrolled
    certificate = ask(renewal(make_client(), old)).certificate
    assert certificate is not None
    binding = Binding.from_certificate(certificate)
    assert (binding.purpose, binding.enrollment) == (Purpose.RENEWAL, "udid-1")
    assert certificate.public_key() == rsa_key("new").public_key()
    assert Identity.objects.latest("id").enrollment == enrollment


def test_a_repeated_renewal_gets_the_same_certificate(
    make_client: MakeClient, enrolled: Enrolled
) -> None:
    client = renewal(make_client(), enrolled[1])
    assert ask(client).certificate == ask(client).certificate
    assert Identity.objects.count() == 2


def test_an_identity_is_not_renewed_without_end(
    make_client: MakeClient, enrolled: Enrolled
) -> None:
    client = renewal(make_client(), enrolled[1])
    for n in range(challenges.MAX_RENEWALS):
        assert ask(client.but(transaction_id=f"r{n}")).status == "0"
    assert_refused(client.but(transaction_id="one too many"))


def test_an_identity_that_speaks_for_nobody_cannot_be_renewed(
    make_client: MakeClient, enrolled: Enrolled
) -> None:
    _, old = enrolled
    Enrollment.objects.update(state=Enrollment.State.CHECKED_OUT)
    assert_refused(renewal(make_client(), old), BAD_CERT_ID)
    Enrollment.objects.update(state=Enrollment.State.ENROLLED, identity_sha256=b"another")
    assert_refused(renewal(make_client(), old), BAD_CERT_ID)


def test_a_revoked_identity_cannot_be_renewed(make_client: MakeClient, enrolled: Enrolled) -> None:
    Identity.objects.update(revoked_at=timezone.now())
    assert_refused(renewal(make_client(), enrolled[1]), BAD_CERT_ID)


def test_a_certificate_that_nobody_issued_cannot_be_renewed(
    make_client: MakeClient, enrolled: Enrolled, ca: Authority
) -> None:
    binding = Binding(Purpose.DEVICE, "link", "1")
    forged = issue_identity(ca, rsa_key("old").public_key(), binding, timezone.now())
    assert_refused(renewal(make_client(), forged), BAD_CERT_ID)


def test_a_renewal_profile_makes_an_identity_for_that_enrollment(
    make_client: MakeClient, enrolled: Enrolled, admin: Actor
) -> None:
    secret = challenges.for_renewal(admin, enrolled[0])
    certificate = ask(make_client(secret, key="new")).certificate
    assert certificate is not None
    assert Binding.from_certificate(certificate).enrollment == "udid-1"


# --- At the same time -------------------------------------------------------------------------


def together(*acts: Callable[[], Answer]) -> list[Answer]:
    """Run all at once, each with its own connection; the answers in no particular order."""
    answers: list[Answer] = []
    gate = threading.Barrier(len(acts))

    def run(act: Callable[[], Answer]) -> None:
        try:
            gate.wait(timeout=20)
            answers.append(act())
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.django_db(transaction=True)
def test_of_two_clients_with_one_challenge_one_wins(
    make_client: MakeClient, link: EnrollmentLink
) -> None:
    first = make_client()
    second = first.but(key=rsa_key("b"), signer=self_signed(rsa_key("b")), csr=_csr_of(first, "b"))
    answers = together(lambda: ask(first), lambda: ask(second))
    assert sorted(answer.status for answer in answers) == ["0", "2"]
    assert (uses(link), Identity.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_a_message_that_arrives_twice_at_once_makes_one_certificate(
    make_client: MakeClient, link: EnrollmentLink
) -> None:
    client = make_client()
    first, second = together(lambda: ask(client), lambda: ask(client))
    assert first.certificate is not None
    assert first.certificate == second.certificate
    assert (uses(link), Identity.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_the_last_use_of_a_link_is_given_once(make_client: MakeClient, admin: Actor) -> None:
    last = links.create(admin, name="One", max_uses=1)
    late = make_client(challenges.for_link(last))
    with finishing_first(lambda: links.count_use(last.pk)):
        answer = ask(late)
    assert (answer.status, answer.fail_info) == ("2", BAD_REQUEST)
    assert uses(last) == 1


@pytest.mark.django_db(transaction=True)
def test_a_challenge_that_is_being_redeemed_is_waited_for(link: EnrollmentLink) -> None:
    secret = challenges.for_link(link)

    def redeem() -> None:
        challenge = challenges.redeem(secret, "first", b"key")
        Challenge.objects.filter(pk=challenge.pk).update(
            used_at=timezone.now(), transaction_id="first", key_sha256=b"key"
        )

    with (
        finishing_first(redeem),
        transaction.atomic(),
        pytest.raises(BadRequest, match="used before"),
    ):
        challenges.redeem(secret, "second", b"another key")
    assert uses(link) == 1


@contextmanager
def finishing_first(act: Callable[[], None]) -> Iterator[None]:
    """`act` is done in a transaction that commits once the block waits for one of its locks."""
    done = threading.Event()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = "

    def run() -> None:
        try:
            with transaction.atomic():
                act()
                done.set()
                blocked, patience = False, time.monotonic() + 20
                while not blocked and time.monotonic() < patience:
                    with connection.cursor() as cursor:
                        cursor.execute(waiting + "current_database()")
                        blocked = cursor.fetchone()[0] > 0
        finally:
            done.set()
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    done.wait(20)
    try:
        yield
    finally:
        thread.join()


def _csr_of(client: Client, key: str) -> bytes:
    """The other client's request, with its challenge, for another key."""
    request = x509.load_der_x509_csr(client.csr)
    oid = x509.oid.AttributeOID.CHALLENGE_PASSWORD
    return build_csr(rsa_key(key), request.attributes.get_attribute_for_oid(oid).value.decode())
