"""Signing in with an identity provider: the way there, and the way back. And the pages of allauth
that are ours to watch over.
"""

from __future__ import annotations

from typing import Any

import requests
from allauth.mfa.recovery_codes.views import DownloadRecoveryCodesView, ViewRecoveryCodesView
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.usersessions.forms import ManageUserSessionsForm
from allauth.usersessions.views import ListUserSessionsView
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from mdm.accounts import own, sessions
from mdm.accounts.models import User
from mdm.accounts.oidc import Adapter, Provider, configured
from mdm.accounts.social import failed
from mdm.audit.actor import Actor


@require_POST
@never_cache
def begin(request: HttpRequest, provider_id: str) -> HttpResponse:
    """A page that leads to the provider at once. A redirect would not do: browsers hold a form to
    our policy's `form-action` wherever it is redirected, and that knows this server alone.
    """
    provider = _provider(request, provider_id)
    try:
        answer = provider.redirect_from_request(request)
    except (requests.RequestException, OAuth2Error) as error:
        return failed(request, provider, error)
    return render(
        request, "socialaccount/leaving.html", {"provider": provider, "address": answer["Location"]}
    )


@require_GET
@never_cache
def callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    provider = _provider(request, provider_id)
    try:
        view = OAuth2CallbackView.adapter_view(Adapter(request, provider_id))
        answer: HttpResponse = view(request)
    except (requests.RequestException, OAuth2Error) as error:
        # allauth reads the discovery document outside of what it watches.
        return failed(request, provider, error)
    return answer


class RecoveryCodes(ViewRecoveryCodesView):  # type: ignore[misc]
    """One's recovery codes. That they were shown is in the audit log."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().get_context_data(**kwargs)
        if shown["can_view_codes"]:
            own.codes_read(self.request)
        return shown


class RecoveryCodesFile(DownloadRecoveryCodesView):  # type: ignore[misc]
    """The same as a file."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        own.codes_read(self.request)
        shown: dict[str, Any] = super().get_context_data(**kwargs)
        return shown


class EndOthers(ManageUserSessionsForm):  # type: ignore[misc]
    """Signs someone out everywhere else."""

    def save(self, request: HttpRequest) -> None:
        user = User.objects.get(pk=request.user.pk or 0)
        sessions.end_others(Actor.of(request), user, request.session.session_key)


class Sessions(ListUserSessionsView):  # type: ignore[misc]
    """Where one is signed in. That the others were ended is in the audit log."""

    form_class = EndOthers


def nothing_here(request: HttpRequest, *parts: str) -> HttpResponse:
    """Stands in for pages of allauth that nobody needs here."""
    raise Http404


def _provider(request: HttpRequest, provider_id: str) -> Provider:
    if configured(provider_id) is None:
        raise Http404
    found: Provider = get_adapter().get_provider(request, provider_id)
    return found
