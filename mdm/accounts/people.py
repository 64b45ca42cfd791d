"""People: inviting them, giving them roles, switching them off and on, and letting the last one
back in. What roles may do is `rights.py`; who comes from an identity provider is `federation.py`.

Signing in, passwords and second factors are allauth's.

PeopleError
├── AlreadyThere      someone has this mail address
├── BadAddress        not a mail address
├── BadGrant          a role that cannot be given so; `field` names what is wrong
└── LastOne           there would be no admin any more
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from mdm.accounts import rights, sessions
from mdm.accounts.models import Grant, Grants, User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.models import Group


class PeopleError(Exception):
    """Any refusal; its message is a sentence for people."""


class AlreadyThere(PeopleError):
    """Someone has this mail address."""


class BadAddress(PeopleError):
    """Not a mail address."""


class BadGrant(PeopleError):
    """A role that cannot be given as asked; `field` names what is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class LastOne(PeopleError):
    """There would be no admin any more who can sign in."""


@transaction.atomic
def invite(
    actor: Actor, *, email: str, role: Role, name: str = "", group: Group | None = None
) -> User:
    """A person who has yet to choose a password, with the link of `access_link`, and with this
    role. Raises NotAllowed, BadAddress, AlreadyThere, BadGrant.
    """
    allow(actor, "people.invite")
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise BadAddress("This is not a mail address.") from None
    if User.objects.filter(email__iexact=email).exists():
        raise AlreadyThere("Someone with this mail address is here already.")
    user = User(username=free_username(email), email=email, first_name=name.strip()[:150])
    user.set_unusable_password()
    user.save()
    _record(actor, "people.invite", user)
    grant(actor, user, role=role, group=group)
    return user


@transaction.atomic
def grant(
    actor: Actor,
    user: User,
    *,
    role: Role,
    group: Group | None = None,
    also: Iterable[str] = (),
    lasts: timedelta | None = None,
    reason: str = "",
    source: str = "",
) -> Grant:
    """Give someone a role: for the devices of a group or for all, for a while or for good. `also`
    names destructive commands that a helper may send besides; `source` is `Grant.source`. Raises
    NotAllowed and BadGrant.
    """
    allow(actor, "people.grant")
    more = sorted(set(also))
    _check_grant(role, group, more, lasts, reason)
    given = Grant.objects.create(
        user=user,
        role=role,
        group=group,
        also=more,
        reason=reason.strip(),
        source=source,
        given_by=actor.name,
        expires_at=timezone.now() + lasts if lasts else None,
    )
    _record_grant(actor, "people.grant", given, after=_told(given))
    return given


@transaction.atomic
def end_grant(actor: Actor, given: Grant) -> None:
    """Take a role away at once. Raises NotAllowed and LastOne."""
    allow(actor, "people.revoke")
    if given.role == Role.ADMIN:
        _check_others(given.user, given)
    now = timezone.now()
    if Grant.objects.filter(pk=given.pk, ended_at=None).update(ended_at=now, ended_by=actor.name):
        _record_grant(actor, "people.revoke", given, before=_told(given))


@transaction.atomic
def deactivate(actor: Actor, user: User) -> None:
    """End someone's access at once, tokens included. Raises NotAllowed and LastOne."""
    allow(actor, "people.deactivate")
    if any(held.role == Role.ADMIN for held in user.held()):
        _check_others(user)
    _switch(user, active=False)
    # Otherwise they counted again if the person was activated soon.
    sessions.end_others(actor, user, None)
    _record(actor, "people.deactivate", user)


@transaction.atomic
def activate(actor: Actor, user: User) -> None:
    """Give someone their access back. Raises NotAllowed."""
    allow(actor, "people.activate")
    _switch(user, active=True)
    _record(actor, "people.activate", user)


def access_link(actor: Actor, user: User) -> str:
    """An address at which this person chooses a new password; it works once, for three days.

    Whoever has it gets in as this person, so handing it out is recorded. Raises NotAllowed.
    """
    allow(actor, "people.link")
    User.objects.filter(pk=user.pk).update(trusted_since=timezone.now())
    _record(actor, "people.link", user)
    key = f"{user_pk_to_url_str(user)}-{default_token_generator.make_token(user)}"
    uid, _, token = key.partition("-")
    path = reverse("account_reset_password_from_key", kwargs={"uidb36": uid, "key": token})
    return f"{settings.ENV.dashboard_url}{path}"


@transaction.atomic
def recover(actor: Actor, user: User) -> str:
    """For whoever has the server's command line: switch this person on, make them an admin, drop
    their second factors, and return the link of `access_link`. Raises NotAllowed."""
    allow(actor, "people.recover")
    _switch(user, active=True)
    if all(held.role != Role.ADMIN for held in user.held()):
        grant(actor, user, role=Role.ADMIN)
    factors, _ = Authenticator.objects.filter(user=user).delete()
    record(
        actor,
        "people.recover",
        subject_kind="person",
        subject_id=user.pk,
        after={"username": user.username, "second_factors_removed": factors},
    )
    return access_link(actor, user)


def admins() -> QuerySet[User]:
    """The people who are active and are admins now."""
    return _admins(Grant.objects.current())


def hold_admins() -> None:
    """Lock them until the transaction ends, before anybody else is locked: who takes an admin away
    at the same time waits.
    """
    list(admins().select_for_update())


def is_settled(user: User, *, without: SocialAccount | None = None) -> bool:
    """Whether this person can sign in: with a password that they chose, or with their account at
    an identity provider; where `without` is given, with another one than that.

    Whether the provider lets them in is not known here. But one that is no longer in GUARD_OIDC
    lets in nobody: who has an account at such a one alone does not count.
    """
    if not user.is_active:
        return False
    if user.has_usable_password():
        return True
    at = [provider.id for provider in settings.ENV.oidc]
    accounts = SocialAccount.objects.filter(user=user, provider__in=at)
    return bool(accounts.exclude(pk=without.pk if without else None).exists())


def _check_others(user: User, ending: Grant | None = None) -> None:
    """Raise LastOne unless an admin remains who can sign in, when `user` is one no more, or when
    they lose `ending` alone. Who asks at the same time waits, and looks when that is decided.
    """
    hold_admins()
    # Asked anew: what was read before the wait may be over.
    remaining = Grant.objects.current()
    remaining = remaining.exclude(pk=ending.pk) if ending else remaining.exclude(user=user)
    if not any(is_settled(other) for other in _admins(remaining)):
        raise LastOne(
            f"Nobody else is an admin who can sign in. Make someone one first, then take it from"
            f" {user}."
        )


def _admins(grants: Grants) -> QuerySet[User]:
    """The people who are active and hold the role admin by one of these grants."""
    holders = grants.filter(role=Role.ADMIN).values("user")
    return User.objects.filter(is_active=True, pk__in=holders).order_by("pk")


def _check_grant(
    role: Role, group: Group | None, also: list[str], lasts: timedelta | None, reason: str
) -> None:
    if group is not None and role not in rights.LIMITABLE:
        raise BadGrant("group", f"The role {role.label.lower()} is for all devices.")
    if lasts is not None and role not in rights.TIMEABLE:
        raise BadGrant("lasts", "An admin is one for good: it could make itself one meanwhile.")
    if lasts is not None and not timedelta(0) < lasts <= LONGEST:
        raise BadGrant("lasts", f"A role is given for up to {LONGEST.days} days, or for good.")
    if also and role != Role.HELPER:
        raise BadGrant("also", "Only a helper is given commands beyond the role.")
    unknown = set(also) - set(rights.ALSO)
    if unknown:
        raise BadGrant("also", f"{min(unknown)[:60]} is no destructive command.")
    if len(reason) > 200 or not reason.isprintable():
        raise BadGrant("reason", "Give a reason of at most 200 characters.")


def _told(given: Grant) -> dict[str, object]:
    return {
        "user": given.user.username,
        "role": given.role,
        "group": given.group.name if given.group else None,
        "also": given.also,
        "reason": given.reason,
        "expires_at": given.expires_at.isoformat() if given.expires_at else None,
    }


def _record_grant(actor: Actor, action: str, given: Grant, **told: dict[str, object]) -> None:
    record(actor, action, subject_kind="person", subject_id=given.user_id, **told)


def _switch(user: User, *, active: bool) -> None:
    user.is_active = active
    user.trusted_since = timezone.now()
    user.save(update_fields=["is_active", "trusted_since"])


def _record(actor: Actor, action: str, user: User) -> None:
    after = {"username": user.username, "email": user.email, "active": user.is_active}
    record(actor, action, subject_kind="person", subject_id=user.pk, after=after)


def free_username(email: str) -> str:
    """A name that nobody has yet, made of what stands before the @."""
    base = email.partition("@")[0][:100]
    taken = set(User.objects.filter(username__startswith=base).values_list("username", flat=True))
    number = 1
    name = base
    while name in taken:
        number += 1
        name = f"{base}{number}"
    return name


LONGEST = timedelta(days=365)
