"""History does not grow for ever: what is older than GUARD_HISTORY_DAYS is removed, in small steps.

Here are the walk and the core's own tables; what the other apps keep is removed in
`commands/retention.py` and `abm/retention.py`. Beside the tables named at the end, these grow and
stay: audit rows, what was disowned, and identities, which are the record of who did what and who
may speak; periods, which tell a machine's life in a line each; quarantined cases, because a
decision holds until it is taken back and one identity fills few rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.db import connection
from django.utils import timezone

from mdm import statements

log = structlog.get_logger(__name__)

# Rows that one statement looks at, and so at most removes. Each is a transaction of its own.
BATCH = 2_000
# What one run removes of one table at most: a worker comes back to its other work in a minute or
# two, and the next run goes on.
MOST = 500_000

_LOCK = 0x52455441
_DAY = 24 * 3600


@dataclass(frozen=True, slots=True)
class Table:
    """One table and the statement of one step through it.

    The statement gets `after`, `rows` and `before`. It looks at the next `rows` rows by id and says
    which was the `last` old one among them, how many it `removed`, and whether there may be `more`
    old ones after these.
    """

    name: str
    step: str


def limit() -> datetime:
    """What was over before this moment is not kept."""
    return timezone.now() - timedelta(days=settings.ENV.history_days)


def remove_old(rows: int = BATCH) -> int:
    """Remove what the core keeps no longer; returns how many rows. See `run`."""
    return run("mdm", TABLES, rows)


def remove_sessions() -> None:
    """Remove sessions that have ended: Django keeps each until somebody comes back with it."""
    SessionStore.clear_expired()
    UserSession.objects.exclude(session_key__in=Session.objects.values("session_key")).delete()


def run(whose: str, tables: Sequence[Table], rows: int) -> int:
    """Walk the tables, unless somebody else walks these already; returns how many rows went.

    It may be stopped at any moment: each step takes effect as a whole or not at all, and the next
    run goes on. Not to be called inside a transaction: it commits as it goes.
    """
    with _alone(whose) as mine:
        return sum(_walk(table, limit(), rows) for table in tables) if mine else 0


# Ids follow creation, and nothing is over before it is made: so the old stands at the beginning of
# the primary key, and no further index is needed, which every answer of a device would have to
# keep up; a BRIN index would lose its worth as new rows fill the room of removed ones. What stays
# although it is old (a command without an answer, the last message of a kind) is passed once a day
# and not by each run: how far the day's walk came is kept in the cache, where it may be lost.
def _walk(table: Table, before: datetime, rows: int) -> int:
    kept_as = f"retention:{table.name}:{timezone.now():%Y-%m-%d}"
    after = cache.get(kept_as, 0)
    removed = 0
    while removed < MOST:
        [step] = statements.every(table.step, {"after": after, "rows": rows, "before": before})
        removed += step["removed"]
        if step["last"] is not None:
            after = step["last"]
            cache.set(kept_as, after, _DAY)
        if not step["more"]:
            break
    if removed:
        log.info("history_removed", table=table.name, rows=removed)
    return removed


@contextmanager
def _alone(whose: str) -> Iterator[bool]:
    """Whether the turn is ours; it ends with the block, or with the process."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", [_LOCK, whose])
        if cursor.fetchone() != (True,):
            yield False
            return
        try:
            yield True
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", [_LOCK, whose])


# --- The statements -------------------------------------------------------------------------------
#
# As in connect, rows are found by arrays of ids and by lookups for one row each, never by joins: a
# join would have Postgres read a whole table to remove a few of its rows.

# The next rows that are old enough; each statement begins with this.
OLD = """
WITH next AS MATERIALIZED (
    SELECT id, {moment} AS moment FROM {table} WHERE id > %(after)s ORDER BY id LIMIT %(rows)s
), old AS MATERIALIZED (
    SELECT id FROM next WHERE moment < %(before)s
)"""
# Where something goes sooner, after a week or a day: GUARD_HISTORY_DAYS is never less.
A_WEEK = "now() - interval '7 days'"
OF_A_WEEK = OLD.replace("%(before)s", A_WEEK)
OF_A_MONTH = OLD.replace("%(before)s", "greatest(%(before)s, now() - interval '30 days')")
A_DAY = OLD.replace("%(before)s", "greatest(%(before)s, now() - interval '1 day')")
OLD_IDS = "ARRAY(SELECT id FROM old)"

# And ends with this; its part `removed` has a row for each that it removed.
RESULT = """
SELECT max(id) AS last, (SELECT count(*) FROM removed) AS removed,
       (SELECT count(*) FROM next) = %(rows)s AND max(id) = (SELECT max(id) FROM next) AS more
FROM old
"""


def _all(table: str, moment: str, old: str = OLD) -> Table:
    """A table whose rows go when they are old, whatever they say."""
    return Table(
        table,
        old.format(table=table, moment=moment)
        + f", removed AS (DELETE FROM {table} WHERE id = ANY ({OLD_IDS}) RETURNING id)"
        + RESULT,
    )


# The last message of each kind stays: how an enrollment came to be what it is. The lookup asks for
# the next key of an index in its order, so that no other plan can answer it.
_MESSAGES = Table(
    "mdm_checkinmessage",
    OLD.format(table="mdm_checkinmessage", moment="received_at")
    + f""", superseded AS MATERIALIZED (
    SELECT m.id FROM mdm_checkinmessage m
    WHERE m.id = ANY ({OLD_IDS})
          AND (SELECT n.id FROM mdm_checkinmessage n
               WHERE n.enrollment_id = m.enrollment_id AND n.message_type <= m.message_type
                     AND (n.message_type, n.id) > (m.message_type, m.id)
               ORDER BY n.message_type, n.id LIMIT 1) IS NOT NULL
), removed AS (
    DELETE FROM mdm_checkinmessage WHERE id = ANY (ARRAY(SELECT id FROM superseded)) RETURNING id
)"""
    + RESULT,
)

# A secret that was escrowed goes when the management that it was entrusted for ended long ago. Any
# row may be due, however old it is. Its enrollment is locked, so that one that comes back just now
# keeps what it has; one that somebody holds is left for the next day.
_ESCROW = Table(
    "mdm_escrow",
    """
WITH next AS MATERIALIZED (
    SELECT id, enrollment_id FROM mdm_escrow WHERE id > %(after)s ORDER BY id LIMIT %(rows)s
), old AS MATERIALIZED (
    SELECT id FROM next
), ended AS MATERIALIZED (
    SELECT e.id FROM mdm_enrollment e
    WHERE e.id = ANY (ARRAY(SELECT enrollment_id FROM next))
          AND e.state IN ('CheckedOut', 'Erased', 'Released')
          AND (SELECT ended_at FROM mdm_enrollmentperiod WHERE id = e.period_id) < %(before)s
    FOR UPDATE SKIP LOCKED
), removed AS (
    DELETE FROM mdm_escrow s
    WHERE s.id = ANY (ARRAY(SELECT id FROM next))
          AND s.enrollment_id = ANY (ARRAY(SELECT id FROM ended))
    RETURNING id
)"""
    + RESULT,
)

# An event stays while a delivery has it: deliveries are removed first, but not always all that are
# old. They are looked up webhook by webhook, as their index is.
_EVENTS = Table(
    "webhooks_event",
    OF_A_MONTH.format(table="webhooks_event", moment="at")
    + """, unused AS MATERIALIZED (
    SELECT o.id FROM old o
    WHERE (SELECT max((SELECT d.id FROM webhooks_delivery d
                       WHERE d.subscription_id = s.id AND d.event_id = o.id))
           FROM webhooks_subscription s) IS NULL
), removed AS (
    DELETE FROM webhooks_event WHERE id = ANY (ARRAY(SELECT id FROM unused)) RETURNING id
)"""
    + RESULT,
)

TABLES = (
    _MESSAGES,
    _ESCROW,
    # A delivery is nothing without its event.
    _all("webhooks_delivery", "at", OF_A_MONTH),
    _EVENTS,
    _all("mdm_refusal", "hour"),
    _all("audit_refusedrequest", "hour"),
    _all("accounts_keptanswer", "at", A_DAY),
)
