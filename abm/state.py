"""How it stands with a server in ABM: connected, or what stopped working, why, and what to do.

What goes wrong in a conversation with Apple is noted here, and forgotten when Apple answers again;
how a conversation is held is `conversation.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from abm import client
from abm.models import Server
from mdm import moments
from mdm.standing import Tone
from mdm.webhooks.outbox import emit

Problem = Server.Problem

WARN_BEFORE = timedelta(days=30)
REMIND_DAYS = (30, 14, 7, 3, 1)
_HOUR = timedelta(hours=1)
# Not asked again before this much time has passed; a person may ask at any time.
_PAUSES = {
    Problem.TERMS_NOT_SIGNED: _HOUR,
    Problem.EXPIRED: _HOUR,
    Problem.REJECTED: _HOUR,
    Problem.REFUSED: _HOUR,
    Problem.THROTTLED: timedelta(minutes=10),
}


class Stuck(Exception):
    """Apple gave the same cursor back although more was to follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """`word` for the badge, `why` for the line below it, `stops` is what does not work meanwhile
    and `fix` what to do.
    """

    slug: str
    word: str
    tone: Tone
    icon: str
    why: str
    stops: str = ""
    fix: str = ""
    since: datetime | None = None
    # Whether a sync could succeed.
    syncs: bool = True


_ENROLLED = "Devices that are enrolled are not affected: commands and profiles go on."
_NO_SYNC = (
    "The sync stops: new devices do not appear and cannot be given a profile, so they do not enroll"
    f" by themselves, and what is shown of the others grows old. {_ENROLLED}"
)


def of(server: Server, now: datetime | None = None) -> State:
    """The state of a server at `now`."""
    now = now or timezone.now()
    if server.disconnected_at is not None:
        return State(
            slug="disconnected",
            word="Disconnected",
            tone="off",
            icon="plug-connected-x",
            why="Someone disconnected it here; its token was forgotten.",
            since=server.disconnected_at,
            syncs=False,
        )
    if server.sealed_token is None:
        return State(
            slug="awaiting",
            word="Awaiting token",
            tone="busy",
            icon="hourglass",
            why="Its certificate was made here, and no server token was uploaded yet.",
            fix="Upload the certificate in Apple Business Manager, download the token there and"
            " upload it here.",
            since=server.created_at,
            syncs=False,
        )
    if server.token_expires_at is not None and server.token_expires_at <= now:
        return _expired(server.token_expires_at)
    if server.problem:
        return _trouble(server)
    return _connected(server, now)


def note(server: Server, problem: str, said: str, retry_after: float | None = None) -> None:
    """A conversation with Apple failed. Called once per run."""
    now = timezone.now()
    pause = timedelta(seconds=retry_after) if retry_after else _PAUSES.get(Problem(problem))
    with transaction.atomic():
        before = Server.objects.select_for_update().get(pk=server.pk)
        Server.objects.filter(pk=server.pk).update(
            problem=problem,
            problem_said=said[:300],
            problem_at=before.problem_at if before.problem == problem else now,
            retry_at=now + pause if pause else None,
            stuck_runs=before.stuck_runs + 1 if problem == Problem.STUCK else before.stuck_runs,
        )
        if before.problem != problem:
            _tell(server, before.problem, problem)


def clear(server: Server) -> None:
    """Apple answered as it should."""
    with transaction.atomic():
        before = Server.objects.select_for_update().get(pk=server.pk)
        Server.objects.filter(pk=server.pk).update(
            problem="", problem_said="", problem_at=None, retry_at=None, stuck_runs=0
        )
        if before.problem:
            _tell(server, before.problem, "")


def problem_of(error: Exception) -> Server.Problem:
    """What an error of `abm.client`, or Stuck, says of the server."""
    for kind, problem in _PROBLEMS.items():
        if isinstance(error, kind):
            return problem
    return Problem.REFUSED


_PROBLEMS: dict[type[Exception], Server.Problem] = {
    client.TermsNotSigned: Problem.TERMS_NOT_SIGNED,
    client.TokenExpired: Problem.EXPIRED,
    client.TokenInvalid: Problem.REJECTED,
    client.Throttled: Problem.THROTTLED,
    client.Unavailable: Problem.UNREACHABLE,
    Stuck: Problem.STUCK,
}


def remind(now: datetime | None = None) -> int:
    """Put the approaching end of tokens into the outbox: 30, 14, 7, 3 and 1 days before it, and
    when it has come, each once. Returns how many were told.
    """
    now = now or timezone.now()
    told = 0
    due = Server.objects.filter(
        disconnected_at=None, sealed_token__isnull=False, token_expires_at__lte=now + WARN_BEFORE
    )
    for pk in due.values_list("pk", flat=True):
        with transaction.atomic():
            server = Server.objects.select_for_update().get(pk=pk)
            told += _remind(server, now)
    return told


def _remind(server: Server, now: datetime) -> int:
    if server.token_expires_at is None:
        return 0
    left = server.token_expires_at - now
    reached = [days for days in (*REMIND_DAYS, 0) if left <= timedelta(days=days)]
    if not reached or (server.reminded_days is not None and server.reminded_days <= min(reached)):
        return 0
    server.reminded_days = min(reached)
    server.save(update_fields=["reminded_days"])
    emit(
        "abm.token.expiring" if server.reminded_days else "abm.token.expired",
        str(server.pk),
        {
            "name": str(server),
            "expires_at": server.token_expires_at.isoformat(),
            "days": server.reminded_days,
        },
    )
    return 1


def days_left(moment: datetime, now: datetime) -> str:
    """ "today", "in 1 day", "in 12 days"."""
    days = (moment - now).days
    return "today" if days <= 0 else "in 1 day" if days == 1 else f"in {days} days"


def _connected(server: Server, now: datetime) -> State:
    expires = server.token_expires_at
    if expires is not None and expires - now <= WARN_BEFORE:
        return State(
            slug="expiring",
            word="Token expiring",
            tone="warning",
            icon="calendar-exclamation",
            why=f"The server token expires {days_left(expires, now)} ({moments.day(expires)}).",
            stops=f"Nothing yet. From then on: {_NO_SYNC[0].lower()}{_NO_SYNC[1:]}",
            fix="Download a new token for this server in Apple Business Manager and upload it here."
            " The download ends the old token at once, so upload the new one right away.",
        )
    return State(
        slug="connected",
        word="Connected",
        tone="good",
        icon="circle-check",
        why="Apple answers, and the token is good"
        + (f" until {moments.day(expires)}." if expires else "."),
        since=server.token_accepted_at,
    )


def _expired(expires: datetime) -> State:
    return State(
        slug="expired",
        word="Token expired",
        tone="bad",
        icon="calendar-x",
        why=f"The server token expired on {moments.day(expires)}.",
        stops=_NO_SYNC,
        fix="Download a new token for this server in Apple Business Manager and upload it here.",
        since=expires,
        syncs=False,
    )


def _trouble(server: Server) -> State:
    said = f" Apple said: {server.problem_said}" if server.problem_said else ""
    again = f" It is tried again at {moments.clock(server.retry_at)}." if server.retry_at else ""
    word, tone, icon, why, stops, fix = _TROUBLES[Problem(server.problem)]
    return State(
        slug=server.problem,
        word=word,
        tone=tone,
        icon=icon,
        why=f"{why}{said}{again}",
        stops=stops,
        fix=fix,
        since=server.problem_at,
    )


_TROUBLES: dict[Server.Problem, tuple[str, Tone, str, str, str, str]] = {
    Problem.TERMS_NOT_SIGNED: (
        "Terms not signed",
        "bad",
        "file-alert",
        "Apple has new terms and conditions, and your organization has not accepted them yet.",
        _NO_SYNC,
        "An administrator of your organization signs in at business.apple.com and accepts the new"
        " terms. Then check again here.",
    ),
    Problem.EXPIRED: (
        "Token expired",
        "bad",
        "calendar-x",
        "Apple says that the server token has expired.",
        _NO_SYNC,
        "Download a new token for this server in Apple Business Manager and upload it here.",
    ),
    Problem.REJECTED: (
        "Token rejected",
        "bad",
        "ban",
        "Apple does not accept the server token any more. Most often a newer token was downloaded"
        " in Apple Business Manager and not uploaded here, or the server was deleted there.",
        _NO_SYNC,
        "Upload the newest token. If nobody has it, download another one and upload that.",
    ),
    Problem.THROTTLED: (
        "Throttled",
        "warning",
        "hourglass",
        "Apple answers that there were too many requests.",
        f"News from Apple comes later than usual. {_ENROLLED}",
        "Nothing: the sync goes on where it stopped as soon as Apple allows it.",
    ),
    Problem.UNREACHABLE: (
        "Unreachable",
        "warning",
        "cloud-off",
        "Apple's device enrollment service does not answer as it should.",
        f"News from Apple comes later than usual. {_ENROLLED}",
        "If it lasts, look at apple.com/support/systemstatus, and whether this server may reach"
        " mdmenrollment.apple.com.",
    ),
    Problem.REFUSED: (
        "Refused",
        "bad",
        "ban",
        "Apple refused a request of the sync.",
        _NO_SYNC,
        "Look at the log of the last run. Check again here; if it stays, upload a new token.",
    ),
    Problem.STUCK: (
        "Stuck",
        "warning",
        "repeat",
        "Apple keeps giving the same place in its list back although more is to follow.",
        f"News from Apple may be missing. {_ENROLLED}",
        "Nothing: the next run tries again, and after three the whole list is read anew.",
    ),
}


def _tell(server: Server, before: str, after: str) -> None:
    data = {"name": str(server), "before": before or "connected", "after": after or "connected"}
    emit("abm.server.state", str(server.pk), data)
