"""A fleet for measuring: enrolled devices as rows, and their requests signed beforehand.

Keys are shared (what a key costs is the device's business); every device has a certificate and an
enrollment of its own.
"""

from __future__ import annotations

import base64
import hashlib
import plistlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import connection
from django.utils import timezone

from enrollment import authority
from enrollment.wire.authority import issue_identity
from lab.signing import mdm_signature
from mdm.models import Identity, PushCertificate
from mdm.protocol.binding import Binding, Purpose
from mdm.secrets import seal

TOPIC = "com.apple.mgmt.External.00000000-0000-4000-8000-00000000beef"
CHECKIN = "application/x-apple-aspen-mdm-checkin"
CONNECT = "application/x-apple-aspen-mdm; charset=UTF-8"


@dataclass(frozen=True)
class Bench:
    """One device: its id, its certificate and how it proves to hold it."""

    udid: str
    serial_number: str
    certificate: x509.Certificate
    der: bytes
    key: rsa.RSAPrivateKey

    def request(self, path: str, content_type: str, message: dict, mode: str) -> bytes:
        body = plistlib.dumps({"UDID": self.udid, **message})
        if mode == "mdm-signature":
            proof = f"Mdm-Signature: {mdm_signature(body, self.certificate, self.key)}"
        else:
            proof = f"Client-Cert: :{base64.b64encode(self.der).decode()}:"
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
            f"{proof}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def idle(self, mode: str) -> bytes:
        return self.request("/mdm/connect", CONNECT, {"Status": "Idle"}, mode)

    def acknowledge(self, command_uuid: uuid.UUID, mode: str, **more: object) -> bytes:
        message = {"Status": "Acknowledged", "CommandUUID": str(command_uuid).upper(), **more}
        return self.request("/mdm/connect", CONNECT, message, mode)

    def authenticate(self, mode: str) -> bytes:
        message = {
            "MessageType": "Authenticate",
            "Topic": TOPIC,
            "SerialNumber": self.serial_number,
            "ProductName": "iPhone15,2",
            "OSVersion": "26.1",
            "BuildVersion": "23B85",
            "DeviceName": "iPhone",
        }
        return self.request("/mdm/checkin", CHECKIN, message, mode)

    def token_update(self, mode: str) -> bytes:
        message = {
            "MessageType": "TokenUpdate",
            "Topic": TOPIC,
            "Token": hashlib.sha256(self.udid.encode()).digest(),
            "PushMagic": str(uuid.uuid4()).upper(),
            "UnlockToken": b"u" * 2000,
        }
        return self.request("/mdm/checkin", CHECKIN, message, mode)


def keys(count: int = 4) -> list[rsa.RSAPrivateKey]:
    return [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(count)]


def certify(count: int, of: list[rsa.RSAPrivateKey]) -> list[Bench]:
    """New devices with issued identities, as they stand after SCEP."""
    own, now = authority.current(), timezone.now() - timedelta(minutes=5)
    devices, rows = [], []
    for number in range(count):
        key = of[number % len(of)]
        binding = Binding(Purpose.DEVICE, "link", str(uuid.uuid4()))
        certificate = issue_identity(own, key.public_key(), binding, now)
        der = certificate.public_bytes(Encoding.DER)
        udid = str(uuid.uuid4()).upper()
        devices.append(Bench(udid, f"B{uuid.uuid4().hex[:11].upper()}", certificate, der, key))
        rows.append(
            Identity(
                sha256=hashlib.sha256(der).digest(),
                certificate=der,
                binding=binding.to_uri(),
                expires_at=certificate.not_valid_after_utc,
                access_rights=8191,
            )
        )
    Identity.objects.bulk_create(rows, batch_size=2000)
    return devices


def enroll(devices: Iterable[Bench]) -> list[int]:
    """Make these devices enrolled by rows; returns their enrollments' ids in order."""
    listed = list(devices)
    with connection.cursor() as cursor:
        cursor.execute(
            _ENROLL,
            {
                "udids": [device.udid for device in listed],
                "serials": [device.serial_number for device in listed],
                "identities": [hashlib.sha256(device.der).digest() for device in listed],
                "topic": TOPIC,
                "token": seal("push_token", b"t" * 32),
            },
        )
        cursor.execute("ANALYZE mdm_enrollment, mdm_device, mdm_enrollmentperiod")
        cursor.execute(
            "SELECT e.id FROM unnest(%s::text[]) WITH ORDINALITY u (key, n)"
            " JOIN mdm_enrollment e ON e.key = lower(u.key) ORDER BY n",
            [[device.udid for device in listed]],
        )
        return [row[0] for row in cursor.fetchall()]


def crowd(count: int) -> list[int]:
    """Enrollments that nobody speaks for, to fill the tables."""
    with connection.cursor() as cursor:
        cursor.execute(
            _CROWD, {"count": count, "topic": TOPIC, "token": seal("push_token", b"t" * 32)}
        )
        ids = [row[0] for row in cursor.fetchall()]
        cursor.execute("VACUUM ANALYZE mdm_enrollment")
        cursor.execute("VACUUM ANALYZE mdm_device")
    return ids


def history(enrollments: list[int], count: int) -> None:
    """`count` finished commands with their replies, spread over these enrollments."""
    with connection.cursor() as cursor:
        cursor.execute(
            _HISTORY, {"ids": enrollments, "count": count, "body": seal("reply", b"x" * 400)}
        )
        for table in ("commands_queueentry", "commands_reply", "commands_command"):
            cursor.execute(f"VACUUM ANALYZE {table}")


def push_certificate() -> None:
    """A topic to belong to; pushes themselves are not measured here."""
    now = timezone.now()
    if not PushCertificate.objects.exists():
        PushCertificate.objects.create(
            topic=TOPIC,
            certificate="",
            sealed_key=seal("push_key", b"-"),
            serial="1",
            not_before=now,
            not_after=now + timedelta(days=365),
        )


_ROWS = """
, device AS (
    INSERT INTO mdm_device (serial_number, udid, platform, device_name, product_name, model,
                            model_name, os_version, build_version, imei, meid)
    SELECT serial, udid, 'iOS', 'iPhone', 'iPhone15,2', '', 'iPhone', '26.1', '23B85', '', ''
    FROM given
    RETURNING id, udid
)
INSERT INTO mdm_enrollment
    (key, device_id, kind, channel, device_identifier, user_identifier, user_short_name,
     user_long_name, state, identity_sha256, access_rights, awaiting_configuration,
     not_on_console, authenticated_at, enrolled_at, last_seen_at, inventory_asked_at, topic,
     push_magic, sealed_push_token, token_updated_at, wake_attempts, push_problem)
SELECT lower(d.udid), d.id, 'device', 'device', d.udid, '', '', '', 'Enrolled', g.identity, 8191,
       false, false, now(), now(), now(), now(), %(topic)s, 'magic', %(token)s, now(), 0, ''
FROM device d JOIN given g USING (udid)
RETURNING id
"""

_ENROLL = (
    """
WITH given AS (
    SELECT * FROM unnest(%(udids)s::text[], %(serials)s::text[], %(identities)s::bytea[])
         AS g (udid, serial, identity)
)"""
    + _ROWS
)

_CROWD = (
    """
WITH given AS (
    SELECT upper(gen_random_uuid()::text) AS udid,
           'X' || upper(substr(md5(random()::text || n), 1, 11)) AS serial,
           sha256(n::text::bytea) AS identity
    FROM generate_series(1, %(count)s) n
)"""
    + _ROWS
)

_HISTORY = """
WITH made AS (
    INSERT INTO commands_command (uuid, request_type, parameters, destructive, asked_by)
    SELECT gen_random_uuid(), 'DeviceInformation', '{}', false, 'bench'
    FROM generate_series(1, GREATEST(1, %(count)s / cardinality(%(ids)s::bigint[])))
    RETURNING id, uuid
), entries AS (
    INSERT INTO commands_queueentry
        (enrollment_id, command_id, command_uuid, state, priority, sent_at, finished_at)
    SELECT e, m.id, m.uuid, 'Acknowledged', 0, now(), now()
    FROM made m CROSS JOIN unnest(%(ids)s::bigint[]) e
    RETURNING enrollment_id, command_uuid
)
INSERT INTO commands_reply (enrollment_id, command_uuid, status, sealed_body, drained_at)
SELECT enrollment_id, command_uuid, 'Acknowledged', %(body)s, now() FROM entries
"""
