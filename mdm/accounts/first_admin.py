"""The first admin of a new server: made once, by whoever reads the server's log or console.

While there is nobody, the dashboard leads to the set-up page, which asks for the token that the
server prints when its database is made. Once there is someone it is worth nothing.
"""

from __future__ import annotations

import structlog
from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection, transaction
from django.urls import reverse
from django.utils.crypto import constant_time_compare, salted_hmac

from mdm.accounts.models import Grant, User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.audit.record import record

_log = structlog.get_logger(__name__)


class NotFirst(Exception):
    """There is someone already."""


class BadFirst(Exception):
    """What was filled in cannot be taken; `errors` says why, by field."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = errors


def is_missing() -> bool:
    """Whether nobody is there yet."""
    return not User.objects.exists()


def token(secret_key: str | None = None) -> str:
    """What proves that someone can read this server's log: 40 hexadecimal digits, the same until
    the server's secret key is another.
    """
    made = salted_hmac("guard.first-admin", "token", secret_key, algorithm="sha256")
    return made.hexdigest()[:40]


def read_token(actor: Actor) -> str:
    """The token, for whoever has the server's command line; that they read it is recorded."""
    record(actor, "people.set_up.read_token", subject_kind="server", subject_id="set-up token")
    return token()


def address() -> str:
    return f"{settings.ENV.dashboard_url}{reverse('set_up')}"


def announce() -> None:
    """Say in the log how to set the server up, while there is nobody."""
    if is_missing():
        _log.warning(
            f"Nobody can sign in yet. Open {address()} and give this set-up token: {token()}"
        )


@transaction.atomic
def make(given: str, *, name: str, email: str, password: str) -> User:
    """The first admin, for whoever gives the token. Raises NotFirst, BadFirst."""
    with connection.cursor() as cursor:
        # Two who do it at once: the second finds someone.
        cursor.execute("LOCK TABLE accounts_user IN SHARE ROW EXCLUSIVE MODE")
    if not is_missing():
        raise NotFirst("This server is set up already. Sign in, or ask an admin to invite you.")
    user = User(username="admin", email=email.strip().lower(), first_name=name.strip()[:150])
    errors = _complaints(user, given, password)
    if errors:
        raise BadFirst(errors)
    user.set_password(password)
    user.save()
    Grant.objects.create(user=user, role=Role.ADMIN, given_by="set-up")
    record(
        Actor.system("set-up"),
        "people.set_up",
        subject_kind="person",
        subject_id=user.pk,
        after={"username": user.username, "email": user.email},
    )
    return user


def _complaints(user: User, given: str, password: str) -> dict[str, str]:
    errors: dict[str, str] = {}
    if not constant_time_compare(given.strip(), token()):
        errors["token"] = "This is not the token that the server printed in its log."
    try:
        validate_email(user.email)
    except ValidationError:
        errors["email"] = "This is not a mail address."
    try:
        validate_password(password, user)
    except ValidationError as refused:
        errors["password"] = " ".join(refused.messages)
    return errors
