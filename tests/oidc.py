"""An OpenID Connect provider for tests, on a socket of this machine: discovery, authorization with
PKCE, tokens for a code that works once, keys and userinfo. Whoever comes is taken for `person`.

What is wrong with it is set on it: `lies` (claims of the id_token), `forger` (another key than the
published one), `userinfo`, `documents` (whole answers, by path).
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client

from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit.models import AuditEvent
from mdm.providers import IdentityProvider, RoleRule

_KEYS = {name: rsa.generate_private_key(65537, 2048) for name in ("provider", "forger")}


RULES = (
    RoleRule(claim_group="it-viewers", role="viewer"),
    RoleRule(claim_group="it-operators", role="operator"),
    RoleRule(claim_group="it-admins", role="admin"),
    RoleRule(claim_group="it-kiosks", role="helper", group="Kiosks"),
)


class Idp:
    """Enter it to have it answer; it is gone afterwards."""

    def __init__(self, id: str = "entra", name: str = "Entra") -> None:
        self.id, self.name = id, name
        self.client_id, self.client_secret = "guardmdm", secrets.token_urlsafe(20)
        self.person: dict[str, Any] = {
            "sub": "0001",
            "email": "grace@example.com",
            "preferred_username": "grace.hopper@example.com",
            "name": "Grace Hopper",
            "groups": ["it-viewers"],
        }
        self.lies: dict[str, Any] = {}
        self.forger = False
        self.algorithm = "RS256"
        self.userinfo: dict[str, Any] = {}
        self.documents: dict[str, tuple[int, dict[str, str], bytes]] = {}
        # What was asked for, and what came with it.
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: set[str] = set()

    def __enter__(self) -> Idp:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/realm"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def provider(self, *rules: RoleRule, **more: Any) -> IdentityProvider:
        """It, as the file of GUARD_OIDC has it."""
        given = {"id": self.id, "name": self.name, "url": self.url, "client_id": self.client_id}
        return IdentityProvider(
            **{**given, "client_secret": self.client_secret, "rules": rules, **more}
        )

    # --- What it answers ------------------------------------------------------------------------

    def answer(
        self, path: str, query: dict[str, str], form: dict[str, str], headers: Any
    ) -> tuple[int, dict[str, str], bytes]:
        self.asked.append((path, {**query, **form}))
        if path in self.documents:
            return self.documents[path]
        if path == "/realm/authorize":
            return self._authorize(query)
        found = {
            "/realm/.well-known/openid-configuration": self._discovery,
            "/realm/keys": self._jwks,
            "/realm/token": lambda: self._token(form),
            "/realm/userinfo": lambda: self._userinfo(headers.get("Authorization", "")),
        }.get(path, lambda: None)()
        if found is None:
            return 400, {"Content-Type": "application/json"}, b'{"error": "invalid_grant"}'
        return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()

    def _discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }

    def _jwks(self) -> dict[str, Any]:
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_KEYS["provider"].public_key()))
        # A key that is no secret, for an algorithm that would take it for one.
        shared = {"kty": "oct", "kid": "shared", "alg": "HS256", "k": "c2VjcmV0" * 8}
        return {"keys": [{**key, "kid": "1", "use": "sig", "alg": "RS256"}, shared]}

    def _authorize(self, query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        assert query["client_id"] == self.client_id
        assert query["response_type"] == "code"
        assert {"openid", "profile", "email"} == set(query["scope"].split())
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(12)
        self._codes[code] = query
        back = {"code": code, "state": query["state"]}
        return 302, {"Location": f"{query['redirect_uri']}?{urlencode(back)}"}, b""

    def _token(self, form: dict[str, str]) -> dict[str, Any] | None:
        asked = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        proved = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or (form.get("client_id"), form.get("client_secret"))
            != (self.client_id, self.client_secret)
            or form.get("redirect_uri") != asked["redirect_uri"]
            or proved != asked["code_challenge"]
        ):
            return None
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 300,
            **({"nonce": asked["nonce"]} if "nonce" in asked else {}),
            **self.person,
            **self.lies,
        }
        access = secrets.token_urlsafe(12)
        self._tokens.add(access)
        return {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": self._signed(claims),
        }

    def _signed(self, claims: dict[str, Any]) -> str:
        if self.algorithm == "HS256":
            return jwt.encode(claims, b"secret" * 8, "HS256", headers={"kid": "shared"})
        key = _KEYS["forger" if self.forger else "provider"]
        return jwt.encode(claims, key, self.algorithm, headers={"kid": "1"})

    def _userinfo(self, authorization: str) -> dict[str, Any] | None:
        if authorization.removeprefix("Bearer ") not in self._tokens:
            return None
        return {"sub": self.person["sub"], **self.userinfo}


def begin(client: Client, idp: Idp, **form: str) -> str:
    """Where the button on our page leads."""
    page = client.post(f"/accounts/oidc/{idp.id}/login/", form)
    assert page.status_code == 200, page.content.decode()
    found = re.search(r'http-equiv="refresh" content="0;url=([^"]+)"', page.content.decode())
    assert found
    return html.unescape(found[1])


def sent_back(address: str) -> str:
    """Where the provider sends the browser: a path of ours."""
    answer = httpx.get(address, trust_env=False)
    assert answer.status_code == 302
    parts = urlsplit(answer.headers["Location"])
    assert f"{parts.scheme}://{parts.netloc}" == "http://localhost:8000"
    return f"{parts.path}?{parts.query}"


def sign_in(client: Client, idp: Idp, **form: str) -> Any:
    """The whole way, as a browser goes it; what we answer in the end."""
    return client.get(sent_back(begin(client, idp, **form)))


def _handler(idp: Idp) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(dict(parse_qsl(body.decode())))

        def _answer(self, form: dict[str, str]) -> None:
            parts = urlsplit(self.path)
            query = dict(parse_qsl(parts.query))
            status, headers, body = idp.answer(parts.path, query, form, self.headers)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing: a test says what it saw."""

    return Handler


def roles(email: str = "grace@example.com") -> list[Role]:
    return sorted(held.role for held in User.objects.get(email=email).held())


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def acts(email: str = "grace@example.com") -> list[str]:
    events = AuditEvent.objects.filter(subject_id=str(User.objects.get(email=email).pk))
    return list(events.order_by("id").values_list("action", flat=True))


def said(answer: Any) -> str:
    return str(answer.content.decode())
