"""People who come from an identity provider: who is let in, and that their roles follow their
groups there. The conversation with the provider is `oidc.py`, allauth's part in it `social.py`;
which groups give what stands in the file of GUARD_OIDC (`mdm/providers.py`).

Roles that come from a provider have its name as their `source`, and are touched here alone: what an
admin gave is left as it is. They hold for who comes from there: a sign-in with the provider brings
them in line with the groups, and one by other means ends them, since nobody asked the provider.

FederationError
├── Deactivated   an admin here ended this person's access
├── NoAddress     the provider gave no mail address for someone new
├── NotYet        nobody is here yet, and this is not someone who would be an admin
├── Taken         someone here has this mail address, and has not connected the account
└── Unmapped      in no group that has a role here, and no role was given here
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from allauth.socialaccount.models import SocialAccount
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection, transaction

from mdm.accounts import first_admin, people
from mdm.accounts.models import Grant, User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.audit.record import record
from mdm.models import Group
from mdm.providers import IdentityProvider

_log = structlog.get_logger(__name__)
_LOCK = 0x4F494443


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom a provider says it has before it. `subject` alone says who that is: the mail address and
    the names are what it calls them, and may be anybody's.
    """

    provider: IdentityProvider
    subject: str
    groups: frozenset[str]
    email: str = ""
    username: str = ""
    name: str = ""

    @property
    def source(self) -> str:
        return source(self.provider.id)

    @property
    def actor(self) -> Actor:
        return Actor.system(f"OIDC {self.provider.name}")


class FederationError(Exception):
    """Any refusal; its message is a sentence for whoever wanted to come in."""


class Deactivated(FederationError):
    """An admin here ended this person's access."""


class NoAddress(FederationError):
    """The provider gave no mail address for someone new."""


class NotYet(FederationError):
    """Nobody is here yet, and this is not someone who would be an admin."""


class Taken(FederationError):
    """Someone here has this mail address, and has not connected the account."""


class Unmapped(FederationError):
    """In no group that has a role here, and no role was given here."""


def source(provider_id: str) -> str:
    """What `Grant.source` says of roles that come from this provider."""
    return f"oidc:{provider_id}"


def admit(identity: Identity) -> SocialAccount:
    """Whom the provider has before it, with their roles in line with their groups: someone who is
    known, or someone new, who is made. Raises FederationError.

    What it found out about the roles stays, also where it lets nobody in.
    """
    with transaction.atomic():
        _one_at_a_time(identity)
        wanted = _wanted(identity)
        account = _known(identity) or _introduce(identity, wanted)
        _align(identity, account.user, wanted)
    if not account.user.held():
        raise _unmapped(identity)
    return account


@transaction.atomic
def came_otherwise(user: User) -> None:
    """End what providers gave to someone who has signed in by other means."""
    for given in Grant.objects.current().filter(user=user).exclude(source=""):
        _end(Actor.system("sign-in without the identity provider"), given)


def connected(actor: Actor, account: SocialAccount) -> None:
    """Note that someone can sign in with this account from now on."""
    _record(actor, "people.connect", account)


@transaction.atomic
def disconnected(actor: Actor, account: SocialAccount) -> None:
    """End what came from this provider, which nobody will ask about them any more."""
    current = Grant.objects.current().filter(user=account.user)
    for given in current.filter(source=source(account.provider)):
        _end(Actor.system(f"{account.user} disconnected"), given)
    _record(actor, "people.disconnect", account)


def _known(identity: Identity) -> SocialAccount | None:
    accounts = SocialAccount.objects.select_related("user")
    account = accounts.filter(provider=identity.provider.id, uid=identity.subject).first()
    if account is not None and not account.user.is_active:
        raise Deactivated(
            f"{account.user} is deactivated here. Ask an admin to activate the account again."
        )
    return account


def _introduce(identity: Identity, wanted: set[tuple[Role, int | None]]) -> SocialAccount:
    """Someone new. Nobody is taken for someone who is here because of a mail address: it is the
    provider's word, and who has the address there need not be who has it here.
    """
    if not wanted:
        raise _unmapped(identity)
    if first_admin.is_missing() and (Role.ADMIN, None) not in wanted:
        raise NotYet("This server is not set up yet. It begins with an admin.")
    email = _address(identity)
    if User.objects.filter(email__iexact=email).exists():
        raise Taken(
            f"Someone with the mail address {email} is here already. If that is you, sign in with"
            f" your password and connect {identity.provider.name} under your name > Sign-in"
            " methods."
        )
    name = identity.username.partition("@")[0] or email
    user = User(username=people.free_username(name), email=email, first_name=identity.name[:150])
    user.set_unusable_password()
    user.save()
    told = {"username": user.username, "email": email, "provider": identity.provider.id}
    record(identity.actor, "people.arrive", subject_kind="person", subject_id=user.pk, after=told)
    return SocialAccount.objects.create(
        user=user,
        provider=identity.provider.id,
        uid=identity.subject,
        extra_data={"email": email},
    )


def _address(identity: Identity) -> str:
    # Some providers have it as the name to sign in with alone.
    for given in (identity.email, identity.username):
        try:
            validate_email(given)
        except ValidationError:
            continue
        if len(given) <= 254:
            return given.lower()
    raise NoAddress(
        f"{identity.provider.name} gave no mail address for you, and a new account here needs one."
        " Ask an admin."
    )


def _wanted(identity: Identity) -> set[tuple[Role, int | None]]:
    """The roles, with the groups of devices that they are limited to, that the file gives."""
    found: set[tuple[Role, int | None]] = set()
    for rule in identity.provider.rules:
        if rule.claim_group not in identity.groups:
            continue
        if not rule.group:
            found.add((Role(rule.role), None))
            continue
        group = Group.objects.filter(name__iexact=rule.group).first()
        if group is None:
            _log.warning("GUARD_OIDC names a group of devices that is not there", group=rule.group)
        else:
            found.add((Role(rule.role), group.pk))
    return found


def _align(identity: Identity, user: User, wanted: set[tuple[Role, int | None]]) -> None:
    """New roles first: where one admin's role follows another, there is always one."""
    current = Grant.objects.current().filter(user=user, source=identity.source)
    held = {(Role(given.role), given.group_id): given for given in current}
    for role, group in sorted(wanted - held.keys(), key=str):
        people.grant(
            identity.actor,
            user,
            role=role,
            group=Group.objects.get(pk=group) if group is not None else None,
            source=identity.source,
        )
    for key in sorted(held.keys() - wanted, key=str):
        _end(identity.actor, held[key])


def _end(actor: Actor, given: Grant) -> None:
    """The last admin stays one whatever the provider says: to lock everybody out helps nobody."""
    try:
        people.end_grant(actor, given)
    except people.LastOne:
        _log.warning(
            "The last admin was kept, though their identity provider no longer makes them one",
            user=given.user.username,
            source=given.source,
        )


def _unmapped(identity: Identity) -> Unmapped:
    return Unmapped(
        f"Your account at {identity.provider.name} is in no group that has a role here. Ask an"
        " admin."
    )


def _record(actor: Actor, action: str, account: SocialAccount) -> None:
    told = {"username": account.user.username, "provider": account.provider}
    record(actor, action, subject_kind="person", subject_id=account.user_id, after=told)


def _one_at_a_time(identity: Identity) -> None:
    """Two first sign-ins at the same moment make one person."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s, hashtext(%s))",
            [_LOCK, f"{identity.provider.id}:{identity.subject}"],
        )
