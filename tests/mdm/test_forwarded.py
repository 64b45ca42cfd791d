"""Who is behind a proxy, and whom a process serves."""

from __future__ import annotations

import io
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
from pytest_django import Settings

from mdm import endpoints, forwarded
from mdm.env import Serves
from mdm.wsgi import application

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "said", "address"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        # What the client wrote itself stands before what the proxy added.
        ("10.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.7, nonsense", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        # Anybody can say anything.
        ("192.0.2.1", "203.0.113.7", "192.0.2.1"),
        ("", "203.0.113.7", ""),
    ],
)
def test_the_client_is_the_last_that_is_no_trusted_proxy(
    peer: str, said: str, address: str
) -> None:
    environ: dict[str, Any] = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": said}
    forwarded.believe(environ, PROXIES)
    assert environ["REMOTE_ADDR"] == address
    assert forwarded.peer(environ) == peer
    assert "HTTP_X_FORWARDED_FOR" not in environ


@pytest.mark.parametrize(("peer", "scheme"), [("10.0.0.1", "https"), ("192.0.2.1", "http")])
def test_the_scheme_is_the_clients_where_a_trusted_proxy_says_so(peer: str, scheme: str) -> None:
    environ: dict[str, Any] = {
        "REMOTE_ADDR": peer,
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_X_FORWARDED_HOST": "evil.example",
        "wsgi.url_scheme": "http",
    }
    forwarded.believe(environ, PROXIES)
    assert environ["wsgi.url_scheme"] == scheme
    assert "HTTP_X_FORWARDED_HOST" not in environ


def _status(path: str, **more: str) -> int:
    said: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        **more,
    }
    application(environ, lambda status, headers, *rest: said.append(status))
    return int(said[0].split()[0])


@pytest.mark.parametrize(
    ("path", "served_to"),
    [
        *((path, "devices") for path in ("/mdm/connect", "/mdm/checkin", "/scep", "/ade/secret")),
        *((path, "people") for path in ("/", "/devices/", "/api/v1/devices/", "/accounts/login/")),
        *((path, "people") for path in ("/setup/", "/settings/audit/", "/enrollment/links/")),
        *((path, "both") for path in ("/enroll/x/", "/ade/sign-in/x/", "/static/x", "/readyz")),
    ],
)
def test_a_process_serves_whom_it_is_for(settings: Settings, path: str, served_to: str) -> None:
    found = endpoints.find(path)
    for serves in (Serves.DEVICES, Serves.PEOPLE):
        settings.ENV = replace(settings.ENV, serves=serves)
        assert endpoints.is_served(path, found) == (served_to in {serves.value, "both"}), serves
    settings.ENV = replace(settings.ENV, serves=Serves.ALL)
    assert endpoints.is_served(path, found)


@pytest.mark.parametrize(
    ("serves", "path"), [(Serves.DEVICES, "/devices/"), (Serves.PEOPLE, "/mdm/connect")]
)
def test_what_is_for_others_is_not_there(settings: Settings, serves: Serves, path: str) -> None:
    settings.ENV = replace(settings.ENV, serves=serves)
    assert _status(path) == 404
