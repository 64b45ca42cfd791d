"""People: inviting them, switching them off and on, and letting the last one back in.

Signing in, passwords and second factors are allauth's.

PeopleError
├── AlreadyThere      someone has this mail address
├── BadAddress        not a mail address
└── LastOne           nobody could sign in any more
"""

from __future__ import annotations

from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.urls import reverse

from mdm.accounts.models import User
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record


class PeopleError(Exception):
    """Any refusal; its message is a sentence for people."""


class AlreadyThere(PeopleError):
    """Someone has this mail address."""


class BadAddress(PeopleError):
    """Not a mail address."""


class LastOne(PeopleError):
    """Nobody could sign in any more."""


@transaction.atomic
def invite(actor: Actor, *, email: str, name: str = "") -> User:
    """A person who has yet to choose a password, with the link of `access_link`.

    Raises NotAllowed, BadAddress, AlreadyThere.
    """
    allow(actor, "people.invite")
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise BadAddress("This is not a mail address.") from None
    if User.objects.filter(email__iexact=email).exists():
        raise AlreadyThere("Someone with this mail address is here already.")
    user = User(username=_free_username(email), email=email, first_name=name.strip()[:150])
    user.set_unusable_password()
    user.save()
    _record(actor, "people.invite", user)
    return user


@transaction.atomic
def deactivate(actor: Actor, user: User) -> None:
    """End someone's access at once, tokens included. Raises NotAllowed and LastOne."""
    allow(actor, "people.deactivate")
    others = User.objects.select_for_update().filter(is_active=True).order_by("pk")
    if not any(other.pk != user.pk and is_settled(other) for other in others):
        raise LastOne("Nobody else can sign in. Invite someone first, then deactivate this person.")
    _switch(user, active=False)
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
    _record(actor, "people.link", user)
    key = f"{user_pk_to_url_str(user)}-{default_token_generator.make_token(user)}"
    uid, _, token = key.partition("-")
    path = reverse("account_reset_password_from_key", kwargs={"uidb36": uid, "key": token})
    return f"{settings.ENV.dashboard_url}{path}"


@transaction.atomic
def recover(actor: Actor, user: User) -> str:
    """For whoever has the server's command line: switch this person on, drop their second
    factors, and return the link of `access_link`. Raises NotAllowed."""
    allow(actor, "people.recover")
    _switch(user, active=True)
    factors, _ = Authenticator.objects.filter(user=user).delete()
    record(
        actor,
        "people.recover",
        subject_kind="person",
        subject_id=user.pk,
        after={"username": user.username, "second_factors_removed": factors},
    )
    return access_link(actor, user)


def is_settled(user: User) -> bool:
    """Whether this person has chosen a password, and can so sign in."""
    return user.is_active and user.has_usable_password()


def _switch(user: User, *, active: bool) -> None:
    user.is_active = active
    user.save(update_fields=["is_active"])


def _record(actor: Actor, action: str, user: User) -> None:
    after = {"username": user.username, "email": user.email, "active": user.is_active}
    record(actor, action, subject_kind="person", subject_id=user.pk, after=after)


def _free_username(email: str) -> str:
    base = email.partition("@")[0][:100]
    taken = set(User.objects.filter(username__startswith=base).values_list("username", flat=True))
    number = 1
    name = base
    while name in taken:
        number += 1
        name = f"{base}{number}"
    return name
