"""How sign-in behaves: people are invited, nobody signs up by themselves; and who guesses passwords
from elsewhere does not lock out people at browsers that they have signed in with before.
"""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.internal import ratelimit
from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest, HttpResponse

from mdm.accounts import browsers


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count this attempt until it succeeds. One from a browser that is known for this very
        person counts by itself, all others together by name and by address (settings.py has the
        numbers). Raises ValidationError where there were too many.
        """
        login = str(credentials.get("email") or credentials.get("username") or "")
        browser = browsers.known(request, login)
        if browser is None:
            super().pre_authenticate(request, **credentials)
            return
        # allauth takes it back when the password was right.
        self._login_failed_rl_usage = ratelimit.consume(
            request, app="allauth.account", action="login_failed_here", key=browser
        )
        if not self._login_failed_rl_usage:
            raise self.validation_error("too_many_login_attempts")

    def post_login(
        self, request: HttpRequest, user: AbstractBaseUser, **kwargs: Any
    ) -> HttpResponse:
        """Whoever is through, second factor and all, is known at this browser from now on."""
        response: HttpResponse = super().post_login(request, user, **kwargs)
        browsers.remember(request, response, user)
        return response
