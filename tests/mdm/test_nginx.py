"""A real nginx ends the devices' TLS in front of a real granian, and no client can speak for it."""

from __future__ import annotations

import http.client
import os
import plistlib
import shutil
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.utils import timezone

from commands import queue
from enrollment.wire.authority import issue_server_certificate
from mdm.audit.actor import Actor
from mdm.endpoints import MAX_BODY
from mdm.local.ports import Ports, answers
from mdm.local.processes import Child
from mdm.models import Enrollment
from tests import granian, machines
from tests.machines import CHECKIN, CONNECT, Machine

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed"),
]

CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 64m;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
        {verify}
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_set_header Host $host;
            proxy_set_header X-Client-Cert $ssl_client_escaped_cert;
        }}
    }}
}}
"""
VERIFY = {
    "any certificate": "ssl_verify_client optional_no_ca;",
    "our authority's": "ssl_verify_client optional; ssl_client_certificate {folder}/ca.pem;",
}


@pytest.fixture(params=VERIFY)
def front(request, transactional_db, parts: Path, tmp_path: Path) -> Iterator[Front]:
    machines.install_authority()
    machines.install_push_certificate()
    ports = Ports.free()
    _write_certificates(tmp_path)
    folder = str(tmp_path)
    text = CONFIGURATION.format(
        folder=folder,
        port=ports.devices,
        behind=ports.people,
        verify=VERIFY[request.param].format(folder=folder),
        user="user root;" if os.getuid() == 0 else "",
    )
    (tmp_path / "nginx.conf").write_text(text)
    trust = {"GUARD_IDENTITY_MODE": "nginx", "GUARD_TRUSTED_PROXIES": "127.0.0.1"}
    nginx = _nginx(tmp_path, ports.devices)
    with granian.running(tmp_path, parts, ports.people, nginx, **trust):
        yield Front(tmp_path, ports)


class Front:
    """nginx as devices reach it."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self._folder, self.ports = folder, ports

    def put(self, machine: Machine | None, message: dict, **headers: str) -> tuple[int, bytes]:
        """Send the message over TLS with the machine's certificate, if any."""
        body = plistlib.dumps(message)
        content_type = CONNECT if "Status" in message else CHECKIN
        context = ssl.create_default_context(cafile=str(self._folder / "ca.pem"))
        if machine is not None:
            context.load_cert_chain(self._identity(machine))
        client = http.client.HTTPSConnection("localhost", self.ports.devices, context=context)
        try:
            client.putrequest("PUT", "/mdm/connect")
            client.putheader("Content-Type", content_type)
            client.putheader("Content-Length", str(len(body)))
            for name, value in headers.items():
                client.putheader(name, value)
            client.endheaders(body)
            response = client.getresponse()
            return response.status, response.read()
        finally:
            client.close()

    def enrolled(self) -> Machine:
        machine = Machine.new()
        ids = {"Topic": machine.topic, **machine.ids}
        begin = {"MessageType": "Authenticate", "SerialNumber": machine.serial_number, **ids}
        assert self.put(machine, begin) == (200, b"")
        token = {"MessageType": "TokenUpdate", "Token": b"t", "PushMagic": "m", **ids}
        assert self.put(machine, token) == (200, b"")
        return machine

    def _identity(self, machine: Machine) -> Path:
        path = self._folder / f"{machine.udid}.pem"
        path.write_bytes(
            machine.certificate.public_bytes(Encoding.PEM) + _pem(machines.key(machine.key_number))
        )
        return path


def _nginx(folder: Path, port: int) -> Child:
    command = ("nginx", "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf"))
    return Child("nginx", command, ready=lambda: answers(port, tls=True))


def _write_certificates(folder: Path) -> None:
    own, key = machines.authority(), machines.key(1)
    hosts = ["localhost", "127.0.0.1"]
    certificate = issue_server_certificate(own, key.public_key(), hosts, timezone.now())
    (folder / "ca.pem").write_bytes(own.certificate.public_bytes(Encoding.PEM))
    (folder / "server.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "server.key").write_bytes(_pem(key))


def _pem(key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_device_enrolls_and_is_handed_its_command_through_nginx(front):
    machine = front.enrolled()
    queue.enqueue(
        Actor.system("test"),
        request_type="ProfileList",
        parameters={},
        enrollments=[machine.enrollment.pk],
    )

    status, body = front.put(machine, {"Status": "Idle", **machine.ids})

    assert status == 200
    assert plistlib.loads(body)["Command"] == {"RequestType": "ProfileList"}


def test_no_header_of_a_client_passes_for_the_word_of_nginx(front):
    victim, thief = front.enrolled(), front.enrolled()
    stolen = quote(victim.certificate.public_bytes(Encoding.PEM).decode(), safe="")
    check_out = {"MessageType": "CheckOut", "Topic": victim.topic, **victim.ids}

    for name in ("X-Client-Cert", "x-client-cert", "X_Client_Cert", "X-Client_Cert"):
        assert front.put(thief, check_out, **{name: stolen}) == (403, b"")
        assert front.put(None, check_out, **{name: stolen}) == (400, b"")

    assert set(Enrollment.objects.values_list("state", flat=True)) == {"Enrolled"}


@pytest.mark.parametrize("front", ["our authority's"], indirect=True)
def test_a_chunked_body_without_end_is_refused_by_granian_too(front):
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", front.ports.people), timeout=60) as client:
        client.sendall(
            b"PUT /mdm/checkin HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(MAX_BODY // 0x10000 + 1):
            client.sendall(chunk)
        assert client.recv(4096).startswith(b"HTTP/1.1 413 ")

    machine = front.enrolled()
    assert front.put(machine, {"Status": "Idle", **machine.ids}) == (200, b"")
