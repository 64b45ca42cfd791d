"""Removes commands that were over long ago, with their answers. How, and for how long they are
kept, is `mdm/retention.py`.

An entry goes when it finished before the limit, with the reply to it if its consequences were
applied; one that nobody has answered stays, however old it is. A payload goes with the last entry
that refers to it, and a command with its last entry, if they are old enough: a command is given no
further entries after the moment in which it was asked for.
"""

from __future__ import annotations

from mdm import retention
from mdm.retention import BATCH, OLD, OLD_IDS, RESULT, Table


def remove_old(rows: int = BATCH) -> int:
    """Remove finished entries, then what they leave behind; returns how many rows. See
    `retention.run`."""
    return retention.run("commands", (_ENTRIES, _COMMANDS), rows)


# `finished_at` is asked again where the row is removed: an entry that expired and is answered at
# this very moment stays. No row of an enrollment is read or locked.
_ENTRIES = Table(
    "commands_queueentry",
    OLD.format(table="commands_queueentry", moment="created_at")
    + f""", finished AS MATERIALIZED (
    SELECT q.id, r.id AS reply
    FROM commands_queueentry q
    LEFT JOIN LATERAL (
        SELECT id, drained_at FROM commands_reply
        WHERE enrollment_id = q.enrollment_id AND command_uuid = q.command_uuid LIMIT 1
    ) r ON true
    WHERE q.id = ANY ({OLD_IDS}) AND q.finished_at < %(before)s
          AND (r.id IS NULL OR r.drained_at IS NOT NULL)
), replies AS (
    DELETE FROM commands_reply WHERE id = ANY (ARRAY(SELECT reply FROM finished))
), removed AS (
    DELETE FROM commands_queueentry
    WHERE id = ANY (ARRAY(SELECT id FROM finished)) AND finished_at < %(before)s
    RETURNING id
)"""
    + RESULT,
)

# Whether an entry refers to a command or a payload. The lookups ask for a range of one command, in
# the order of its index, so that no other plan can answer them: where a few commands make up the
# queue, Postgres would read all of it for "command_id = ... LIMIT 1".
_COMMANDS = Table(
    "commands_command",
    OLD.format(table="commands_command", moment="created_at")
    + f""", unused AS MATERIALIZED (
    SELECT p.id FROM commands_payload p
    WHERE p.command_id = ANY ({OLD_IDS})
          AND (SELECT q.id FROM commands_queueentry q
               WHERE q.command_id BETWEEN p.command_id AND p.command_id AND q.payload_id = p.id
               ORDER BY q.command_id, q.id LIMIT 1) IS NULL
), payloads AS (
    DELETE FROM commands_payload WHERE id = ANY (ARRAY(SELECT id FROM unused))
), over AS MATERIALIZED (
    SELECT id FROM old
    WHERE (SELECT q.id FROM commands_queueentry q
           WHERE q.command_id BETWEEN old.id AND old.id
           ORDER BY q.command_id, q.id LIMIT 1) IS NULL
), asked AS (
    DELETE FROM commands_asked WHERE command_id = ANY (ARRAY(SELECT id FROM over))
), tallies AS (
    DELETE FROM commands_tally WHERE command_id = ANY (ARRAY(SELECT id FROM over))
), approvals AS (
    DELETE FROM commands_approval WHERE command_id = ANY (ARRAY(SELECT id FROM over))
), removed AS (
    DELETE FROM commands_command WHERE id = ANY (ARRAY(SELECT id FROM over)) RETURNING id
)"""
    + RESULT,
)
