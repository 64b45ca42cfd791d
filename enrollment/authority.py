"""Our certificate authority: made at first need, its key sealed in the database.

What its certificates look like is `enrollment/wire/authority.py`.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from enrollment.models import CertificateAuthority
from enrollment.wire.authority import Authority, create_authority
from mdm.audit.actor import Actor
from mdm.audit.record import record
from mdm.secrets import seal, unseal

_PURPOSE = "ca key"
# Any number that no other advisory lock of ours uses: whoever holds it makes the authority.
_MAKING = 0x6361


def current() -> Authority:
    """The authority that issues now; made where there is none yet, once however many ask."""
    row = _active() or _make()
    return _loaded(row.pk, bytes(row.certificate), bytes(row.sealed_key))


def certificate() -> x509.Certificate | None:
    """The certificate of the authority that issues now; None before the first was made."""
    row = CertificateAuthority.objects.filter(active=True).only("certificate").first()
    return x509.load_der_x509_certificate(bytes(row.certificate)) if row else None


def trusted() -> list[x509.Certificate]:
    """Every authority whose identities count, the retired ones too."""
    rows = CertificateAuthority.objects.values_list("certificate", flat=True)
    return [x509.load_der_x509_certificate(bytes(der)) for der in rows]


def _active() -> CertificateAuthority | None:
    return CertificateAuthority.objects.filter(active=True).first()


@transaction.atomic
def _make() -> CertificateAuthority:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_MAKING])
    found = _active()
    if found is not None:
        return found
    made = create_authority(f"{settings.ENV.organization} Device CA"[:64], timezone.now())
    row = CertificateAuthority.objects.create(
        certificate=made.certificate.public_bytes(Encoding.DER),
        sealed_key=seal(
            _PURPOSE, made.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        ),
    )
    record(
        Actor.system("first start"),
        "authority.create",
        subject_kind="certificate_authority",
        subject_id=row.pk,
        after={"subject": made.certificate.subject.rfc4514_string()},
    )
    return row


@lru_cache(maxsize=4)
def _loaded(pk: int, certificate: bytes, sealed_key: bytes) -> Authority:
    """Opening an RSA key costs more than everything else in a request."""
    key = load_der_private_key(unseal(_PURPOSE, sealed_key), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"certificate authority {pk} has a key that is not RSA")
    return Authority(x509.load_der_x509_certificate(certificate), key)
