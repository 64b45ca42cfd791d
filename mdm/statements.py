"""The SQL of check-in: each step is one statement, so that a device waits for few round trips.

`mdm/checkin/` decides with these; the statements of connect stand in `commands/connect.py`, and how
they are run in `prepared.py`.
Every write is one statement with data-modifying parts: it takes effect as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from mdm.prepared import run

Row = dict[str, Any]


def first(statement: str, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The first row as it comes, or None."""
    return next(iter(run(statement, parameters).values), None)


def one(statement: str, parameters: Mapping[str, Any]) -> Row | None:
    """The first row as a dictionary, or None."""
    return next(iter(every(statement, parameters)), None)


def every(statement: str, parameters: Mapping[str, Any]) -> list[Row]:
    """All rows as dictionaries."""
    names, rows = run(statement, parameters)
    return [dict(zip(names, row, strict=True)) for row in rows]


# The enrollments that an Authenticate concerns, locked: the one of this key, and any device
# channel of the same serial number, which is that of the known device where the message has none;
# with which of them speaks for the device, and what an admin decided about this identity.
AUTHENTICATE_READ = """
SELECT e.*, r.bound_to, r.revoked, r.issued_at, q.accepted, s.speaks,
       EXISTS (SELECT FROM mdm_pushcertificate WHERE topic = %(topic)s) AS topic_is_ours
FROM (SELECT COALESCE(%(serial_number)s::text, (
    SELECT d.serial_number FROM mdm_enrollment e JOIN mdm_device d ON d.id = e.device_id
    WHERE e.key = %(key)s
)) AS serial_number) machine
LEFT JOIN LATERAL (
    SELECT enrollment_id AS speaks FROM mdm_device WHERE serial_number = machine.serial_number
) s ON true
LEFT JOIN LATERAL (
    SELECT e.id, e.key, e.kind, e.device_id, e.state, e.identity_sha256, e.last_seen_at,
           d.serial_number
    FROM mdm_enrollment e JOIN mdm_device d ON d.id = e.device_id
    WHERE e.id IN (
        SELECT id FROM mdm_enrollment WHERE key = %(key)s
        UNION ALL
        SELECT e2.id FROM mdm_device d2 JOIN mdm_enrollment e2 ON e2.device_id = d2.id
        WHERE d2.serial_number = machine.serial_number AND e2.channel = 'device'
    )
    ORDER BY e.id
    FOR UPDATE OF e
) e ON true
LEFT JOIN LATERAL (
    SELECT enrollment_id AS bound_to, revoked_at IS NOT NULL AS revoked, issued_at
    FROM mdm_identity WHERE sha256 = %(identity)s::bytea
    FOR UPDATE
) r ON true
LEFT JOIN LATERAL (
    SELECT id AS accepted FROM mdm_quarantine
    WHERE enrollment_key = %(key)s AND identity_sha256 = %(identity)s::bytea
          AND serial_number = COALESCE(%(serial_number)s::text, '') AND state = 'Accepted'
) q ON true
"""

_FACTS = """
    udid = EXCLUDED.udid, platform = EXCLUDED.platform,
    device_name = COALESCE(NULLIF(EXCLUDED.device_name, ''), d.device_name),
    product_name = EXCLUDED.product_name, model = EXCLUDED.model,
    model_name = COALESCE(NULLIF(EXCLUDED.model_name, ''), d.model_name),
    os_version = EXCLUDED.os_version, build_version = EXCLUDED.build_version,
    imei = EXCLUDED.imei, meid = EXCLUDED.meid, enrollment_id = EXCLUDED.enrollment_id,
    supervised = NULL, retired_at = NULL
"""

_BEGIN = """
WITH {ids}, device AS (
    INSERT INTO mdm_device AS d
        (id, serial_number, udid, platform, device_name, product_name, model, model_name,
         os_version, build_version, imei, meid, enrollment_id)
    SELECT device, %(serial_number)s, %(udid)s, %(platform)s, %(device_name)s, %(product_name)s,
           %(model)s, %(model_name)s, %(os_version)s, %(build_version)s, %(imei)s, %(meid)s,
           enrollment
    FROM ids
    ON CONFLICT ({arbiter}) DO UPDATE SET {facts}
    RETURNING d.id
), enrolled AS (
    INSERT INTO mdm_enrollment AS e
        (id, key, device_id, kind, channel, device_identifier, state, period_id, identity_sha256,
         access_rights, authenticated_at, last_seen_at, topic)
    SELECT ids.enrollment, %(key)s, device.id, %(kind)s, 'device', %(device_identifier)s,
           'Authenticated', ids.period, %(identity)s,
           (SELECT access_rights FROM mdm_identity WHERE sha256 = %(identity)s::bytea),
           now(), %(at)s, %(topic)s
    FROM ids CROSS JOIN device{again}
    RETURNING e.id, e.device_id, e.access_rights
), period AS (
    INSERT INTO mdm_enrollmentperiod (id, enrollment_id, began_at, identity_sha256, ended_by)
    SELECT ids.period, enrolled.id, %(at)s, %(identity)s, '' FROM ids CROSS JOIN enrolled
), message AS (
    INSERT INTO mdm_checkinmessage (enrollment_id, message_type, received_at, body)
    SELECT id, 'Authenticate', %(at)s, %(body)s FROM enrolled
), {bound}
SELECT id FROM enrolled
"""

# A device that nobody knows, with an identity on record that has no enrollment yet; where anything
# about it is known, nothing happens. The whole statement fails where another request was faster.
_IDS_IF_UNKNOWN = """unused AS MATERIALIZED (
    SELECT id FROM mdm_identity
    WHERE sha256 = %(identity)s::bytea AND enrollment_id IS NULL AND revoked_at IS NULL
          AND issued_at > %(oldest)s::timestamptz
    FOR UPDATE
), ids AS MATERIALIZED (
    SELECT nextval('mdm_device_id_seq') AS device, nextval('mdm_enrollment_id_seq') AS enrollment,
           nextval('mdm_enrollmentperiod_id_seq') AS period
    FROM unused
    WHERE NOT EXISTS (SELECT FROM mdm_enrollment WHERE key = %(key)s)
          AND NOT EXISTS (SELECT FROM mdm_enrollment e WHERE e.device_id = (
              SELECT id FROM mdm_device WHERE serial_number = %(serial_number)s::text))
          AND NOT EXISTS (SELECT FROM mdm_quarantine WHERE enrollment_key = %(key)s
                          AND identity_sha256 = %(identity)s::bytea AND state = 'Accepted')
          AND EXISTS (SELECT FROM mdm_pushcertificate WHERE topic = %(topic)s)
)"""

_BOUND_UNUSED = """bound AS (
    UPDATE mdm_identity i SET enrollment_id = enrolled.id
    FROM unused, enrolled WHERE i.id = unused.id
)"""

# `device` and `enrollment` are the ids of what is known, or NULL; no row comes back where another
# request made the row meanwhile: read again.
_IDS = """ids AS MATERIALIZED (
    SELECT COALESCE(%(device)s::bigint, nextval('mdm_device_id_seq')) AS device,
           COALESCE(%(enrollment)s::bigint, nextval('mdm_enrollment_id_seq')) AS enrollment,
           nextval('mdm_enrollmentperiod_id_seq') AS period
)"""

_AGAIN = """
    ON CONFLICT (key) DO UPDATE SET
        device_id = EXCLUDED.device_id, state = 'Authenticated', period_id = EXCLUDED.period_id,
        device_identifier = EXCLUDED.device_identifier,
        identity_sha256 = EXCLUDED.identity_sha256, access_rights = EXCLUDED.access_rights,
        awaiting_configuration = false, authenticated_at = now(), enrolled_at = NULL,
        checked_out_at = NULL, erased_at = NULL, released_at = NULL, last_seen_at = %(at)s,
        inventory_asked_at = NULL, topic = EXCLUDED.topic, push_magic = '',
        sealed_push_token = NULL, token_updated_at = NULL, wake_at = NULL, wake_attempts = 0,
        pushed_at = NULL, push_problem = '', push_problem_at = NULL
        WHERE e.id = %(enrollment)s::bigint"""

_BOUND = """bound AS (
    INSERT INTO mdm_identity (sha256, certificate, binding, expires_at, enrollment_id)
    SELECT %(identity)s, %(certificate)s, %(binding)s, %(expires_at)s, id FROM enrolled
    ON CONFLICT (sha256) DO UPDATE SET enrollment_id = EXCLUDED.enrollment_id
), admitted AS (
    UPDATE mdm_quarantine SET state = 'Used'
    WHERE id = %(accepted)s::bigint AND EXISTS (SELECT FROM enrolled)
)"""

_RESET = """, users AS (
    UPDATE mdm_enrollment u SET
        state = 'CheckedOut', checked_out_at = %(at)s, erased_at = NULL, released_at = NULL,
        device_id = (SELECT device_id FROM enrolled), identity_sha256 = %(identity)s,
        access_rights = (SELECT access_rights FROM enrolled),
        sealed_push_token = NULL, push_magic = '', wake_at = NULL
    WHERE u.parent_id = %(enrollment)s::bigint
    RETURNING u.id
), all_of_it AS MATERIALIZED (
    SELECT array_agg(id) AS ids FROM (SELECT id FROM enrolled UNION ALL SELECT id FROM users) u
), ended AS (
    UPDATE mdm_enrollmentperiod p SET ended_at = %(at)s, ended_by = 'Authenticated'
    WHERE p.enrollment_id = ANY ((SELECT ids FROM all_of_it)::bigint[]) AND p.ended_at IS NULL
), left_behind AS (
    UPDATE mdm_device d SET enrollment_id = NULL
    WHERE d.enrollment_id = %(enrollment)s::bigint AND d.id <> (SELECT device_id FROM enrolled)
), escrow AS (
    DELETE FROM mdm_escrow s WHERE s.enrollment_id = %(enrollment)s::bigint
), inventory AS (
    DELETE FROM mdm_inventorysection s
    WHERE s.enrollment_id = ANY ((SELECT ids FROM all_of_it)::bigint[])
), replaced AS (
    UPDATE mdm_identity i SET revoked_at = %(at)s
    WHERE i.enrollment_id = %(enrollment)s::bigint AND i.sha256 <> %(identity)s::bytea
          AND i.revoked_at IS NULL
)"""


def _short(statement: str) -> str:
    # psycopg remembers how it reads a statement of up to 4,096 characters, and reads a longer one
    # anew each time.
    return " ".join(statement.split())


def _begin(*, ids: str, arbiter: str, bound: str, again: str = "", only: str = "") -> str:
    facts = _FACTS + only
    return _short(_BEGIN.format(ids=ids, arbiter=arbiter, facts=facts, again=again, bound=bound))


BEGIN_UNKNOWN = _begin(
    ids=_IDS_IF_UNKNOWN,
    arbiter="serial_number",
    # The device may be in the books, if nobody has enrolled it yet.
    only="WHERE d.enrollment_id IS NULL",
    bound=_BOUND_UNUSED,
)
# Nobody else has come to speak for the device since it was read. Rows that did not exist then are
# not locked.
_AS_READ = """
    WHERE d.serial_number IS NULL OR d.enrollment_id IS NULL
          OR d.enrollment_id = %(speaks)s::bigint
"""

# A device not enrolled before, of which something is known all the same.
BEGIN_NEW = _begin(ids=_IDS, arbiter="serial_number", again=_AGAIN, only=_AS_READ, bound=_BOUND)


@cache
def begin_again(arbiter: str) -> str:
    """One that comes back, with the device row it had (`arbiter` is "id") or with the one of its
    serial number ("serial_number").
    """
    void = _BOUND + _RESET + "".join(_void)
    return _begin(ids=_IDS, arbiter=arbiter, again=_AGAIN, only=_AS_READ, bound=void)


def void_with(part: str) -> None:
    """Let another app void what it holds of a device that comes back, in the same statement.

    `part` is an UPDATE or DELETE; `all_of_it` has the `ids` of the device's enrollments.
    """
    _void.append(f", void_{len(_void)} AS ({part})")
    begin_again.cache_clear()


_void: list[str] = []

# An identity issued for the renewal of this very enrollment replaces the bound one, which is out of
# use from then on; nothing else changes.
RENEW = """
WITH renewed AS (
    UPDATE mdm_enrollment SET identity_sha256 = %(identity)s, last_seen_at = %(at)s
    WHERE id = %(enrollment)s OR parent_id = %(enrollment)s
    RETURNING id
), message AS (
    INSERT INTO mdm_checkinmessage (enrollment_id, message_type, received_at, body)
    VALUES (%(enrollment)s, 'Authenticate', %(at)s, %(body)s)
), bound AS (
    UPDATE mdm_identity SET enrollment_id = %(enrollment)s WHERE sha256 = %(identity)s::bytea
), replaced AS (
    UPDATE mdm_identity SET revoked_at = %(at)s
    WHERE sha256 = %(replaced)s::bytea AND sha256 <> %(identity)s::bytea
)
SELECT count(*) FROM renewed
"""

# The identities of enrollments that a new one has taken the place of.
REVOKE = """
WITH revoked AS (
    UPDATE mdm_identity SET revoked_at = %(at)s
    WHERE enrollment_id = ANY(%(enrollments)s::bigint[]) AND revoked_at IS NULL
    RETURNING id
)
SELECT count(*) FROM revoked
"""

# The enrollment that speaks and, for a user's channel, the device channel above it; locked.
SPEAKERS = """
SELECT e.id, e.key, e.channel, e.device_id, e.state, e.identity_sha256, e.period_id, e.topic,
       e.enrolled_at, e.token_updated_at, d.enrollment_id = e.id AS is_current
FROM mdm_enrollment e JOIN mdm_device d ON d.id = e.device_id
WHERE e.key = %(key)s OR e.key = %(device_key)s
ORDER BY e.id
FOR UPDATE OF e
"""

# What events say of an enrollment (mdm/webhooks/kinds.py).
TOLD = """jsonb_build_object(
        'enrollment', e.id, 'channel', e.channel, 'device', e.device_id,
        'serial_number', (SELECT d.serial_number FROM mdm_device d WHERE d.id = e.device_id))"""

_TOKEN_UPDATE = """
WITH {speaker}, message AS (
    INSERT INTO mdm_checkinmessage (enrollment_id, message_type, received_at, body)
    SELECT id, 'TokenUpdate', %(at)s, %(body)s FROM speaker
), reopened AS (
    INSERT INTO mdm_enrollmentperiod
        (enrollment_id, began_at, completed_at, identity_sha256, ended_by)
    SELECT id, %(at)s, %(at)s, %(identity)s, '' FROM speaker WHERE reopens
    RETURNING id
), completed AS (
    UPDATE mdm_enrollmentperiod SET completed_at = %(at)s
    WHERE id = (SELECT period_id FROM speaker) AND completed_at IS NULL AND ended_at IS NULL
), escrow AS (
    INSERT INTO mdm_escrow AS s (enrollment_id, kind, sealed, received_at)
    SELECT id, 'UnlockToken', %(unlock_token)s::bytea, %(at)s FROM speaker
    WHERE %(unlock_token)s::bytea IS NOT NULL
    ON CONFLICT (enrollment_id, kind) DO UPDATE SET
        sealed = EXCLUDED.sealed, received_at = EXCLUDED.received_at
), event AS (
    INSERT INTO webhooks_event (at, kind, subject, data)
    SELECT %(at)s, 'enrollment.completed', e.key, {told}
    FROM speaker JOIN mdm_enrollment e ON e.id = speaker.id WHERE completes
)
UPDATE mdm_enrollment e SET
    state = 'Enrolled', topic = %(topic)s, push_magic = %(push_magic)s,
    sealed_push_token = %(push_token)s, token_updated_at = %(at)s, last_seen_at = %(at)s,
    user_short_name = %(user_short_name)s, user_long_name = %(user_long_name)s,
    awaiting_configuration = %(awaiting_configuration)s, not_on_console = %(not_on_console)s,
    enrolled_at = COALESCE(enrolled_at, %(at)s), checked_out_at = NULL, erased_at = NULL,
    period_id = COALESCE((SELECT id FROM reopened), e.period_id),
    wake_at = %(at)s, wake_attempts = 0, push_problem = '', push_problem_at = NULL
FROM speaker WHERE e.id = speaker.id
RETURNING e.id, speaker.completes
"""

# Of a device whose enrollment is under way, when nothing speaks against it. Who changes that
# enrollment meanwhile holds its row: what is looked at here is what it is then.
TOKEN_UPDATE_OF_DEVICE = _short(
    _TOKEN_UPDATE.format(
        told=TOLD,
        speaker="""speaker AS MATERIALIZED (
            SELECT id, period_id, state <> 'Enrolled' AS completes, false AS reopens
            FROM mdm_enrollment e
            WHERE key = %(key)s AND identity_sha256 = %(identity)s::bytea
                  AND topic = %(topic)s AND state IN ('Authenticated', 'Enrolled')
                  AND EXISTS (SELECT FROM mdm_device d
                              WHERE d.id = e.device_id AND d.enrollment_id = e.id)
            FOR UPDATE
        )""",
    )
)
# Of a speaker that was read before.
TOKEN_UPDATE = _short(
    _TOKEN_UPDATE.format(
        told=TOLD,
        speaker="""speaker AS MATERIALIZED (
            SELECT %(enrollment)s::bigint AS id, %(period)s::bigint AS period_id,
                   %(completes)s::boolean AS completes, %(reopens)s::boolean AS reopens
        )""",
    )
)

USER_CHANNEL_WRITE = (
    """
WITH ids AS MATERIALIZED (
    SELECT nextval('mdm_enrollment_id_seq') AS enrollment,
           nextval('mdm_enrollmentperiod_id_seq') AS period
), users AS MATERIALIZED (
    SELECT count(*) AS number FROM mdm_enrollment WHERE parent_id = %(parent)s
), enrolled AS (
    INSERT INTO mdm_enrollment AS e
        (id, key, device_id, parent_id, kind, channel, device_identifier, user_identifier,
         user_short_name, user_long_name, state, period_id, identity_sha256, access_rights,
         awaiting_configuration, not_on_console, authenticated_at, enrolled_at, last_seen_at,
         topic, push_magic, sealed_push_token, token_updated_at, wake_at, wake_attempts,
         push_problem)
    SELECT ids.enrollment, %(key)s, p.device_id, p.id, p.kind, %(channel)s, p.device_identifier,
           %(user_identifier)s, %(user_short_name)s, %(user_long_name)s, 'Enrolled', ids.period,
           p.identity_sha256, p.access_rights, %(awaiting_configuration)s, %(not_on_console)s,
           now(), %(at)s, %(at)s, %(topic)s, %(push_magic)s, %(push_token)s, %(at)s, %(at)s, 0, ''
    FROM ids, users, mdm_enrollment p WHERE p.id = %(parent)s AND users.number < %(most)s
    ON CONFLICT (key) DO NOTHING
    RETURNING id, key, device_id, channel
), period AS (
    INSERT INTO mdm_enrollmentperiod
        (id, enrollment_id, began_at, completed_at, identity_sha256, ended_by)
    SELECT ids.period, enrolled.id, %(at)s, %(at)s, %(identity)s, '' FROM ids CROSS JOIN enrolled
), event AS (
    INSERT INTO webhooks_event (at, kind, subject, data)
    SELECT %(at)s, 'enrollment.completed', e.key, """
    + TOLD
    + """ FROM enrolled e
), message AS (
    INSERT INTO mdm_checkinmessage (enrollment_id, message_type, received_at, body)
    SELECT id, 'TokenUpdate', %(at)s, %(body)s FROM enrolled
)
SELECT (SELECT id FROM enrolled) AS id, number AS users FROM users
"""
)

# Management of a device channel with all its users, or of one user's channel, ends. `state` is
# CheckedOut, Erased or Released, which is the last word until a new Authenticate; the bound
# identity stays bound, so that nobody else takes it. Rows are locked in the order of SPEAKERS.
END = (
    """
WITH held AS MATERIALIZED (
    SELECT id FROM mdm_enrollment WHERE id = %(enrollment)s OR parent_id = %(enrollment)s
    ORDER BY id FOR UPDATE
), ended AS (
    UPDATE mdm_enrollment e SET
        state = %(state)s, push_magic = '', sealed_push_token = NULL, wake_at = NULL,
        checked_out_at = CASE WHEN %(state)s = 'CheckedOut' THEN %(at)s ELSE checked_out_at END,
        erased_at = CASE WHEN %(state)s = 'Erased' THEN %(at)s ELSE erased_at END,
        released_at = CASE WHEN %(state)s = 'Released' THEN %(at)s ELSE released_at END
    FROM held WHERE e.id = held.id AND e.state NOT IN (%(state)s, 'Released')
    RETURNING e.id, e.key, e.device_id, e.channel
), periods AS (
    UPDATE mdm_enrollmentperiod p SET ended_at = %(at)s, ended_by = %(state)s
    FROM ended WHERE p.enrollment_id = ended.id AND p.ended_at IS NULL
), message AS (
    INSERT INTO mdm_checkinmessage (enrollment_id, message_type, received_at, body)
    SELECT %(enrollment)s, 'CheckOut', %(at)s, %(body)s::bytea
    WHERE %(body)s::bytea IS NOT NULL AND EXISTS (SELECT FROM ended)
), event AS (
    INSERT INTO webhooks_event (at, kind, subject, data)
    SELECT %(at)s, 'enrollment.ended', e.key,
           """
    + TOLD
    + """ || jsonb_build_object('state', %(state)s::text)
    FROM ended e
)
SELECT id FROM ended
"""
)

# One identity fills at most `most` rows, so that one leaked key cannot flood the page.
QUARANTINE = """
WITH known AS MATERIALIZED (
    SELECT state FROM mdm_quarantine
    WHERE enrollment_key = %(key)s::text AND identity_sha256 = %(identity)s::bytea
), noted AS (
INSERT INTO mdm_quarantine AS q
    (enrollment_key, serial_number, identity_sha256, certificate, binding, reason, body, state,
     first_at, last_at, count, decided_by)
SELECT %(key)s::text, %(serial_number)s, %(identity)s::bytea, %(certificate)s, %(binding)s,
       %(reason)s, %(body)s, 'Waiting', %(at)s, %(at)s, 1, ''
WHERE %(most)s > (SELECT count(*) FROM mdm_quarantine
                  WHERE identity_sha256 = %(identity)s::bytea AND enrollment_key <> %(key)s::text)
ON CONFLICT (enrollment_key, identity_sha256) DO UPDATE SET
    last_at = EXCLUDED.last_at, count = q.count + 1, reason = EXCLUDED.reason,
    state = CASE WHEN q.state = 'Used' THEN 'Waiting' ELSE q.state END
RETURNING id, serial_number, reason
), event AS (
    INSERT INTO webhooks_event (at, kind, subject, data)
    SELECT %(at)s, 'quarantine.opened', id::text, jsonb_build_object(
        'enrollment', %(key)s::text, 'serial_number', serial_number, 'reason', reason)
    FROM noted WHERE NOT EXISTS (SELECT FROM known WHERE state <> 'Used')
)
SELECT id FROM noted
"""
