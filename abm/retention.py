"""Removes ABM's history: runs of the sync with their logs, entries of the ledger, stretches of the
assignment, and uploads of tokens that are decided. How, and for how long they are kept, is
`mdm/retention.py`.

The newest run of each server stays. A run that found nothing goes after a week: there is one every
5 minutes. Of the ledger two entries stay for each serial number on each server, however old they
are: the newest, and the newest that changed something. They tell why a device is where it is.
"""

from __future__ import annotations

from mdm import retention
from mdm.retention import A_WEEK, BATCH, OF_A_WEEK, OLD, OLD_IDS, RESULT, Table


def remove_old(rows: int = BATCH) -> int:
    """Remove runs that ended, then their logs, then the rest; returns how many rows. See
    `retention.run`."""
    return retention.run("abm", (_RUNS, _LINES, _LEDGER, _UPLOADS, _ASSIGNINGS), rows)


# The lookup of the newest run asks for the first key of a server in the order of an index, so that
# no other plan can answer it.
_RUNS = Table(
    "abm_syncrun",
    OF_A_WEEK.format(table="abm_syncrun", moment="asked_at")
    + f""", due AS MATERIALIZED (
    SELECT r.id FROM abm_syncrun r
    WHERE r.id = ANY ({OLD_IDS})
          AND (r.finished_at < %(before)s
               OR r.finished_at < {A_WEEK}
                  AND r.state = 'Finished' AND NOT r.full
                  AND (r.added, r.changed, r.removed, r.errors) = (0, 0, 0, 0))
          AND r.id < (SELECT n.id FROM abm_syncrun n
                      WHERE n.server_id BETWEEN r.server_id AND r.server_id
                      ORDER BY n.server_id, n.id DESC LIMIT 1)
), removed AS (
    DELETE FROM abm_syncrun WHERE id = ANY (ARRAY(SELECT id FROM due)) RETURNING id
)"""
    + RESULT,
)

# A run may have a line or a thousand, so they go by themselves: those whose run is gone. Every line
# is older than the end of its run.
_LINES = Table(
    "abm_runline",
    OF_A_WEEK.format(table="abm_runline", moment="at")
    + f""", orphaned AS MATERIALIZED (
    SELECT l.id FROM abm_runline l
    WHERE l.id = ANY ({OLD_IDS})
          AND (SELECT r.id FROM abm_syncrun r WHERE r.id = l.run_id) IS NULL
), removed AS (
    DELETE FROM abm_runline WHERE id = ANY (ARRAY(SELECT id FROM orphaned)) RETURNING id
)"""
    + RESULT,
)

# Whether a newer entry speaks for this one: any, or for one that changed something another that
# did. The lookup walks the serial number's entries by its index and stops at the first.
_CHANGED = "('added', 'returned', 'changed', 'removed')"
_LEDGER = Table(
    "abm_ledgerentry",
    OLD.format(table="abm_ledgerentry", moment="at")
    + f""", superseded AS MATERIALIZED (
    SELECT e.id FROM abm_ledgerentry e
    WHERE e.id = ANY ({OLD_IDS})
          AND (SELECT n.id FROM abm_ledgerentry n
               WHERE n.serial_number <= e.serial_number
                     AND (n.serial_number, n.id) > (e.serial_number, e.id)
                     AND n.server_id = e.server_id
                     AND (e.decision NOT IN {_CHANGED}
                          OR n.decision IN {_CHANGED})
               ORDER BY n.serial_number, n.id LIMIT 1) IS NOT NULL
), removed AS (
    DELETE FROM abm_ledgerentry WHERE id = ANY (ARRAY(SELECT id FROM superseded)) RETURNING id
)"""
    + RESULT,
)

_ASSIGNINGS = Table(
    "abm_assigning",
    OLD.format(table="abm_assigning", moment="began_at")
    + f""", removed AS (
    DELETE FROM abm_assigning
    WHERE id = ANY ({OLD_IDS}) AND finished_at < %(before)s
    RETURNING id
)"""
    + RESULT,
)

_UPLOADS = Table(
    "abm_tokenupload",
    OLD.format(table="abm_tokenupload", moment="uploaded_at")
    + f""", removed AS (
    DELETE FROM abm_tokenupload
    WHERE id = ANY ({OLD_IDS}) AND decided_at < %(before)s
    RETURNING id
)"""
    + RESULT,
)
