"""What people, tokens and strangers were refused: counted and summed up by the hour, so that nobody
can fill a table by asking for what they may not do.

Devices' refusals are `mdm/refusals.py`. Edges call `count` where they turn the domain's NotAllowed
into an answer, after the transaction of what was asked for is gone.
"""

from __future__ import annotations

import structlog
from django.db import Error, connection
from django.utils import timezone

from mdm.audit.actor import Actor

log = structlog.get_logger(__name__)

# Rows that an hour has at most for strangers, and for each kind of actor. A flood of strangers
# leaves the rows of people alone, and what does not fit is summed up in one row for each action.
MOST = 300
# Of these so many are for one actor with an address each; what goes beyond is summed up in rows of
# that actor without an address. So nobody who signed in takes up everybody's.
EACH = 40

# Counts that were made in the last moment before a machine loses its power may be lost with it: the
# commit need not wait for the disk.
_COUNT = """
WITH own AS MATERIALIZED (
    SELECT CASE WHEN %(kind)s = '' OR count(*) < %(each)s
                     OR bool_or(action = %(action)s AND address = %(address)s)
                THEN %(address)s ELSE '' END AS address
    FROM audit_refusedrequest
    WHERE hour = %(hour)s AND actor_kind = %(kind)s AND actor_id = %(id)s
), fits AS MATERIALIZED (
    SELECT own.address, EXISTS (
               SELECT FROM audit_refusedrequest r
               WHERE hour = %(hour)s AND actor_kind = %(kind)s AND actor_id = %(id)s
                     AND action = %(action)s AND r.address = own.address
           ) OR (
               SELECT count(*) FROM audit_refusedrequest
               WHERE hour = %(hour)s AND actor_kind = %(kind)s
           ) < %(most)s AS fits
    FROM own
)
INSERT INTO audit_refusedrequest AS r
    (hour, actor_kind, actor_id, actor_name, address, action, count, first_at, last_at, detail,
     request_id)
SELECT %(hour)s, CASE WHEN fits THEN %(kind)s ELSE '' END,
       CASE WHEN fits THEN %(id)s ELSE '*' END, CASE WHEN fits THEN %(name)s ELSE '' END,
       CASE WHEN fits THEN address ELSE '' END, %(action)s, 1, %(now)s, %(now)s, %(detail)s,
       %(request_id)s
FROM fits
ON CONFLICT (hour, actor_kind, actor_id, action, address) DO UPDATE
SET count = r.count + 1, last_at = EXCLUDED.last_at, detail = EXCLUDED.detail,
    actor_name = EXCLUDED.actor_name, request_id = EXCLUDED.request_id
RETURNING set_config('synchronous_commit', 'off', true)
"""


def count(actor: Actor, action: str, why: str = "") -> None:
    """Count that `actor` was refused `action`. Never raises: what was refused stays refused."""
    now = timezone.now()
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                _COUNT,
                {
                    "hour": now.replace(minute=0, second=0, microsecond=0),
                    "kind": actor.kind or "",
                    "id": actor.id,
                    "name": actor.name,
                    "address": actor.address,
                    "action": action[:80],
                    "now": now,
                    "detail": why[:300],
                    "request_id": actor.request_id,
                    "most": MOST,
                    "each": EACH,
                },
            )
    except Error as error:
        log.warning("refusal_not_counted", action=action, error=str(error))
