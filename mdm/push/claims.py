"""The rows behind wake-ups, one statement each: who is to be woken, who is due, what came of it.
When to do what is decided in `wake.py` and `verdict.py`.

Statements that touch many enrollments lock them in the order of their ids, so that two of them
never wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from mdm.models import Enrollment
from mdm.push.verdict import REFUSALS, Fate, History, Verdict

# Longer than a push can take: a claim that nobody settled was its worker's last.
LEASE = timedelta(seconds=60)
DEBOUNCE = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Claim:
    """An enrollment that was due, as it was then. `lease` is what its `wake_at` says meanwhile."""

    enrollment_id: int
    lease: datetime
    state: str
    topic: str
    push_magic: str
    sealed_push_token: bytes | None
    history: History


def want(enrollment_ids: Sequence[int], *, rate: int, refused_too: bool) -> int:
    """Set when to wake these, `rate` of them each second; returns how many can be woken at all.

    `wake_at` never gets a value it had before: whoever read one and found nothing to do clears
    it only if it is still the same.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _WANT,
            {
                "ids": list(enrollment_ids),
                "states": [
                    Enrollment.State.AUTHENTICATED.value,
                    Enrollment.State.ENROLLED.value,
                ],
                "refusals": [] if refused_too else list(REFUSALS),
                "rate": rate,
                "debounce": DEBOUNCE.total_seconds(),
            },
        )
        return int(cursor.rowcount)


def claim(limit: int) -> list[Claim]:
    """Up to `limit` enrollments that are due, the longest waiting first, each leased to us."""
    with connection.cursor() as cursor:
        cursor.execute(
            _CLAIM,
            {
                "limit": limit,
                "lease": LEASE.total_seconds(),
                "waiting": Enrollment.State.AUTHENTICATED.value,
            },
        )
        return [_read(row) for row in cursor.fetchall()]


def settle(verdicts: Sequence[tuple[Claim, Verdict]]) -> None:
    """Write what came of claims. Where a TokenUpdate, a connect or something new came in between,
    that stands."""
    claims = [claim for claim, _ in verdicts]
    ruled = [verdict for _, verdict in verdicts]
    with connection.cursor() as cursor:
        cursor.execute(
            _SETTLE,
            {
                "ids": [claim.enrollment_id for claim in claims],
                "leases": [claim.lease for claim in claims],
                "tokens": [claim.history.token_updated_at for claim in claims],
                "accepted": [verdict.fate is Fate.ACCEPTED for verdict in ruled],
                "ended": [verdict.fate in (Fate.REFUSED, Fate.NONE) for verdict in ruled],
                "problems": [verdict.problem for verdict in ruled],
                "delays": [verdict.delay for verdict in ruled],
            },
        )


def _read(row: tuple[Any, ...]) -> Claim:
    enrollment_id, lease, state, topic, magic, token, updated_at, accepted, failing_for = row
    return Claim(
        enrollment_id,
        lease,
        state,
        topic,
        magic,
        None if token is None else bytes(token),
        History(accepted, failing_for, updated_at),
    )


_WANT = """
WITH chosen AS (
  SELECT id, greatest(clock_timestamp(), pushed_at + make_interval(secs => %(debounce)s)) AS at
  FROM mdm_enrollment
  WHERE id = ANY(%(ids)s::bigint[])
    AND state = ANY(%(states)s::text[])
    AND NOT (push_problem = ANY(%(refusals)s::text[])
             AND push_problem_at >= coalesce(token_updated_at, '-infinity'))
  ORDER BY id
  FOR NO KEY UPDATE
), paced AS (
  SELECT id, at + make_interval(secs => (row_number() OVER (ORDER BY id) - 1) / %(rate)s) AS at
  FROM chosen
)
UPDATE mdm_enrollment AS e
SET wake_attempts = 0,
    wake_at = CASE
      WHEN e.wake_at >= paced.at AND e.wake_at < paced.at + interval '1 second'
      THEN e.wake_at + interval '1 microsecond'
      ELSE paced.at
    END
FROM paced
WHERE e.id = paced.id
"""

# A device between Authenticate and TokenUpdate keeps its wish until it has a token.
_CLAIM = """
WITH due AS (
  SELECT id
  FROM mdm_enrollment
  WHERE wake_at <= statement_timestamp() AND state <> %(waiting)s
  ORDER BY wake_at
  LIMIT %(limit)s
  FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE mdm_enrollment AS e
SET wake_at = statement_timestamp() + make_interval(secs => %(lease)s)
FROM due
WHERE e.id = due.id
RETURNING e.id, e.wake_at, e.state, e.topic, e.push_magic, e.sealed_push_token,
          e.token_updated_at, e.wake_attempts, clock_timestamp() - e.push_problem_at
"""

_SETTLE = """
WITH settled AS (
  SELECT *
  FROM unnest(
    %(ids)s::bigint[], %(leases)s::timestamptz[], %(tokens)s::timestamptz[],
    %(accepted)s::boolean[], %(ended)s::boolean[], %(problems)s::text[], %(delays)s::interval[]
  ) AS _(id, lease, token, accepted, ended, problem, delay)
), held AS (
  SELECT id FROM mdm_enrollment WHERE id = ANY(%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE
)
UPDATE mdm_enrollment AS e
SET pushed_at = CASE WHEN s.accepted THEN clock_timestamp() ELSE e.pushed_at END,
    wake_attempts = e.wake_attempts
      + CASE WHEN s.accepted AND e.wake_at = s.lease THEN 1 ELSE 0 END,
    push_problem = s.problem,
    push_problem_at = CASE
      WHEN s.problem = '' THEN NULL
      WHEN s.ended OR e.push_problem_at IS NULL THEN clock_timestamp()
      ELSE e.push_problem_at
    END,
    wake_at = CASE
      WHEN s.ended THEN NULL
      WHEN e.wake_at = s.lease THEN clock_timestamp() + s.delay
      ELSE e.wake_at
    END
FROM settled AS s, held
WHERE e.id = s.id AND held.id = s.id AND e.token_updated_at IS NOT DISTINCT FROM s.token
"""
