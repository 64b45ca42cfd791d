"""Tokens of API clients: made once, shown once, used, revoked. Reading them from a request is
`mdm/api/authentication.py`.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import TextChoices
from django.utils import timezone

from mdm.accounts.models import ApiToken, User
from mdm.audit.actor import Actor, Kind
from mdm.audit.record import NotAllowed, allow, record


class BadToken(Exception):
    """A token that cannot be made as asked; `field` names what is wrong, the message says why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Scope(TextChoices):
    """What the bearer of a token may do."""

    READ = "read"
    WRITE = "write"


def create(
    actor: Actor, user: User, *, name: str, scopes: list[Scope], expires_in: timedelta
) -> tuple[ApiToken, str]:
    """A new token of `user` and its text, which is stored nowhere. Raises NotAllowed, BadToken.

    A token makes no tokens: a stolen one would make itself lasting.
    """
    allow(actor, "token.create")
    if actor.kind == Kind.TOKEN:
        raise NotAllowed("A token cannot make tokens: sign in to the dashboard to make one.")
    _check(name, scopes, expires_in)
    with transaction.atomic():
        token, text = ApiToken.objects.create(  # type: ignore[no-untyped-call]
            user=user, name=name, scopes=sorted(scopes), expiry=expires_in
        )
        record(
            actor,
            "token.create",
            subject_kind="token",
            subject_id=token.token_key,
            after={
                "name": name,
                "user": user.username,
                "scopes": token.scopes,
                "expiry": token.expiry.isoformat(),
            },
        )
    return token, text


def revoke(actor: Actor, token: ApiToken) -> None:
    """End a token at once. Raises NotAllowed where one token would end another."""
    allow(actor, "token.revoke")
    if actor.kind == Kind.TOKEN and actor.id != token.token_key:
        raise NotAllowed("A token can revoke only itself: sign in to the dashboard to revoke this.")
    with transaction.atomic():
        record(
            actor,
            "token.revoke",
            subject_kind="token",
            subject_id=token.token_key,
            before={"name": token.name, "user": token.user.username, "scopes": token.scopes},
        )
        token.delete()


def used(token: ApiToken) -> None:
    """Note that the token was used just now, to the minute."""
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > _MINUTE:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)


def has_expired(token: ApiToken) -> bool:
    return token.expiry is not None and token.expiry <= timezone.now()


def _check(name: str, scopes: list[Scope], expires_in: timedelta) -> None:
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise BadToken("name", "Give the token a name of at most 100 characters.")
    if not scopes:
        raise BadToken("scopes", "A token may do something: read, write or both.")
    if not timedelta(0) < expires_in <= LONGEST:
        raise BadToken("expires_in_days", f"A token lasts for 1 to {LONGEST.days} days.")


LONGEST = timedelta(days=365)
_MINUTE = timedelta(minutes=1)
