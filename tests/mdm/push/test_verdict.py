"""What Apple's answers mean, and how long to wait after each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from mdm.push.transport import Interrupted, NoAnswer, Outcome, Unreachable
from mdm.push.verdict import AGAIN, LATEST, SOONEST, Fate, History, Verdict, judge

UPDATED = datetime(2026, 11, 1, 12, tzinfo=UTC)
UPDATED_MS = int(UPDATED.timestamp() * 1000)


def history(accepted: int = 0, failing_for: timedelta | None = None) -> History:
    return History(accepted, failing_for, UPDATED)


def delay_of(verdict: Verdict) -> timedelta:
    assert verdict.delay is not None
    return verdict.delay


@pytest.mark.parametrize(("accepted", "hours"), [(0, 1), (1, 6), (2, 24), (8, 24), (9, 168)])
def test_an_accepted_push_is_repeated_ever_more_rarely(accepted: int, hours: int) -> None:
    verdict = judge(Outcome(200), history(accepted))
    assert verdict.fate is Fate.ACCEPTED
    assert timedelta(hours=hours) <= delay_of(verdict) <= 1.2 * timedelta(hours=hours)


def test_half_a_year_without_contact_ends_the_pushes_until_there_is_something_new() -> None:
    assert judge(Outcome(200), history(len(AGAIN))) == Verdict(Fate.ACCEPTED)


def test_a_410_newer_than_the_token_is_believed() -> None:
    verdict = judge(Outcome(410, "Unregistered", UPDATED_MS + 1), history())
    assert verdict == Verdict(Fate.REFUSED, "410 Unregistered")


@pytest.mark.parametrize("timestamp", [UPDATED_MS, UPDATED_MS - 1000, None])
def test_a_410_that_may_be_of_an_older_token_is_not_believed(timestamp: int | None) -> None:
    verdict = judge(Outcome(410, "Unregistered", timestamp), history())
    assert verdict.fate is Fate.LATER
    assert not verdict.trouble


@pytest.mark.parametrize("reason", ["BadDeviceToken", "DeviceTokenNotForTopic"])
def test_a_bad_token_is_left_alone(reason: str) -> None:
    assert judge(Outcome(400, reason), history()) == Verdict(Fate.REFUSED, f"400 {reason}")


@pytest.mark.parametrize(
    "outcome", [Outcome(403, "BadCertificate"), Outcome(403), Outcome(400, "TopicDisallowed")]
)
def test_a_problem_of_the_certificate_is_said_to_be_one(outcome: Outcome) -> None:
    verdict = judge(outcome, history())
    assert verdict.fate is Fate.LATER
    assert verdict.trouble == verdict.problem == f"{outcome.status} {outcome.reason}".strip()


@pytest.mark.parametrize(
    "result",
    [
        Outcome(429),
        Outcome(429, "TooManyRequests"),
        Outcome(500, "InternalServerError"),
        Outcome(503, "ServiceUnavailable"),
        Outcome(400, "PayloadEmpty"),
        Outcome(0),
        Interrupted("the stream was reset"),
        NoAnswer("no answer within 10 s"),
        RuntimeError("a defect"),
    ],
)
def test_what_concerns_one_push_is_tried_again_and_stops_no_other(
    result: Outcome | Exception,
) -> None:
    verdict = judge(result, history())
    assert verdict.fate is Fate.LATER
    assert verdict.problem
    assert not verdict.trouble


def test_a_service_that_cannot_be_reached_is_everyone_s_trouble() -> None:
    verdict = judge(Unreachable("refused"), history())
    assert verdict.fate is Fate.LATER
    assert verdict.trouble == "APNs cannot be reached: refused"


def test_the_wait_doubles_with_the_time_it_has_been_failing() -> None:
    failing_for, waits = timedelta(0), []
    for _ in range(12):
        wait = delay_of(judge(Outcome(503), history(failing_for=failing_for or None)))
        waits.append(wait)
        failing_for += wait
    assert SOONEST <= waits[0] <= 1.2 * SOONEST
    assert all(earlier <= 1.2 * later for earlier, later in pairwise(waits))
    assert LATEST <= waits[-1] <= 1.2 * LATEST


def test_waits_are_spread() -> None:
    waits = {judge(Outcome(503), history()).delay for _ in range(50)}
    assert len(waits) > 40
