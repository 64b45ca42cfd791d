"""Clients that are waited for: how long, and whose connection ends then."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from mdm import patience
from mdm.local.environment import ROOT
from mdm.local.server import WEB_OPTIONS
from mdm.patience import THREADS, Wait
from tests.e2e.waiting import until


@pytest.mark.parametrize(
    ("seconds", "waiting", "patience"),
    [
        (60, 0, 60),
        (60, THREADS // 2, 30),
        (60, THREADS, 5),
        (60, 2 * THREADS, 5),
        (1, 0, 1),
        (1, THREADS, 1),
    ],
)
def test_the_fewer_threads_are_free_the_sooner_a_client_is_late(seconds, waiting, patience):
    wait = Wait({"REMOTE_ADDR": "192.0.2.1", "SERVER_PORT": "443"}, seconds)

    assert not wait.late(wait.since + patience - 0.1, waiting)
    assert wait.late(wait.since + patience + 0.1, waiting)


@pytest.fixture(params=[("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")])
def pair(request) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and our side of its connection, both in this process."""
    here, there = request.param
    family = socket.AF_INET6 if ":" in here else socket.AF_INET
    with (
        closing(
            socket.create_server((here, 0), family=family, dualstack_ipv6=here == "::")
        ) as listening,
        closing(socket.create_connection((there, listening.getsockname()[1]), 60)) as client,
        closing(listening.accept()[0]) as ours,
    ):
        ours.settimeout(60)
        yield client, ours


def test_the_connection_of_a_late_client_ends_for_reading_only(pair):
    client, ours = pair
    environ = {
        "REMOTE_ADDR": client.getsockname()[0],
        "SERVER_PORT": str(ours.getsockname()[1]),
    }

    before = set(os.listdir("/dev/fd"))

    with Wait(environ, 0.01) as wait:
        assert ours.recv(1) == b""

    assert wait.given_up
    # What was opened to look at the connections is closed again.
    until(lambda: set(os.listdir("/dev/fd")) <= before)
    ours.sendall(b"408")
    # The other end is one that we opened ourselves, as to Postgres: it stays.
    assert client.recv(3) == b"408"


def test_others_are_left_alone(pair):
    client, ours = pair
    port = str(ours.getsockname()[1])
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as listening,
        closing(socket.create_connection(listening.getsockname())),
        closing(listening.accept()[0]) as our_late,
    ):
        our_late.settimeout(60)
        elsewhere = {"REMOTE_ADDR": "127.0.0.1", "SERVER_PORT": str(listening.getsockname()[1])}
        with (
            Wait({"REMOTE_ADDR": "192.0.2.1", "SERVER_PORT": port}, 0.01) as unseen,
            Wait({"REMOTE_ADDR": client.getsockname()[0], "SERVER_PORT": port}, 3600) as patient,
            Wait(elsewhere, 0.01),
        ):
            assert our_late.recv(1) == b""

        assert (unseen.given_up, patient.given_up) == (True, False)
        client.sendall(b"here")
        assert ours.recv(4) == b"here"


def test_who_begins_to_wait_while_connections_end_is_given_up_with_them(pair, monkeypatch):
    client, ours = pair
    address = {"REMOTE_ADDR": client.getsockname()[0], "SERVER_PORT": str(ours.getsockname()[1])}
    came = Wait(address, 3600)
    connections = patience._connections

    def listed() -> Iterator[socket.socket]:
        yield from connections()
        with came:
            pass

    monkeypatch.setattr(patience, "_connections", listed)
    with Wait(address, 0.01):
        assert ours.recv(1) == b""

    until(lambda: came.given_up and not patience._ending)
    with Wait(address, 3600) as later:
        assert not later.given_up


def test_the_published_setup_starts_web_processes_as_this_machine_does():
    text = re.sub(r"\s+", " ", (ROOT / "docker-compose.yml").read_text())

    assert text.count(" ".join(("granian", *WEB_OPTIONS))) == text.count("granian ") == 2
