"""What allauth asks us when someone comes from an identity provider: which there are, who is let
in, and what is said where something goes wrong. Signing in by other means is `adapter.py`.

allauth's second factors still apply to who has set them up here: the provider's own come first.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import requests
import structlog
from allauth.account.signals import user_logged_in
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from allauth.socialaccount.providers.base.constants import AuthError, AuthProcess
from allauth.socialaccount.signals import social_account_added, social_account_removed
from django.conf import settings
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from mdm.accounts import federation, people, web
from mdm.accounts.models import User
from mdm.accounts.oidc import Provider
from mdm.audit.actor import Actor

_log = structlog.get_logger(__name__)


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def list_apps(
        self, request: HttpRequest, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        """The providers of GUARD_OIDC, and none from the database."""
        return [
            SocialApp(
                provider=Provider.id,
                provider_id=each.id,
                name=each.name,
                client_id=each.client_id,
                secret=each.client_secret,
            )
            for each in settings.ENV.oidc
            if provider in {None, Provider.id, each.id} and client_id in {None, each.client_id}
        ]

    def get_requests_session(self) -> requests.Session:
        return web.Session()

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Who is let in was made before allauth would ask them to sign up."""
        return False

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        if sociallogin.state.get("process") == AuthProcess.CONNECT:
            return
        try:
            account = federation.admit(sociallogin.identity)
        except federation.FederationError as refused:
            page = not_signed_in(request, str(refused), HTTPStatus.FORBIDDEN)
            raise ImmediateHttpResponse(page) from None
        sociallogin.account, sociallogin.user = account, account.user

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Provider,
        error: str | None = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,
    ) -> None:
        if error == AuthError.CANCELLED:
            words = f"{provider.name} says that signing in was canceled."
        elif exception is not None:
            raise ImmediateHttpResponse(failed(request, provider, exception))
        else:
            words = (
                f"This sign-in with {provider.name} was begun elsewhere or too long ago, is used"
                " already, or was refused there. Begin again."
            )
        raise ImmediateHttpResponse(not_signed_in(request, words, HTTPStatus.FORBIDDEN))

    def validate_disconnect(self, account: SocialAccount, accounts: object) -> None:
        if not people.is_settled(account.user, without=account):
            raise ValidationError("You could not sign in any more. Choose a password first.")


def failed(request: HttpRequest, provider: Provider, error: Exception) -> HttpResponse:
    """The page where the provider did not answer, or answered with what does not hold."""
    away = isinstance(error, requests.RequestException)
    _log.warning(
        "Signing in with an identity provider failed",
        provider=provider.sub_id,
        kind=type(error).__name__,
        error=str(error)[:300],
    )
    if away:
        words = f"{provider.name} does not answer as it should. Try again in a minute."
        return not_signed_in(request, words, HTTPStatus.BAD_GATEWAY)
    words = (
        f"What {provider.name} answered does not hold. Begin again; where that does not help, the"
        " server's log has the reason."
    )
    return not_signed_in(request, words, HTTPStatus.FORBIDDEN)


def not_signed_in(request: HttpRequest, words: str, status: HTTPStatus) -> HttpResponse:
    return render(request, "socialaccount/not_signed_in.html", {"words": words}, status=status)


def listen() -> None:
    """Hear of what allauth does without asking."""
    user_logged_in.connect(_signed_in, dispatch_uid="mdm.accounts.social")
    social_account_added.connect(_added, dispatch_uid="mdm.accounts.social")
    social_account_removed.connect(_removed, dispatch_uid="mdm.accounts.social")


def _signed_in(user: User, sociallogin: SocialLogin | None = None, **given: Any) -> None:
    if sociallogin is None:
        federation.came_otherwise(user)


def _added(request: HttpRequest, sociallogin: SocialLogin, **given: Any) -> None:
    federation.connected(Actor.of(request), sociallogin.account)


def _removed(request: HttpRequest, socialaccount: SocialAccount, **given: Any) -> None:
    federation.disconnected(Actor.of(request), socialaccount)
