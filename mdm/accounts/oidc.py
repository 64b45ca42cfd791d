"""OpenID Connect: allauth's client, with what it leaves out. Requests to the provider are made in
`web.py`; what follows from who it is, is `federation.py`.

What is relied on, of OpenID Connect Core 1.0:

- The id_token alone says who signs in. It comes from the token endpoint over TLS, where the
  signature need not be checked (3.1.3.7) and allauth does not; here it always is, with the
  provider's keys (`jwks_uri`) and the algorithm that these are for, which is never a symmetric one.
  Its issuer, audience, authorized party and times are checked as 3.1.3.7 says.
- Its nonce (3.1.2.1) binds it to this sign-in, which allauth leaves to PKCE (RFC 7636) and `state`:
  allauth makes both, keeps them in the session and takes each state once. The nonce is a digest of
  PKCE's verifier, so that it needs no place of its own.
- Userinfo is asked only for what the id_token lacks, and counts only where its `sub` is the
  id_token's (5.3.2).
- The browser can change nothing of what is asked: allauth would take more scopes and parameters
  from the address.

Access and refresh tokens are used for this and forgotten; what is kept of an account is its
subject, and how the provider calls it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import jwt
from allauth.socialaccount.models import SocialLogin, SocialToken
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from mdm.accounts import web
from mdm.accounts.federation import Identity
from mdm.providers import IdentityProvider

ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
_REQUIRED = ["iss", "sub", "aud", "exp", "iat"]
# How far the clocks of the two servers may be apart, in seconds.
_LEEWAY = 60
# As much of a subject as allauth can keep; OpenID Connect allows for 255 letters.
_SUBJECT = 191


def configured(provider_id: str) -> IdentityProvider | None:
    """The provider with this id, as GUARD_OIDC has it."""
    return next((each for each in settings.ENV.oidc if each.id == provider_id), None)


class Adapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """One sign-in with one provider."""

    def __init__(self, request: HttpRequest, provider_id: str) -> None:
        super().__init__(request, provider_id)
        self._nonce = ""

    @property
    def openid_config(self) -> dict[str, Any]:
        return web.discover(self._provider)

    def get_callback_url(self, request: HttpRequest, app: Any) -> str:
        """As it is registered at the provider, whatever address the browser used."""
        path = reverse("openid_connect_callback", kwargs={"provider_id": self.provider_id})
        return f"{settings.ENV.dashboard_url}{path}"

    def get_access_token_data(
        self, request: HttpRequest, app: Any, client: Any, pkce_code_verifier: str | None = None
    ) -> dict[str, Any]:
        # In the adapter alone is it known which sign-in this is.
        self._nonce = nonce(pkce_code_verifier or "")
        data: dict[str, Any] = super().get_access_token_data(
            request, app, client, pkce_code_verifier
        )
        return data

    def parse_token(self, data: dict[str, Any]) -> SocialToken:
        return SocialToken(token=_text(data.get("access_token"), 10_000))

    def complete_login(
        self, request: HttpRequest, app: Any, token: SocialToken, **given: Any
    ) -> SocialLogin:
        """Who signs in, for `social.py`. Raises OAuth2Error and RequestException."""
        claims = self._verified(given["response"].get("id_token"))
        provider = self._provider
        if not {provider.groups_claim, "email"} <= claims.keys():
            claims = {**self._userinfo(token.token, claims["sub"]), **claims}
        told = {key: _text(claims.get(key), 254) for key in ("email", "preferred_username", "name")}
        # allauth makes a person of it, who is not used, and what is kept of the account.
        login = self.get_provider().sociallogin_from_response(
            request, {"sub": claims["sub"], **told}
        )
        login.identity = Identity(
            provider=provider,
            subject=claims["sub"],
            groups=_groups(claims.get(provider.groups_claim)),
            email=told["email"],
            username=told["preferred_username"],
            name=told["name"],
        )
        return login

    @property
    def _provider(self) -> IdentityProvider:
        provider = configured(self.provider_id)
        assert provider is not None  # noqa: S101 - without one, allauth finds no app before this
        return provider

    def _verified(self, token: object) -> dict[str, Any]:
        """The claims of an id_token that holds for this sign-in."""
        if not isinstance(token, str):
            raise OAuth2Error("there is no id_token")
        try:
            key = self._key(jwt.get_unverified_header(token).get("kid"))
            claims = jwt.decode(
                token,
                key=key.key,
                algorithms=[key.algorithm_name],
                options={"require": _REQUIRED},
                audience=self._provider.client_id,
                issuer=self.openid_config["issuer"],
                leeway=_LEEWAY,
            )
        except (jwt.PyJWTError, UnicodeError) as error:
            raise OAuth2Error(f"the id_token does not hold: {error}") from None
        if claims.get("azp", self._provider.client_id) != self._provider.client_id:
            raise OAuth2Error("the id_token was made for another client")
        if not hmac.compare_digest(_text(claims.get("nonce"), 200).encode(), self._nonce.encode()):
            raise OAuth2Error("the id_token was made for another sign-in")
        if not _text(claims["sub"], _SUBJECT) or len(claims["sub"]) > _SUBJECT:
            raise OAuth2Error(f"the subject is longer than {_SUBJECT} letters, or not printable")
        return claims

    def _key(self, kid: object) -> jwt.PyJWK:
        """The provider's key of this id; where it gives none, the one that there is."""
        with web.Session() as session:
            answer = session.get(self.openid_config["jwks_uri"])
        answer.raise_for_status()
        keys = [
            key
            for key in jwt.PyJWKSet.from_dict(answer.json()).keys
            if key.algorithm_name in ALGORITHMS and key.public_key_use in {None, "sig"}
        ]
        fitting = [key for key in keys if kid is None or key.key_id == kid]
        if len(fitting) != 1:
            raise OAuth2Error("the id_token is signed with no key of the provider")
        return fitting[0]

    def _userinfo(self, token: str, subject: str) -> dict[str, Any]:
        if "userinfo_endpoint" not in self.openid_config:
            return {}
        told: dict[str, Any] = self._fetch_user_info(token)
        if told.get("sub") != subject:
            raise OAuth2Error("userinfo is about somebody else than the id_token")
        return told


class Provider(OpenIDConnectProvider):  # type: ignore[misc]
    """A provider of GUARD_OIDC. Its addresses are in `urls.py`, where allauth looks for them."""

    oauth2_adapter_class = Adapter
    pkce_enabled_default = True

    def get_pkce_params(self) -> dict[str, Any]:
        made: dict[str, Any] = super().get_pkce_params()
        return {**made, "nonce": nonce(made["code_verifier"])}

    def get_redirect_from_request_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        """Where to go afterwards, and whether to sign in or to connect; nothing else."""
        asked = super().get_redirect_from_request_kwargs(request)
        wanted = AuthProcess.CONNECT if asked["process"] == AuthProcess.CONNECT else None
        kept = {"next_url": asked["next_url"]} if "next_url" in asked else {}
        return {**kept, "process": wanted or AuthProcess.LOGIN}

    def serialize(self) -> dict[str, Any]:
        """By its own id: two may have the same client_id, at different servers."""
        return {"id": self.sub_id, "app.client_id": self.app.client_id}


def nonce(verifier: str) -> str:
    digest = hashlib.sha256(b"nonce:" + verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _groups(given: object) -> frozenset[str]:
    """Some providers write a single group without a list."""
    listed = given if isinstance(given, list) else [given]
    return frozenset(each for each in listed if isinstance(each, str))


def _text(given: object, limit: int) -> str:
    """A text that can be kept and shown; "" for anything else."""
    return given[:limit] if isinstance(given, str) and given.isprintable() else ""
