"""`manage.py devices_certificate`: the files that the devices' port is served with."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from enrollment.models import CertificateAuthority
from enrollment.wire.authority import Authority, issue_server_certificate
from tests.enrollment.scep_client import rsa_key

FILES = ("server.pem", "server.key", "ca.pem")


@pytest.fixture
def folder(ca: Authority, settings: Settings, tmp_path: Path) -> Path:
    url = "https://mdm.example.com:8443"
    settings.ENV = replace(settings.ENV, state_dir=tmp_path, public_url=url)
    call_command("devices_certificate", verbosity=0)
    return tmp_path / "tls"


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def run() -> None:
    call_command("devices_certificate", verbosity=0)


@pytest.mark.parametrize("host", ["mdm.example.com", "localhost", "127.0.0.1"])
def test_a_client_that_trusts_our_ca_connects(folder: Path, host: str) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    client = ssl.create_default_context(cafile=folder / "ca.pem")
    near, far = socket.socketpair()
    thread = threading.Thread(target=lambda: server.wrap_socket(far, server_side=True).recv(1))
    thread.start()
    with client.wrap_socket(near, server_hostname=host) as connected:
        names = connected.getpeercert()["subjectAltName"]  # type: ignore[index]
        assert ("DNS", "mdm.example.com") in names
        connected.send(b".")
    thread.join()
    far.close()


def test_only_the_owner_reads_the_key(folder: Path) -> None:
    assert stat.S_IMODE((folder / "server.key").stat().st_mode) == 0o600


def test_a_good_certificate_is_left_alone(folder: Path) -> None:
    before = contents(folder)
    run()
    assert contents(folder) == before


def _expires_soon(folder: Path, ca: Authority, settings: Settings) -> None:
    then = timezone.now() - timedelta(days=370)
    hosts = ["mdm.example.com", "localhost", "127.0.0.1", "::1"]
    key = load_pem_private_key((folder / "server.key").read_bytes(), None).public_key()
    aged = issue_server_certificate(ca, key, hosts, then)  # type: ignore[arg-type]
    (folder / "server.pem").write_bytes(aged.public_bytes(Encoding.PEM))


def _moved(folder: Path, ca: Authority, settings: Settings) -> None:
    settings.ENV = replace(settings.ENV, public_url="https://new.example.com")


def _new_authority(folder: Path, ca: Authority, settings: Settings) -> None:
    CertificateAuthority.objects.update(active=False)


def _cut_short(folder: Path, ca: Authority, settings: Settings) -> None:
    (folder / "server.key").write_bytes(b"")


def _other_key(folder: Path, ca: Authority, settings: Settings) -> None:
    other = rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.key").write_bytes(other)


def _gone(folder: Path, ca: Authority, settings: Settings) -> None:
    (folder / "ca.pem").unlink()


@pytest.mark.parametrize(
    "change", [_expires_soon, _moved, _new_authority, _cut_short, _other_key, _gone]
)
def test_a_certificate_that_no_longer_fits_is_made_anew(
    folder: Path,
    ca: Authority,
    settings: Settings,
    change: Callable[[Path, Authority, Settings], None],
) -> None:
    before = contents(folder)[0]
    change(folder, ca, settings)
    run()
    made = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
    assert contents(folder)[0] != before
    assert made.not_valid_after_utc - timezone.now() > timedelta(days=390)
    after = contents(folder)
    run()
    assert contents(folder) == after
