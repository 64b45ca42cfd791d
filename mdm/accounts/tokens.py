"""Tokens of API clients: made once, shown once, used, revoked. Reading them from a request is
`mdm/api/authentication.py`.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from mdm.accounts import rights
from mdm.accounts.models import ApiToken, User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor, Kind
from mdm.audit.record import NotAllowed, record, somewhere
from mdm.models import Group


class BadToken(Exception):
    """A token that cannot be made as asked; `field` names what is wrong, the message says why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class TooMany(Exception):
    """Someone has as many tokens as one person may have."""


def create(
    actor: Actor,
    user: User,
    *,
    name: str,
    role: Role,
    group: Group | None = None,
    expires_in: timedelta,
) -> tuple[ApiToken, str]:
    """A new token of `user` and its text, which is stored nowhere. It may do what both its role
    and its owner may, for all devices or those of a group. Raises NotAllowed, BadToken, TooMany.

    A token makes no tokens: a stolen one would make itself lasting.
    """
    somewhere(actor, "token.create")
    _check(name, role, group, expires_in, user)
    with transaction.atomic():
        # Who makes another one at this moment waits, and counts this one.
        User.objects.select_for_update(no_key=True).get(pk=user.pk)
        if alive(user).count() >= MOST:
            raise TooMany(
                f"{user} has {MOST} tokens that work, which is as many as a person may have. Revoke"
                " one first: the list says when each was used last."
            )
        token, text = ApiToken.objects.create(  # type: ignore[no-untyped-call]
            user=user, name=name, role=role, group=group, expiry=expires_in
        )
        record(
            actor,
            "token.create",
            subject_kind="token",
            subject_id=token.token_key,
            after={
                "name": name,
                "user": user.username,
                "role": role,
                "group": group.name if group else None,
                "expiry": token.expiry.isoformat(),
            },
        )
    return token, text


def revoke(actor: Actor, token: ApiToken) -> None:
    """End a token at once. Raises NotAllowed where one token would end another."""
    somewhere(actor, "token.revoke")
    if actor.kind == Kind.TOKEN and actor.id != token.token_key:
        raise NotAllowed(
            "token.revoke",
            "A token can revoke only itself: sign in to the dashboard to revoke this.",
        )
    with transaction.atomic():
        record(
            actor,
            "token.revoke",
            subject_kind="token",
            subject_id=token.token_key,
            before={"name": token.name, "user": token.user.username, "role": token.role},
        )
        token.delete()


def used(token: ApiToken) -> None:
    """Note that the token was used just now, to the minute."""
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > _MINUTE:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)


def has_expired(token: ApiToken) -> bool:
    return token.expiry is not None and token.expiry <= timezone.now()


def alive(user: User) -> QuerySet[ApiToken]:
    """The tokens of `user` that have not expired."""
    return ApiToken.objects.filter(Q(expiry=None) | Q(expiry__gt=timezone.now()), user=user)


def roles(user: User) -> list[Role]:
    """The roles that a token of `user` can be made with."""
    held = user.held()
    return [role for role in Role if any(_within(role, each.role) for each in held)]


def groups(user: User) -> QuerySet[Group] | None:
    """The groups that a token of `user` must be limited to one of; None where it need not be."""
    held = user.held()
    if any(each.group is None for each in held):
        return None
    return Group.objects.filter(pk__in=[each.group for each in held if each.group is not None])


def _within(role: Role, larger: Role) -> bool:
    return set(rights.of(role)) <= set(rights.of(larger))


def _check(name: str, role: Role, group: Group | None, expires_in: timedelta, user: User) -> None:
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise BadToken("name", "Give the token a name of at most 100 characters.")
    if group is not None and role not in rights.LIMITABLE:
        raise BadToken("group", f"The role {role.label.lower()} is for all devices.")
    held = [each for each in user.held() if _within(role, each.role)]
    if not held:
        raise BadToken("role", "A token cannot do more than its owner: choose a smaller role.")
    if not {each.group for each in held} & {None, group.pk if group else None}:
        raise BadToken("group", "A token cannot do more than its owner: choose one of your groups.")
    if not timedelta(0) < expires_in <= LONGEST:
        raise BadToken("expires_in_days", f"A token lasts for 1 to {LONGEST.days} days.")


LONGEST = timedelta(days=365)
# Of one person, that work: more than anyone keeps an eye on, and no way to fill the database.
MOST = 50
_MINUTE = timedelta(minutes=1)
