"""Where people are signed in, and ending that: one's own sessions, or someone else's. allauth keeps
a row for each.
"""

from __future__ import annotations

from collections.abc import Iterable

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from mdm.accounts.models import User
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record, somewhere


def of(user: User) -> QuerySet[UserSession]:
    """Where this person is signed in now, the newest first."""
    lasting = Session.objects.filter(expire_date__gt=timezone.now())
    rows: QuerySet[UserSession] = UserSession.objects.filter(
        user=user, session_key__in=lasting.values("session_key")
    )
    return rows.order_by("-pk")


def end(actor: Actor, session: UserSession) -> None:
    """Sign a browser out, one's own or someone else's. Raises NotAllowed."""
    if actor.user_id == session.user_id:
        # Not with a token: one that was stolen would keep its owner out.
        somewhere(actor, "session.end")
    else:
        allow(actor, "people.sign_out")
    _end(actor, session.user, [session])


def end_others(actor: Actor, user: User, session_key: str | None) -> int:
    """Sign oneself out everywhere but in the session with this key, which takes no right; how many
    sessions that were.
    """
    return _end(actor, user, of(user).exclude(session_key=session_key or ""))


def sign_out(actor: Actor, user: User) -> int:
    """Sign `user` out everywhere; how many sessions that were. API tokens stay as they are. Raises
    NotAllowed.
    """
    allow(actor, "people.sign_out")
    if actor.user_id == user.pk:
        # As with one session of theirs.
        somewhere(actor, "session.end")
    return _end(actor, user, of(user))


@transaction.atomic
def _end(actor: Actor, user: User, sessions: Iterable[UserSession]) -> int:
    ended = list(sessions)
    for each in ended:
        each.end()
    if ended:
        told = {"username": user.username, "sessions": len(ended)}
        record(actor, "people.sign_out", subject_kind="person", subject_id=user.pk, after=told)
    return len(ended)
