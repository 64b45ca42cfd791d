"""What Apple's answer to a push means for its enrollment, and when to push again. Which rows that
touches is in `claims.py`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from mdm.push.transport import Interrupted, NoAnswer, Outcome, PushError, Unreachable

# After each accepted push that nothing came of. Apple keeps the last push for seven days, so that
# pushing weekly reaches a device whenever it comes back; after half a year only something new
# wakes it.
AGAIN = (
    timedelta(hours=1),
    timedelta(hours=6),
    *[timedelta(days=1)] * 7,
    *[timedelta(weeks=1)] * 26,
)
# After a push that was not accepted: as long as it has been failing already, within these.
SOONEST = timedelta(seconds=15)
LATEST = timedelta(minutes=15)
_JITTER = 0.2

# What makes a token useless until the next TokenUpdate brings another.
REFUSALS = (
    "400 BadDeviceToken",
    "400 DeviceTokenNotForTopic",
    "400 MissingDeviceToken",
    "410 ExpiredToken",
    "410 Unregistered",
    "413 PayloadTooLarge",
)
# What is no fault of the one enrollment but of the push certificate, besides every 403.
_CERTIFICATE_FAULTS = frozenset({"400 BadTopic", "400 MissingTopic", "400 TopicDisallowed"})
_LONGEST_PROBLEM = 100


class Fate(Enum):
    """ACCEPTED: by Apple, which proves no delivery. LATER: not accepted, to be tried again.
    REFUSED: the token is no good. NONE: there is nobody to wake."""

    ACCEPTED = "accepted"
    LATER = "later"
    REFUSED = "refused"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`delay` until the next push, None for never; `problem` in Apple's words or a sentence's.

    `trouble` is set where no push can succeed: the certificate's or the connection's problem.
    """

    fate: Fate
    problem: str = ""
    delay: timedelta | None = None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class History:
    """What is known of an enrollment's pushes: how many were accepted since there was something
    new, since when they fail (None while they do not), when its token came."""

    accepted: int
    failing_for: timedelta | None
    token_updated_at: datetime | None


NOBODY = Verdict(Fate.NONE)


def judge(result: Outcome | BaseException, history: History) -> Verdict:
    """The verdict on what a transport returned or raised. Source: "Handling notification
    responses from APNs"."""
    if isinstance(result, BaseException):
        return _unanswered(result, history)
    if result.status == 200:
        return Verdict(Fate.ACCEPTED, delay=_next(history.accepted))
    problem = f"{result.status} {result.reason}".strip()
    if result.status == 403 or problem in _CERTIFICATE_FAULTS:
        return later(problem, history, trouble=problem)
    if problem in REFUSALS and (result.status != 410 or _newer(result, history)):
        return Verdict(Fate.REFUSED, problem)
    if result.status == 410:
        return later(f"{problem}, but of an older token", history)
    return later(problem, history)


def later(problem: str, history: History, *, trouble: str = "") -> Verdict:
    """Try again, the later the longer it has been failing."""
    delay = min(max(history.failing_for or SOONEST, SOONEST), LATEST)
    return Verdict(Fate.LATER, problem[:_LONGEST_PROBLEM], _spread(delay), trouble)


def _unanswered(error: BaseException, history: History) -> Verdict:
    match error:
        case Unreachable():
            problem = f"APNs cannot be reached: {error}"
            return later(problem, history, trouble=problem)
        case Interrupted() | NoAnswer() | PushError():
            return later(f"No answer from APNs: {error}", history)
    return later(f"The push failed: {type(error).__name__}", history)


def _newer(outcome: Outcome, history: History) -> bool:
    """Whether a 410 speaks of the token we hold and not of one before it."""
    if outcome.timestamp is None or history.token_updated_at is None:
        return False
    return outcome.timestamp > history.token_updated_at.timestamp() * 1000


def _next(accepted: int) -> timedelta | None:
    return _spread(AGAIN[accepted]) if accepted < len(AGAIN) else None


def _spread(delay: timedelta) -> timedelta:
    """Jitter, so that what failed together does not come back together."""
    return delay * random.uniform(1, 1 + _JITTER)  # noqa: S311
