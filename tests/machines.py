"""Devices as tests need them: they speak to the real WSGI application, signing each request.

The lab's devices (lab/devices) play whole stories over sockets; these say exactly one thing.
"""

from __future__ import annotations

import io
import plistlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection
from django.utils import timezone

from enrollment.models import CertificateAuthority
from enrollment.wire.authority import Authority, create_authority, issue_identity
from lab.signing import mdm_signature
from mdm.models import Enrollment, Identity, PushCertificate
from mdm.protocol.binding import Binding, Purpose
from mdm.secrets import seal

TOPIC = "com.apple.mgmt.External.5f3b2a44-0000-4000-8000-0123456789ab"
CHECKIN = "application/x-apple-aspen-mdm-checkin"
CONNECT = "application/x-apple-aspen-mdm; charset=UTF-8"


@dataclass(frozen=True)
class Answered:
    """What the server said: `plist` is the body read, None where it is empty."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def plist(self) -> dict | None:
        return plistlib.loads(self.body) if self.body else None

    @property
    def command(self) -> str | None:
        """The RequestType handed out."""
        return self.plist["Command"]["RequestType"] if self.body else None


def put(path: str, body: bytes, content_type: str = CHECKIN, **environ: str) -> Answered:
    """One request through the real WSGI application."""
    from mdm.wsgi import application

    return call(application, "PUT", path, body, content_type, **environ)


def call(application, method, path, body=b"", content_type="", **environ) -> Answered:
    got: dict = {}

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        got["status"], got["headers"] = int(status[:3]), dict(headers)

    path, _, query = path.partition("?")
    with _test_transaction_kept():
        chunks = application(
            {
                "REQUEST_METHOD": method,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "SERVER_NAME": "localhost",
                "SERVER_PORT": "8443",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "REMOTE_ADDR": "127.0.0.1",
                "CONTENT_TYPE": content_type,
                "CONTENT_LENGTH": str(len(body)),
                "wsgi.input": io.BytesIO(body),
                "wsgi.errors": io.StringIO(),
                "wsgi.url_scheme": "https",
                **environ,
            },
            start_response,
        )
    return Answered(got["status"], got["headers"], b"".join(chunks))


@contextmanager
def _test_transaction_kept() -> Iterator[None]:
    """As Django's test client does: inside a test's transaction the connection is not closed."""
    kept = connection.in_atomic_block
    if kept:
        request_started.disconnect(close_old_connections)
        request_finished.disconnect(close_old_connections)
    try:
        yield
    finally:
        if kept:
            request_started.connect(close_old_connections)
            request_finished.connect(close_old_connections)


@cache
def authority() -> Authority:
    """The authority of this test run: making its key takes longer than most tests."""
    return create_authority("Test Device CA", timezone.now() - timedelta(days=1))


@cache
def key(number: int = 0) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def install_authority(own: Authority | None = None) -> CertificateAuthority:
    own = own or authority()
    der = own.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return CertificateAuthority.objects.create(
        certificate=own.certificate.public_bytes(Encoding.DER), sealed_key=seal("ca key", der)
    )


def install_push_certificate(topic: str = TOPIC) -> PushCertificate:
    now = timezone.now()
    return PushCertificate.objects.create(
        topic=topic,
        certificate="",
        sealed_key=seal("push_key", b"-"),
        serial="1",
        not_before=now,
        not_after=now + timedelta(days=365),
        active=not PushCertificate.objects.exists(),
    )


def issue(
    binding: Binding | None = None,
    *,
    own: Authority | None = None,
    key_number: int = 0,
    lifetime: timedelta = timedelta(days=365),
    known: bool = True,
) -> x509.Certificate:
    """An identity from our authority; `known` ones have a row, as issued ones do."""
    binding = binding or Binding(Purpose.DEVICE, "link", f"challenge-{uuid.uuid4()}")
    now = timezone.now() - timedelta(hours=1)
    certificate = issue_identity(
        own or authority(), key(key_number).public_key(), binding, now, lifetime
    )
    if known:
        der = certificate.public_bytes(Encoding.DER)
        Identity.objects.create(
            sha256=_sha256(der),
            certificate=der,
            binding=binding.to_uri(),
            expires_at=certificate.not_valid_after_utc,
            access_rights=8191,
        )
    return certificate


def _sha256(data: bytes) -> bytes:
    import hashlib

    return hashlib.sha256(data).digest()


@dataclass
class Machine:
    """A device with an identity of its own."""

    certificate: x509.Certificate
    udid: str = field(default_factory=lambda: str(uuid.uuid4()).upper())
    serial_number: str | None = field(default_factory=lambda: f"C02{uuid.uuid4().hex[:9].upper()}")
    product_name: str = "iPhone15,2"
    os_version: str = "26.1"
    key_number: int = 0
    digest: str = "sha256"
    topic: str = TOPIC

    @classmethod
    def new(cls, **given) -> Machine:
        return cls(certificate=given.pop("certificate", None) or issue(), **given)

    @classmethod
    def enrolled(cls, **given) -> Machine:
        machine = cls.new(**given)
        assert machine.authenticate().status == 200
        assert machine.token_update().status == 200
        return machine

    @property
    def enrollment(self) -> Enrollment:
        return Enrollment.objects.get(key=self.udid.lower())

    @property
    def ids(self) -> dict[str, str]:
        return {"UDID": self.udid}

    def say(self, message: dict, *, content_type: str = CHECKIN, path="/mdm/checkin") -> Answered:
        body = plistlib.dumps(message)
        return put(path, body, content_type, HTTP_MDM_SIGNATURE=self.sign(body))

    def sign(self, body: bytes) -> str:
        return mdm_signature(body, self.certificate, key(self.key_number), self.digest)

    def authenticate(self, **more) -> Answered:
        message = {
            "MessageType": "Authenticate",
            "Topic": self.topic,
            "ProductName": self.product_name,
            "OSVersion": self.os_version,
            "BuildVersion": "23B85",
            "DeviceName": "Test device",
            **self.ids,
            **more,
        }
        if self.serial_number:
            message["SerialNumber"] = self.serial_number
        return self.say(message)

    def token_update(self, **more) -> Answered:
        return self.say(
            {
                "MessageType": "TokenUpdate",
                "Topic": self.topic,
                "Token": b"\x01" * 32,
                "PushMagic": "magic",
                **self.ids,
                **more,
            }
        )

    def check_in(self, message_type: str, **more) -> Answered:
        return self.say({"MessageType": message_type, **self.ids, **more})

    def connect(self, status: str = "Idle", command_uuid: object = None, **more) -> Answered:
        message = {"Status": status, **self.ids, **more}
        if command_uuid is not None:
            message["CommandUUID"] = str(command_uuid)
        return self.say(message, content_type=CONNECT, path="/mdm/connect")

    def idle(self) -> Answered:
        return self.connect()
