"""How sign-in behaves: people are invited, nobody signs up by themselves; and who guesses passwords
from elsewhere does not lock out people at browsers that they have signed in with before.
"""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.internal import ratelimit
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse

from mdm.accounts import browsers
from mdm.accounts.models import User
from mdm.audit import refused
from mdm.audit.actor import Actor


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count this attempt until it succeeds. One from a browser that is known for this very
        person counts by itself, all others together by name and by address (settings.py has the
        numbers). Raises ValidationError where there were too many.
        """
        login = _login(credentials)
        browser = browsers.known(request, login)
        if browser is None:
            try:
                super().pre_authenticate(request, **credentials)
            except ValidationError:
                _count(request, login, "There were too many attempts.")
                raise
            return
        # allauth takes it back when the password was right.
        self._login_failed_rl_usage = ratelimit.consume(
            request, app="allauth.account", action="login_failed_here", key=browser
        )
        if not self._login_failed_rl_usage:
            _count(request, login, "There were too many attempts.")
            raise self.validation_error("too_many_login_attempts")

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        _count(request, _login(credentials), "The name or the password was wrong.")

    def post_login(
        self, request: HttpRequest, user: AbstractBaseUser, **kwargs: Any
    ) -> HttpResponse:
        """Whoever is through, second factor and all, is known at this browser from now on."""
        response: HttpResponse = super().post_login(request, user, **kwargs)
        browsers.remember(request, response, user)
        return response


def _login(credentials: dict[str, Any]) -> str:
    return str(credentials.get("email") or credentials.get("username") or "")


def _count(request: HttpRequest, login: str, why: str) -> None:
    login = login.replace("\0", "")
    user = User.objects.filter(Q(username__iexact=login) | Q(email__iexact=login)).first()
    refused.count(Actor.stranger(request, user), "sign_in", why)
