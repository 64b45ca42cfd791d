"""What people do to their own accounts on allauth's pages, in the audit log: passwords, second
factors, recovery codes that were looked at. allauth tells of it when it is done.
"""

from __future__ import annotations

from typing import Any

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from allauth.mfa.models import Authenticator
from django.dispatch import Signal
from django.http import HttpRequest

from mdm.accounts.models import User
from mdm.audit import refused
from mdm.audit.actor import Actor
from mdm.audit.record import record


def listen() -> None:
    """Hear of what allauth does without asking."""
    for signal, action in _TOLD.items():
        signal.connect(_listener(action), weak=False, dispatch_uid="mdm.accounts.own")
    mfa.authentication_failed.connect(_failed, dispatch_uid="mdm.accounts.own")


def codes_read(request: HttpRequest) -> None:
    """Record that someone is shown the recovery codes of their account."""
    user = User.objects.get(pk=request.user.pk or 0)
    _record(request, user, "account.codes.read")


_TOLD: dict[Signal, str] = {
    account.password_set: "account.password",
    account.password_changed: "account.password",
    account.password_reset: "account.password",
    mfa.authenticator_added: "account.factor.add",
    mfa.authenticator_removed: "account.factor.remove",
    mfa.authenticator_reset: "account.factor.renew",
}


def _listener(action: str) -> Any:
    def heard(
        request: HttpRequest,
        user: User,
        authenticator: Authenticator | None = None,
        **given: Any,
    ) -> None:
        told = {"factor": str(authenticator.type)} if authenticator else {}
        _record(request, user, action, **told)

    return heard


def _failed(request: HttpRequest, user: User, **given: Any) -> None:
    refused.count(Actor.stranger(request, user), "sign_in", "The second factor was wrong.")


def _record(request: HttpRequest, user: User, action: str, **told: object) -> None:
    # Whoever chooses a password by a link is not signed in yet.
    actor = Actor.of(request) if request.user == user else Actor.known(request, user)
    told = {"username": user.username, **told}
    record(actor, action, subject_kind="person", subject_id=user.pk, after=told)
