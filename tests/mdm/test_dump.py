"""Whoever has the database and not the key has no secret: each is put in as it comes in, and looked
for in every table.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from django.db import connection

from abm import servers
from abm.wire.server_token import ServerToken
from commands import queue
from enrollment import authority, links
from lab.authority import Authority, Pair
from mdm import secrets
from mdm.accounts import tokens
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.models import Escrow
from mdm.push import certificate
from mdm.webhooks import subscriptions
from tests import machines
from tests.machines import Machine
from tests.mdm.push.conftest import apple
from tests.people import someone

__all__ = ["apple"]

pytestmark = pytest.mark.django_db

ADMIN = Actor.system("test")
PIN = "739184"
UNLOCK = b"the unlock token of a device"
ACCESS = "AS_the_access_secret"


def _tables() -> dict[str, str]:
    """Every table as text, as a dump has it."""
    with connection.cursor() as cursor:
        found = {}
        for name in sorted(connection.introspection.table_names()):
            cursor.execute(f"SELECT coalesce(string_agg(t::text, '|'), '') FROM {name} t")
            (found[name],) = cursor.fetchone()
    return found


def _spellings(secret: bytes) -> set[str]:
    return {
        secret.hex(),
        base64.b64encode(secret).decode().rstrip("=")[:-1],
        secret.decode("ascii", "replace"),
    }


def _numbers(pem: bytes) -> bytes:
    """The middle of a private key, whatever it is wrapped in."""
    key = load_pem_private_key(pem, None)
    der = key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return der[len(der) // 2 :][:40]


def test_a_dump_without_the_key_reveals_no_secret(apple: Authority, tmp_path: Path) -> None:
    machines.install_authority()
    now = datetime.now(UTC)
    pair = apple.issue_push_certificate(
        machines.TOPIC,
        not_before=now - timedelta(days=1),
        not_after=now + timedelta(days=300),
        into=Pair(tmp_path / "push.pem", tmp_path / "push.key"),
    )
    certificate.install(ADMIN, pair.certificate.read_bytes(), pair.key.read_bytes())
    mac = Machine.enrolled(product_name="Mac15,3", os_version="15.1")
    Escrow.objects.update_or_create(
        enrollment=mac.enrollment,
        kind=Escrow.Kind.UNLOCK_TOKEN,
        defaults={"sealed": secrets.seal("unlock_token", UNLOCK), "received_at": now},
    )
    queue.enqueue(
        ADMIN,
        request_type="DeviceLock",
        parameters={"PIN": PIN},
        enrollments=[mac.enrollment.pk],
    )
    server = servers.create(ADMIN, "Office")
    words = {"consumer_key": "CK", "consumer_secret": "CS_the_consumer_secret"}
    token = ServerToken(
        **words,
        access_token="AT_the_access_token",
        access_secret=ACCESS,
        access_token_expiry=datetime.now(UTC) + timedelta(days=300),
    )
    server.sealed_token = secrets.seal("server_token", token.to_json())
    server.save()
    link = links.create(ADMIN, name="Class 7b")
    ada = someone(Role.ADMIN, name="ada")
    ada.set_password("correct horse battery staple")
    ada.save()
    _, text = tokens.create(
        Actor.person(ada), ada, name="x", role=Role.VIEWER, expires_in=timedelta(days=1)
    )
    _, webhook = subscriptions.create(
        ADMIN, name="x", url="https://hook.example/", kinds=["device.*"]
    )
    own = authority.current()
    ca = own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    known = {
        "the push key": _numbers(pair.key.read_bytes()),
        "the CA key": _numbers(ca),
        "an unlock token": UNLOCK,
        "an ABM access secret": ACCESS.encode(),
        "an ABM consumer secret": words["consumer_secret"].encode(),
        "an API token": text.encode(),
        "a link": links.url(link).rstrip("/").rsplit("/", 1)[1].encode(),
        "a webhook's secret": webhook.encode(),
        "a PIN": PIN.encode(),
        "a password": b"correct horse battery staple",
    }

    dump = _tables()

    # The search finds what is not secret.
    assert mac.serial_number in dump["mdm_device"]
    revealed = [
        (secret, table)
        for secret, value in known.items()
        for table, rows in dump.items()
        if any(spelling in rows for spelling in _spellings(value))
    ]
    assert revealed == []
