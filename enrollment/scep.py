"""SCEP's transactions: who gets an identity certificate, and the same one again for a repeat.

Messages are read and answers built in `enrollment/wire`; `enrollment/endpoint.py` is the HTTP side.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import transaction
from django.utils import timezone

from enrollment import authority, challenges
from enrollment.models import Challenge
from enrollment.wire import certrep, scep
from enrollment.wire.authority import Authority, issue_identity
from enrollment.wire.errors import BadRequest, ScepError
from mdm.audit.actor import Actor
from mdm.audit.record import record
from mdm.models import Identity


@dataclass(frozen=True, slots=True)
class Reply:
    """A CertRep's bytes, and why it says FAILURE where it does."""

    body: bytes
    refused: ScepError | None = None


def ca_certificate() -> bytes:
    """The answer to GetCACert: our CA's certificate in DER."""
    return authority.current().certificate.public_bytes(Encoding.DER)


def answer(data: bytes) -> Reply:
    """The answer to a PKIOperation. Raises Unreadable where there is no message to answer to."""
    own = authority.current()
    message = scep.read_message(data)
    try:
        request = scep.open_request(message, own)
        certificate = _issue(own, request)
    except ScepError as error:
        return Reply(certrep.failure(own, message, error.fail_info), error)
    return Reply(certrep.success(own, message, request, certificate))


@transaction.atomic
def _issue(own: Authority, request: scep.Request) -> x509.Certificate:
    """All or nothing: the certificate, the challenge spent for it, and the link's use counted."""
    challenge = _permission(request)
    if challenge.identity is not None:
        return _again(challenge.identity)
    binding = challenges.binding(challenge)
    certificate = issue_identity(own, request.public_key, binding, timezone.now())
    der = certificate.public_bytes(Encoding.DER)
    identity = Identity.objects.create(
        sha256=hashlib.sha256(der).digest(),
        certificate=der,
        binding=binding.to_uri(),
        expires_at=certificate.not_valid_after_utc,
        access_rights=challenge.access_rights,
        enrollment=challenge.enrollment,
    )
    challenges.spend(challenge, identity, request.transaction_id, request.key_fingerprint)
    record(
        Actor.device(binding.serial_number or binding.enrollment or f"challenge {challenge.pk}"),
        "identity.issue",
        subject_kind="identity",
        subject_id=identity,
        after={"binding": identity.binding, "link": challenge.link_id},
    )
    return certificate


def _permission(request: scep.Request) -> Challenge:
    if request.message_type is scep.MessageType.PKCS_REQ:
        return challenges.redeem(request.challenge, request.transaction_id, request.key_fingerprint)
    signer = hashlib.sha256(request.signer.public_bytes(Encoding.DER)).digest()
    return challenges.for_signer(signer, request.transaction_id, request.key_fingerprint)


def _again(identity: Identity) -> x509.Certificate:
    if identity.revoked_at is not None:
        raise BadRequest("the certificate of this transaction was revoked")
    return x509.load_der_x509_certificate(bytes(identity.certificate))
