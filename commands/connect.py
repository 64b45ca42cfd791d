"""The connect endpoint: take a device's report, hand out its next command.

One statement does all of it: it checks who speaks, stores the reply, chooses the next command and
marks it. So a reply and what follows from it for the queue are one commit, and a device waits for
one round trip. What a reply means for the inventory is worked out afterwards, from the stored
reply (`consequences.py`). Source: Apple's "Handling MDM commands".
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict
from typing import NamedTuple

import structlog

from commands.queue import COMMAND
from mdm import identity, statements
from mdm.endpoints import DeviceRequest, DeviceResponse
from mdm.models import Enrollment
from mdm.protocol.connect import Report, Status, parse_report
from mdm.refusals import Refused
from mdm.secrets import seal, unseal

log = structlog.get_logger(__name__)

REPLY = "reply"

_EMPTY = DeviceResponse()


class Outcome(NamedTuple):
    """What the one statement says: who spoke, whether the reply counted, what to hand out."""

    id: int
    may: bool
    state: str
    identity_sha256: bytes | None
    counted: bool
    sealed: bytes | None
    commit: str | None


def connect(request: DeviceRequest) -> DeviceResponse:
    """Answer one report: the next command's plist, or an empty 200 when there is nothing to do.

    Raises ProtocolError where the report cannot be read, and Refused where this identity may not
    speak for this enrollment; then nothing has changed.
    """
    signer = identity.speaker(request.environ, request.body)
    report = parse_report(request.body)
    row = statements.first(*_statement(report, signer, request.body))
    if row is None:
        raise Refused("unknown_enrollment", "This enrollment is not known here.")
    outcome = Outcome._make(row)
    if not outcome.may:
        return _why_not(outcome, signer)
    if report.status not in {Status.IDLE, Status.NOT_NOW} and not outcome.counted:
        log.info("reply_not_counted", enrollment=outcome.id, command=report.command_uuid)
    if outcome.sealed is None:
        return _EMPTY
    return DeviceResponse(unseal(COMMAND, outcome.sealed))


def _statement(
    report: Report, signer: identity.SignerCertificate, body: bytes
) -> tuple[str, dict[str, object]]:
    parameters: dict[str, object] = {"key": report.id.key, "identity": signer.sha256}
    if report.status is Status.IDLE:
        return IDLE, parameters
    parameters["uuid"] = _command_uuid(report)
    if report.status is Status.NOT_NOW:
        return NOT_NOW, parameters
    chain = [asdict(error) for error in report.error_chain]
    parameters |= {
        "status": report.status,
        "body": seal(REPLY, body),
        "error_chain": json.dumps(chain) if chain else None,
    }
    return ANSWER, parameters


def _command_uuid(report: Report) -> uuid.UUID:
    """The command a report answers; one that no command of ours can have, if it is no UUID."""
    try:
        return uuid.UUID(report.command_uuid or "")
    except ValueError:
        return uuid.UUID(int=0)


def _why_not(outcome: Outcome, signer: identity.SignerCertificate) -> DeviceResponse:
    bound = outcome.identity_sha256
    if bound is None or bytes(bound) != signer.sha256:
        raise Refused("identity_mismatch", "The identity is not the one bound to the enrollment.")
    if outcome.state == Enrollment.State.AUTHENTICATED:
        return _EMPTY
    raise Refused("not_enrolled", f"This enrollment is over ({outcome.state}).")


# --- The statements -------------------------------------------------------------------------------
#
# Rows are found by values that are known when the search begins (scalar subqueries, row addresses)
# and not by joins: a plan that was made while a table was small stays a good one when it has grown.

# Who speaks; `may` is whether this identity may. Everything below depends on it.
_SPEAKER = """
WITH speaker AS MATERIALIZED (
    SELECT id, state, identity_sha256, last_seen_at, wake_at,
           state = 'Enrolled' AND identity_sha256 = %(identity)s::bytea AS may
    FROM mdm_enrollment WHERE key = %(key)s
)"""

_ITS_OWN = "q.enrollment_id = (SELECT id FROM speaker WHERE may)"

# The next command; `{skip}` says which entries are out of the question now. Only what was marked is
# handed out: one that was cancelled while this statement ran is not.
_NEXT = f"""
next AS MATERIALIZED (
    SELECT q.ctid AS place
    FROM commands_queueentry q
    WHERE {_ITS_OWN} AND q.finished_at IS NULL
          AND q.state <> 'Held'
          AND (q.expires_at IS NULL OR q.expires_at > now()) {{skip}}
    ORDER BY q.priority DESC, q.id LIMIT 1
), sent AS (
    UPDATE commands_queueentry q
    SET state = 'Sent', sent_at = COALESCE(q.sent_at, now()),
        deliveries = LEAST(q.deliveries + 1, 32000)
    WHERE q.ctid = (SELECT place FROM next) AND q.finished_at IS NULL AND q.state <> 'Held'
    RETURNING q.payload_id, q.sealed_payload
)"""

# Last contact is kept to the minute. A wake-up stays due while there is something to do; `wake_at`
# is compared with what this statement saw, so that one asked for meanwhile is not lost.
_SEEN = """
seen AS (
    UPDATE mdm_enrollment e
    SET last_seen_at = now(),
        wake_at = CASE WHEN EXISTS (SELECT FROM next)
                            OR e.wake_at IS DISTINCT FROM (SELECT wake_at FROM speaker)
                       THEN e.wake_at ELSE {later} END
    WHERE e.id = (
        SELECT id FROM speaker
        WHERE may AND (last_seen_at IS NULL OR last_seen_at < now() - interval '1 minute'
                       OR (wake_at IS NOT NULL AND NOT EXISTS (SELECT FROM next)))
    )
)"""

_RESULT = """
SELECT s.id, s.may, s.state, s.identity_sha256, {counted} AS counted,
       COALESCE((SELECT sealed_payload FROM sent),
                (SELECT sealed FROM commands_payload
                 WHERE id = (SELECT payload_id FROM sent))) AS sealed{lazily}
FROM speaker s
"""

# What these statements mark may be lost with the machine's power: the command is then handed out
# again. So their commit need not wait for the disk; an answer's must.
_DURABLY = ", NULL"
_LAZILY = ",\n       set_config('synchronous_commit', 'off', true)"

# Deferred commands that remain: the device comes by itself when it can; after a day it is woken.
_DEFERRED = f"""
CASE WHEN EXISTS (
    SELECT FROM commands_queueentry q
    WHERE {_ITS_OWN} AND q.finished_at IS NULL AND q.state <> 'Held'
          AND q.command_uuid <> %(uuid)s
) THEN now() + interval '1 day' END"""

# Idle ends every deferral: what was put off is offered again.
IDLE = (
    _SPEAKER
    + ","
    + _NEXT.format(skip="")
    + f""", offered_again AS (
    UPDATE commands_queueentry q SET state = 'Queued'
    WHERE {_ITS_OWN} AND q.finished_at IS NULL AND q.state = 'NotNow'
          AND q.ctid <> (SELECT place FROM next)
),"""
    + _SEEN.format(later="NULL")
    + _RESULT.format(counted="false", lazily=_LAZILY)
)

NOT_NOW = (
    _SPEAKER
    + f""", deferred AS (
    UPDATE commands_queueentry q
    SET state = 'NotNow', not_now_at = now(), not_now_count = LEAST(q.not_now_count + 1, 32000)
    WHERE {_ITS_OWN} AND q.command_uuid = %(uuid)s AND q.finished_at IS NULL
),"""
    + _NEXT.format(skip="AND q.state <> 'NotNow' AND q.command_uuid <> %(uuid)s")
    + ","
    + _SEEN.format(later="now() + interval '1 day'")
    + _RESULT.format(counted="false", lazily=_LAZILY)
)

# A final answer counts once. One that comes after the entry expired counts too.
ANSWER = (
    _SPEAKER
    + f""", answered AS (
    UPDATE commands_queueentry q SET state = %(status)s, finished_at = now(), ended_because = ''
    WHERE {_ITS_OWN} AND q.command_uuid = %(uuid)s
          AND q.state NOT IN ('Acknowledged', 'Error', 'CommandFormatError')
    RETURNING q.enrollment_id
), reply AS (
    INSERT INTO commands_reply
        (enrollment_id, command_uuid, status, error_chain, sealed_body)
    SELECT enrollment_id, %(uuid)s, %(status)s, %(error_chain)s::jsonb, %(body)s FROM answered
    ON CONFLICT DO NOTHING
),"""
    + _NEXT.format(skip="AND q.state <> 'NotNow' AND q.command_uuid <> %(uuid)s")
    + ","
    + _SEEN.format(later=_DEFERRED)
    + _RESULT.format(counted="EXISTS (SELECT FROM answered)", lazily=_DURABLY)
)
