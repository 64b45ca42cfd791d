"""Requests to identity providers, which allauth makes with `requests`: short, small, and to the
addresses that the provider's own documents name, never to where an answer redirects.

The addresses come from a file that an admin wrote (GUARD_OIDC) and from the discovery document
below the issuer named there; the rest of what is said is held to be anybody's.

Failures are `requests.RequestException`, as allauth expects; BadAnswer is ours.
"""

from __future__ import annotations

import hashlib
import ssl
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from django.core.cache import cache

from mdm.providers import IdentityProvider

ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
# Not every provider has it.
_USERINFO = "userinfo_endpoint"

# Whoever waits for a provider holds one of the few turns of a web process (mdm/turns.py), so that
# it is asked for its addresses once in a while, and is left alone for a moment where it is away.
_KEPT = 600
_AWAY = 10

_SECONDS = 5
_LONGEST = 10
_LARGEST = 1024 * 1024


class BadAnswer(requests.RequestException):
    """The provider answered with something that is none."""


class Session(requests.Session):
    """Follows no redirect, takes at most 1 MB within 10 seconds, reads JSON objects alone, and
    heeds no variable of the environment (proxies, .netrc). It trusts the CAs that the system does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = ssl.get_default_verify_paths().cafile or True
        # Compressed, a megabyte could be a gigabyte.
        self.headers["Accept-Encoding"] = "identity"

    def send(self, request: requests.PreparedRequest, **given: Any) -> requests.Response:
        end = time.monotonic() + _LONGEST
        held = {"timeout": _SECONDS, "allow_redirects": False, "stream": True}
        with super().send(request, **{**given, **held}) as answer:
            answer._content = _body(answer, end)
        if answer.is_redirect:
            raise BadAnswer(f"{_host(answer)} redirects elsewhere")
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise BadAnswer(f"{_host(answer)} answered with status {answer.status_code}")
        if answer.ok:
            _check(answer)
        return answer


def discover(provider: IdentityProvider) -> dict[str, Any]:
    """The endpoints in the provider's discovery document (OpenID Connect Discovery 1.0, 4): it is
    about this issuer, and leads from https nowhere but to https. Raises RequestException.
    """
    key = f"oidc:{hashlib.sha256(provider.url.encode()).hexdigest()}"
    known: dict[str, Any] | None = cache.get(key)
    if known is None:
        try:
            known = _discovered(provider)
        except requests.RequestException as error:
            cache.set(key, {"away": str(error)[:300]}, _AWAY)
            raise
        cache.set(key, known, _KEPT)
    if "away" in known:
        raise BadAnswer(f"a moment ago: {known['away']}")
    return known


def _discovered(provider: IdentityProvider) -> dict[str, Any]:
    with Session() as session:
        answer = session.get(f"{provider.url}/.well-known/openid-configuration")
    answer.raise_for_status()
    told = answer.json()
    if str(told.get("issuer")).rstrip("/") != provider.url:
        raise BadAnswer(f"the document of {provider.url} is about another issuer")
    found = {"issuer": told["issuer"]}
    methods = told.get("token_endpoint_auth_methods_supported", [])
    found["token_endpoint_auth_methods_supported"] = methods if isinstance(methods, list) else []
    for name in (*ENDPOINTS, _USERINFO):
        if name not in told and name == _USERINFO:
            continue
        found[name] = _endpoint(told.get(name), name, provider)
    return found


def _endpoint(given: object, name: str, provider: IdentityProvider) -> str:
    schemes = {"https"} if provider.url.startswith("https://") else {"http", "https"}
    try:
        parts = urlsplit(given if isinstance(given, str) else "")
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in schemes or not parts.hostname:
        raise BadAnswer(f"the document of {provider.url} has no {name} that can be used")
    return str(given)


def _body(answer: requests.Response, end: float) -> bytes:
    body = b""
    try:
        while len(body) <= _LARGEST and time.monotonic() < end:
            piece = answer.raw.read1(65536)
            if not piece:
                return body
            body += piece
    except (OSError, urllib3.exceptions.HTTPError) as error:
        raise requests.ConnectionError(str(error)) from None
    raise BadAnswer(f"{_host(answer)} answers with too much, or too slowly")


def _check(answer: requests.Response) -> None:
    try:
        told = answer.json()
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise BadAnswer(f"{_host(answer)} answered with something that is no JSON object")
    # allauth reads it as a form where it is not called JSON.
    answer.headers["content-type"] = "application/json"


def _host(answer: requests.Response) -> str:
    return urlsplit(answer.url).netloc
