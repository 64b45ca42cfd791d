"""The CA: made once, kept sealed, trusted by the core."""

from __future__ import annotations

import threading

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from enrollment import authority
from enrollment.models import CertificateAuthority
from enrollment.wire.authority import Authority, issue_identity
from mdm import identity
from mdm.audit.models import AuditEvent
from mdm.protocol.binding import Binding, Purpose
from mdm.protocol.signature import SignerCertificate
from mdm.refusals import Refused
from mdm.secrets import Unsealable, unseal
from tests.enrollment.scep_client import rsa_key

BINDING = Binding(Purpose.DEVICE, "link", "1")


@pytest.mark.django_db(transaction=True)
def test_processes_that_start_together_make_one_authority() -> None:
    found: list[Authority] = []
    gate = threading.Barrier(3)

    def start() -> None:
        try:
            gate.wait(timeout=20)
            found.append(authority.current())
        finally:
            connection.close()

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a.certificate for a in found] == [found[0].certificate] * 3
    assert CertificateAuthority.objects.count() == 1
    assert AuditEvent.objects.filter(action="authority.create").count() == 1


def test_only_one_authority_can_be_active(ca: Authority) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        CertificateAuthority.objects.create(certificate=b"", sealed_key=b"")


def test_the_key_is_kept_sealed(ca: Authority) -> None:
    sealed = bytes(CertificateAuthority.objects.get().sealed_key)
    der = ca.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert der[40:80] not in sealed
    assert unseal("ca key", sealed) == der
    with pytest.raises(Unsealable):
        unseal("command", sealed)


def test_the_core_trusts_what_it_issued_and_nothing_else(ca: Authority) -> None:
    own = issue_identity(ca, rsa_key().public_key(), BINDING, timezone.now())
    assert identity.issued(SignerCertificate(own.public_bytes(Encoding.DER))).binding == BINDING
    impostor = Authority(ca.certificate, rsa_key("impostor"))
    forged = issue_identity(impostor, rsa_key().public_key(), BINDING, timezone.now())
    with pytest.raises(Refused, match="not from our authority"):
        identity.issued(SignerCertificate(forged.public_bytes(Encoding.DER)))


def test_a_retired_authority_issues_no_more_but_stays_trusted(ca: Authority) -> None:
    CertificateAuthority.objects.update(active=False)
    assert authority.current().certificate != ca.certificate
    assert ca.certificate in authority.trusted()
