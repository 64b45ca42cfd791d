"""Who calls the API: the bearer of a token, or a person who is signed in to the dashboard.

Tokens themselves are made and revoked in `mdm/accounts/tokens.py`.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.plumbing import build_bearer_security_scheme_object
from knox import auth
from rest_framework.exceptions import AuthenticationFailed

from mdm.accounts import tokens
from mdm.accounts.models import ApiToken, User


class TokenAuthentication(auth.TokenAuthentication):
    """`Authorization: Bearer guard_...`"""

    def authenticate_credentials(self, token: bytes) -> tuple[User, ApiToken]:
        """Its owner and the token. Raises AuthenticationFailed."""
        try:
            user, found = super().authenticate_credentials(token)  # type: ignore[no-untyped-call]
        except UnicodeDecodeError:
            raise AuthenticationFailed("Invalid token.") from None
        tokens.used(found)
        return user, found

    def _cleanup_token(self, auth_token: ApiToken) -> bool:
        """Whether the token has expired. It is kept: its owner sees in the list why it fails."""
        return tokens.has_expired(auth_token)


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The token as the schema describes it."""

    target_class = "mdm.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        scheme: dict[str, Any] = build_bearer_security_scheme_object("Authorization", "Bearer")
        return scheme
