"""Clients that never finish, at a real granian: they keep nobody waiting, and are given up."""

from __future__ import annotations

import plistlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.utils import timezone

from enrollment.wire.authority import issue_server_certificate
from enrollment.wire.scep import MAX_MESSAGE
from mdm.bodies import MAX_BODY
from mdm.local.ports import Ports
from mdm.models import Refusal
from mdm.patience import THREADS
from tests import granian, machines
from tests.machines import CONNECT, Machine
from tests.mdm.hostile import everything

pytestmark = pytest.mark.django_db(transaction=True)

PATHS = {"/mdm/checkin": "PUT", "/mdm/connect": "PUT", "/scep": "POST", "/accounts/login/": "POST"}
# Far more than lies in the buffers between the two.
LARGE = 16 * 1024 * 1024
# More than there are turns, fewer than threads.
MANY = 24


class Server:
    """The server as clients reach it. Their connections stay open as long as it runs."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self.port, self._stack = port, stack

    def client(self, *, window: int | None = None) -> ssl.SSLSocket:
        plain = socket.socket()
        plain.settimeout(60)
        if window is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        plain.connect(("127.0.0.1", self.port))
        return self._stack.enter_context(ssl._create_unverified_context().wrap_socket(plain))

    def unfinished(self, path: str, framing: str = "Content-Length: 100") -> socket.socket:
        """A client whose body the server has begun to wait for, and that sends only some of it."""
        client = self.client()
        client.sendall(head(path, framing, "Expect: 100-continue"))
        assert client.recv(4096).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"5\r\nhello" if "chunked" in framing else b"hello")
        return client

    def idle(self, machine: Machine) -> bytes:
        """What a device is told that has nothing to do."""
        body = plistlib.dumps({"Status": "Idle", **machine.ids})
        client = self.client()
        signature = f"Mdm-Signature: {machine.sign(body)}"
        length = f"Content-Length: {len(body)}"
        client.sendall(head("/mdm/connect", length, signature, f"Content-Type: {CONNECT}") + body)
        return client.recv(4096)


def head(path: str, *headers: str) -> bytes:
    lines = (f"{PATHS.get(path, 'GET')} {path} HTTP/1.1", "Host: localhost", *headers, "", "")
    return "\r\n".join(lines).encode()


def rest(client: socket.socket) -> bytes:
    """All that the server sends until it ends the connection."""
    got = b""
    try:
        while piece := client.recv(4096):
            got += piece
    except (ConnectionResetError, ssl.SSLError):
        pass
    return got


@pytest.fixture(scope="module")
def patient_port(
    django_db_setup: None, parts: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of a server that waits for a minute, for all tests that do not look at what it
    writes.
    """
    with _running(tmp_path_factory.mktemp("patient"), parts, seconds=60) as port:
        yield port


@pytest.fixture
def patient(transactional_db: None, patient_port: int) -> Iterator[Server]:
    yield from _reached(patient_port)


@pytest.fixture
def server(transactional_db: None, parts: Path, tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own that waits for a second."""
    with _running(tmp_path, parts, seconds=1) as port:
        yield from _reached(port)


def _reached(port: int) -> Iterator[Server]:
    machines.install_authority()
    machines.install_push_certificate()
    with ExitStack() as clients:
        yield Server(port, clients)


@contextmanager
def _running(folder: Path, parts: Path, *, seconds: int) -> Iterator[int]:
    (folder / "static").mkdir()
    (folder / "static" / "large.bin").write_bytes(bytes(LARGE))
    _write_certificate(folder)
    port = Ports.free().devices
    settings = {"GUARD_STATE_DIR": str(folder), "GUARD_BODY_SECONDS": str(seconds)}
    with granian.running(folder, parts, port, **settings):
        yield port


def _write_certificate(folder: Path) -> None:
    own, key = machines.authority(), machines.key(1)
    certificate = issue_server_certificate(own, key.public_key(), ["localhost"], timezone.now())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "granian.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "granian.key").write_bytes(pem)


def chunks(size: int) -> Iterator[bytes]:
    """A body of that size, its end left out."""
    for left in range(size, 0, -0x10000):
        length = min(left, 0x10000)
        yield b"%x\r\n" % length + bytes(length) + b"\r\n"


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_is_given_up_and_changes_nothing(server, framing):
    Machine.enrolled()
    before = everything()

    # More than there are threads: those of the first are free again for the next.
    for _ in range(2):
        clients = {path: server.unfinished(path, framing) for path in list(PATHS)}
        clients |= {number: server.unfinished("/mdm/connect", framing) for number in range(MANY)}
        for client in clients.values():
            assert rest(client).startswith(b"HTTP/1.1 408 ")

    assert everything() == before


def test_what_was_given_up_is_on_the_page_of_refused_arrivals(server):
    assert rest(server.unfinished("/mdm/connect")).startswith(b"HTTP/1.1 408 ")

    assert [row.reason for row in Refusal.objects.all()] == ["body_too_slow"]


def test_many_that_never_finish_their_bodies_keep_no_device_waiting(patient):
    machine = Machine.enrolled()
    for path in list(PATHS) * (MANY // len(PATHS)):
        patient.unfinished(path)

    assert patient.idle(machine).startswith(b"HTTP/1.1 200 ")


def test_many_that_do_not_take_their_answers_keep_no_device_waiting(patient):
    machine = Machine.enrolled()
    for _ in range(MANY):
        client = patient.client(window=4096)
        client.sendall(head("/static/large.bin"))
        assert client.recv(16).startswith(b"HTTP/1.1 200 ")

    assert patient.idle(machine).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_goes_leaves_its_thread_to_others(patient):
    for _ in range(THREADS + 1):
        patient.unfinished("/mdm/connect").close()


@pytest.mark.parametrize("path", PATHS)
def test_a_chunked_body_without_end_is_too_large(patient, path):
    client = patient.client()
    client.sendall(head(path, "Transfer-Encoding: chunked"))
    for chunk in chunks((MAX_MESSAGE if path == "/scep" else MAX_BODY) + 1):
        client.sendall(chunk)

    assert client.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_chunked_form_is_read(patient):
    client = patient.client()
    client.sendall(
        head("/accounts/login/", "Transfer-Encoding: chunked") + b"3\r\na=b\r\n0\r\n\r\n"
    )

    assert client.recv(4096).startswith(b"HTTP/1.1 403 ")


def test_devices_are_not_offered_http_2(patient):
    offer = ssl._create_unverified_context()
    offer.set_alpn_protocols(["h2", "http/1.1"])
    with offer.wrap_socket(socket.create_connection(("127.0.0.1", patient.port))) as client:
        assert client.selected_alpn_protocol() == "http/1.1"
