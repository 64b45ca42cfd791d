"""A port that someone else uses is found before anything is started."""

from __future__ import annotations

import socket

import pytest

from mdm.local.errors import LocalError, PortInUse
from mdm.local.ports import Ports


def test_a_port_in_use_is_named_with_the_way_out() -> None:
    ports = Ports.free()
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports.devices))
        other.listen()
        with pytest.raises(PortInUse, match=f"{ports.devices} is in use.*GUARD_DEVICES_PORT"):
            ports.check()


def test_free_ports_pass() -> None:
    Ports.free().check()


def test_ports_come_from_the_environment() -> None:
    assert Ports.from_environment({"GUARD_PEOPLE_PORT": "9000"}) == Ports(9000, 8443, "0.0.0.0")


@pytest.mark.parametrize("given", ["0", "65536", "-1", "http", "80.5"])
def test_a_port_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(LocalError, match=r"GUARD_PEOPLE_PORT.*between 1 and 65535"):
        Ports.from_environment({"GUARD_PEOPLE_PORT": given})
