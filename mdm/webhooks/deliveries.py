"""The rows behind webhooks, one statement each: what is laid out for whom, what is due, what came
of it. When to send what is decided in `sending.py`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from mdm import statements
from mdm.webhooks.models import Delivery, Event, Subscription

State = Delivery.State

# Longer than sending can take, a resolver's patience included: a delivery that nobody settled was
# its sender's last.
LEASE = timedelta(seconds=120)
# Requests to one receiver at the same time; to one that fails, a single one, to see whether it
# still does.
AT_ONCE = 4
_KEPT_ATTEMPTS = 20
_LOCK = 0x57454248
# `delivered_at` is for people: not written at each of many.
_A_WHILE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A delivery that was due, with all that it takes to send it. `lease` is its `due_at`."""

    id: int
    lease: datetime
    tries: int
    attempts: list[dict[str, Any]]
    event: Event
    subscription: int
    url: str
    sealed_secrets: tuple[bytes, ...]


def spread(limit: int = 1_000) -> int:
    """Lay the next events out for the webhooks that want them; returns how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(_SPREAD, {"limit": limit})
        return int(cursor.rowcount)


def claim(limit: int) -> list[Claim]:
    """Up to `limit` deliveries that are due, leased to us, and to no receiver more at the same time
    than it should get.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # One claims at a time, or two would both find the same receiver idle.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        rows = statements.every(
            _CLAIM, {"limit": limit, "lease": LEASE.total_seconds(), "at_once": AT_ONCE}
        )
    return [_read(row) for row in rows]


def settle(claim: Claim, state: Delivery.State, again: timedelta, attempt: dict[str, Any]) -> bool:
    """Write what came of a claim; `again` is when to try next, if it waits. False where the lease
    was over and someone else has it.
    """
    waits = state == State.WAITING
    ours = Delivery.objects.filter(pk=claim.id, state=State.SENDING, due_at=claim.lease)
    settled = ours.update(
        state=state,
        due_at=timezone.now() + again if waits else None,
        tries=claim.tries + 1,
        attempts=[*claim.attempts, attempt][-_KEPT_ATTEMPTS:],
    )
    return bool(settled)


def note(subscription: int, *, delivered: bool) -> None:
    """Note on a webhook that its receiver answered as it should, or did not."""
    now = timezone.now()
    rows = Subscription.objects.filter(pk=subscription)
    if delivered:
        old = Q(delivered_at=None) | Q(delivered_at__lt=now - _A_WHILE)
        rows.filter(old | Q(failing_since__isnull=False)).update(
            delivered_at=now, failing_since=None
        )
    else:
        rows.filter(failing_since=None).update(failing_since=now)


def _read(row: statements.Row) -> Claim:
    return Claim(
        id=row["id"],
        lease=row["due_at"],
        tries=row["tries"],
        attempts=_json(row["attempts"]),
        event=Event(
            pk=row["event_id"],
            **{name: row[name] for name in ("kind", "version", "at", "subject")},
            data=_json(row["data"]),
        ),
        subscription=row["subscription_id"],
        url=row["url"],
        sealed_secrets=tuple(
            bytes(each) for each in (row["sealed_secret"], row["old_secret"]) if each is not None
        ),
    )


def _json(value: Any) -> Any:
    # Django leaves jsonb as text where no model reads it.
    return json.loads(value) if isinstance(value, str) else value


# "enrollment.*" is the section that "enrollment.ended" belongs to. A webhook that is being deleted
# is waited for, and then gets nothing.
_SPREAD = """
WITH next AS MATERIALIZED (
    SELECT id, kind, at FROM webhooks_event WHERE spread_at IS NULL
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), laid_out AS (
    INSERT INTO webhooks_delivery (subscription_id, event_id, at, state, due_at, tries, attempts)
    SELECT s.id, next.id, next.at, 'waiting', now(), 0, '[]'
    FROM next JOIN webhooks_subscription s
         ON s.active AND next.at >= s.active_since
            AND s.kinds && ARRAY[next.kind, split_part(next.kind, '.', 1) || '.*']::varchar[]
    ORDER BY next.id, s.id
    FOR KEY SHARE OF s
    ON CONFLICT (subscription_id, event_id) DO NOTHING
)
UPDATE webhooks_event e SET spread_at = now() FROM next WHERE e.id = next.id
"""

# What lost its event cannot be sent, and must not take the place of what can.
_CLAIM = """
WITH room AS MATERIALIZED (
    SELECT s.id, CASE WHEN s.failing_since IS NULL THEN %(at_once)s::int ELSE 1 END - (
        SELECT count(*) FROM webhooks_delivery d
        WHERE d.subscription_id = s.id AND d.state = 'sending' AND d.due_at > statement_timestamp()
    ) AS free
    FROM webhooks_subscription s WHERE s.active
), due AS MATERIALIZED (
    SELECT d.id FROM room CROSS JOIN LATERAL (
        SELECT id, due_at FROM webhooks_delivery
        WHERE subscription_id = room.id AND due_at <= statement_timestamp()
              AND EXISTS (SELECT FROM webhooks_event e WHERE e.id = event_id)
        ORDER BY due_at LIMIT greatest(room.free, 0)
        FOR NO KEY UPDATE SKIP LOCKED
    ) d
    ORDER BY d.due_at LIMIT %(limit)s
)
UPDATE webhooks_delivery d
SET state = 'sending', due_at = statement_timestamp() + make_interval(secs => %(lease)s)
FROM due, webhooks_event e, webhooks_subscription s
WHERE d.id = due.id AND e.id = d.event_id AND s.id = d.subscription_id
RETURNING d.id, d.due_at, d.tries, d.attempts, d.event_id, d.subscription_id,
          e.kind, e.version, e.at, e.subject, e.data, s.url, s.sealed_secret,
          CASE WHEN s.old_secret_until > now() THEN s.sealed_old_secret END AS old_secret
"""
