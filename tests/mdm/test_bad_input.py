"""Bad input at the devices' endpoints: a clean 4xx, bounded memory, nothing changed.

What each reader refuses is held by the tests of `mdm/protocol`; here the whole server is.
"""

from __future__ import annotations

import ctypes
import io
import plistlib
import tracemalloc
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdm import bodies, refusals
from mdm.bodies import MAX_BODY
from mdm.models import Enrollment
from mdm.wsgi import application
from tests import machines
from tests.enrollment.scep_client import Client, build_csr, rsa_key
from tests.machines import CONNECT, Answered
from tests.mdm.bombs import bombs, large_bombs
from tests.mdm.hostile import ENDPOINTS, EXAMPLES, enrolled_mac, everything, is_clean, send
from tests.mdm.protocol.plists import damaged

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def server(db):
    machines.install_authority()
    machines.install_push_certificate()
    refusals.tally.__init__()


# --- Bombs


@pytest.mark.parametrize("path", ENDPOINTS)
def test_no_bomb_changes_anything_though_it_is_signed(path):
    machine, messages = enrolled_mac()
    corpus = bombs(messages[path])
    before = everything()

    answers = {name: send(path, body, machine.sign(body)) for name, body in corpus.items()}

    assert {name: answer.status for name, answer in answers.items() if not is_clean(answer)} == {}
    assert {answer.status for answer in answers.values()} == {400}
    assert everything() == before


@pytest.mark.parametrize("path", [*ENDPOINTS, "/scep?operation=PKIOperation"])
def test_no_bomb_is_read_where_nobody_signed_it(path):
    machine, _ = enrolled_mac()
    corpus = bombs({"MessageType": "CheckOut", "Topic": machine.topic, **machine.ids})
    before = everything()

    method = "POST" if "scep" in path else "PUT"
    answers = {
        name: machines.call(application, method, path, body, ENDPOINTS.get(path, ""))
        for name, body in corpus.items()
    }

    assert {name: answer.status for name, answer in answers.items() if not is_clean(answer)} == {}
    assert everything() == before


def peak_of(act) -> int:
    """How much more memory this process held at once while `act` ran."""
    # Memory that is free but was not given back would hide what is taken now.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    act()
    return _memory("VmHWM") - before


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_what_a_body_may_cost_is_bounded():
    machine, messages = enrolled_mac()
    path = "/mdm/connect"
    before = everything()
    peaks: dict[str, int] = {}

    for name, body in large_bombs(messages[path]).items():
        signature = machine.sign(body)
        answers: list[Answered] = []
        peaks[name] = peak_of(lambda: answers.append(send(path, body, signature)))  # noqa: B023
        assert is_clean(answers[0]), name

    assert {name: peak >> 20 for name, peak in peaks.items() if peak > 160 << 20} == {}
    assert everything() == before


def test_a_long_body_is_not_held_in_memory_until_it_is_worked_on():
    source = io.BytesIO(bytes(MAX_BODY))
    environ = {
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_PORT": "8443",
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input": source,
    }
    kept: list[IO[bytes]] = []

    # What Python itself hands out: the process's memory also holds what others took meanwhile.
    tracemalloc.start()
    try:
        kept.append(bodies.read(environ))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (bodies.size(kept[0]), peak >> 22) == (MAX_BODY, 0)


# --- Lengths


class Endless(io.RawIOBase):
    """A body that never ends; it notes how much of it was asked for."""

    asked = 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0
        self.asked += size
        return b"x" * size


@pytest.mark.parametrize("path", [*ENDPOINTS, "/scep"])
@pytest.mark.parametrize(
    "framing",
    [
        {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"},
        {"CONTENT_LENGTH": "100000000"},
        {"CONTENT_LENGTH": "9" * 19},
    ],
)
def test_no_more_is_read_than_a_message_may_have(path, framing):
    body = Endless()

    answered = send(path, b"", None, **framing, **{"wsgi.input": body})

    assert answered.status in {405, 413}
    assert body.asked <= MAX_BODY + 1


@pytest.mark.parametrize("declared", ["-1", "+5", "5.0", "0x10", "²", "٣", "1" * 5000, "5,5", "a"])
@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_length_that_is_none_is_a_bad_request(path, declared):
    assert send(path, b"hello", None, CONTENT_LENGTH=declared).status == 400


def test_a_body_shorter_or_longer_than_declared_changes_nothing():
    machine, messages = enrolled_mac()
    before = everything()
    for path, message in messages.items():
        body = plistlib.dumps(message)
        signature = machine.sign(body)
        for declared in (0, 1, len(body) - 1, len(body) + 1, 10 * len(body)):
            answered = send(path, body, signature, CONTENT_LENGTH=str(declared))
            assert answered.status == 400
    assert everything() == before


def test_a_chunked_body_has_no_length_and_is_read():
    machine, _ = enrolled_mac()
    body = plistlib.dumps({"Status": "Idle", **machine.ids})

    chunked = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    answered = send("/mdm/connect", body, machine.sign(body), **chunked)

    assert answered.command == "DeviceInformation"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE"])
@pytest.mark.parametrize("path", ENDPOINTS)
def test_other_methods_are_named_as_such(method, path):
    assert machines.call(application, method, path).status == 405


@pytest.mark.parametrize(
    "path", ["/mdm/connect/", "/mdm/CONNECT", "/mdm/", "/mdm/checkin/x", "//mdm/connect", "/scep/"]
)
def test_an_address_beside_ours_never_ends_anybodys_management(path, settings):
    plain = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": plain}}
    machine, _ = enrolled_mac()
    body = plistlib.dumps({"Status": "Idle", **machine.ids})

    answered = machines.put(path, body, CONNECT, HTTP_MDM_SIGNATURE=machine.sign(body))

    assert answered.status in {403, 404, 405}


# --- Bodies of any kind


@pytest.mark.parametrize("path", ENDPOINTS)
def test_no_bytes_are_an_error_of_ours(path):
    machine, _ = enrolled_mac()
    before = everything()

    @EXAMPLES
    @given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda b: b"bplist00" + b))
    def each(body: bytes) -> None:
        assert is_clean(send(path, body, machine.sign(body)))

    each()
    assert everything() == before


@pytest.mark.parametrize("format", [plistlib.FMT_XML, plistlib.FMT_BINARY])
@pytest.mark.parametrize("path", ENDPOINTS)
def test_no_damaged_message_is_an_error_of_ours(path, format):
    machine, messages = enrolled_mac()
    whole = [plistlib.dumps(message, fmt=format) for message in messages.values()]
    whole.append(plistlib.dumps({"MessageType": "GetToken", **machine.ids}, fmt=format))

    @EXAMPLES
    @given(damaged(whole))
    def each(body: bytes) -> None:
        answered = send(path, body, machine.sign(body))
        assert is_clean(answered) or answered.status == 200

    each()
    assert set(Enrollment.objects.values_list("device_identifier", flat=True)) == {machine.udid}


# --- SCEP


def test_no_damaged_scep_request_is_an_error_of_ours():
    client = Client(
        machines.authority().certificate, rsa_key(), build_csr(rsa_key(), "no challenge of ours")
    )
    before = everything()

    @EXAMPLES
    @given(damaged([client.message(), client.but(message_type="17").message()]))
    def each(body: bytes) -> None:
        answered = machines.call(application, "POST", "/scep?operation=PKIOperation", body)
        # A failure that the client can read is a 200 (RFC 8894, section 4.1).
        assert is_clean(answered) or (answered.status == 200 and answered.body)

    each()
    assert everything() == before
