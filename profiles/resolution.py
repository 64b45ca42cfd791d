"""Which profile each listed device should have, by one order that everybody sees:

    device    the one that someone gave to this very device
    group     the one of its best-ranked group that has one
    default   the one of its OS: its ABM server's own, else the general one

and else none: the device is Unassigned. The outcome is written into `abm.models.Wish`, in one
statement for however many devices; `explain.py` says the same of one device in words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection

from abm.assignment import PURPOSE
from abm.models import Definition, Server
from abm.platforms import platform_sql
from mdm import secrets
from profiles.models import Version
from profiles.wire import content

# Whoever holds it resolves; any number that no other advisory lock of ours uses.
_LOCK = 0x50524F46

_OS = platform_sql("a.os", "a.device_family")
_CHOSEN = f"""
WITH scope AS MATERIALIZED (
    SELECT a.id, a.server_id, a.serial_number,
           CASE p.platform WHEN 'iPadOS' THEN 'iOS' ELSE p.platform END AS os
    FROM abm_abmdevice a
    CROSS JOIN LATERAL (SELECT coalesce(
        nullif({_OS}, ''), (SELECT d.platform FROM mdm_device d WHERE d.id = a.device_id)
    ) AS platform) p
    WHERE a.current AND a.removed_at IS NULL {{narrow}}
), grouped AS MATERIALIZED (
    SELECT DISTINCT ON (m.serial_number) m.serial_number, g.id AS group_id, gp.profile_id
    FROM profiles_groupprofile gp
    JOIN mdm_group g ON g.id = gp.group_id
    JOIN mdm_groupmember m ON m.group_id = g.id
    {{narrow_members}}
    ORDER BY m.serial_number, g.rank
), ruled AS (
    SELECT s.id, s.server_id,
           CASE WHEN own.id IS NOT NULL THEN 'device' WHEN grouped.group_id IS NOT NULL THEN 'group'
                WHEN coalesce(theirs.id, general.id) IS NOT NULL THEN 'default' ELSE '' END AS rule,
           coalesce(own.id, grouped.group_id, theirs.id, general.id) AS rule_id,
           coalesce(own.profile_id, grouped.profile_id, theirs.profile_id, general.profile_id)
               AS profile_id
    FROM scope s
    LEFT JOIN profiles_deviceprofile own ON own.serial_number = s.serial_number
    LEFT JOIN grouped ON grouped.serial_number = s.serial_number
    LEFT JOIN profiles_default theirs ON theirs.os = s.os AND theirs.server_id = s.server_id
    LEFT JOIN profiles_default general ON general.os = s.os AND general.server_id IS NULL
), chosen AS (
    SELECT r.id, r.server_id, r.rule, r.rule_id, r.profile_id, p.current_id, d.id AS definition_id
    FROM ruled r
    LEFT JOIN profiles_profile p ON p.id = r.profile_id
    LEFT JOIN abm_definition d ON d.server_id = r.server_id AND d.reference = p.current_id
)"""

# Another wish is told at once; of the same one everything is still known. Where Apple throttles a
# device, or says that it is not ours, another wish has to wait as well.
_SAME = """(w.definition_id IS NOT DISTINCT FROM excluded.definition_id
            OR w.answer IN ('THROTTLED', 'NOT_ACCESSIBLE') AND w.retry_at > now())"""
_WRITE = f""", written AS (
    INSERT INTO abm_wish AS w (listed_id, server_id, definition_id, rule, rule_id, changed_at)
    SELECT c.id, c.server_id, c.definition_id, c.rule, c.rule_id, now()
    FROM chosen c LEFT JOIN abm_wish known ON known.listed_id = c.id
    WHERE (known.listed_id IS NULL
           OR (known.definition_id, known.rule, known.rule_id)
              IS DISTINCT FROM (c.definition_id, c.rule, c.rule_id))
          -- A version that was applied since its definitions were prepared: its news is still here.
          AND (c.current_id IS NULL OR c.definition_id IS NOT NULL)
    ORDER BY c.id
    ON CONFLICT (listed_id) DO UPDATE SET
        definition_id = excluded.definition_id, rule = excluded.rule, rule_id = excluded.rule_id,
        changed_at = CASE WHEN {_SAME} THEN w.changed_at ELSE now() END,
        tries = CASE WHEN {_SAME} THEN w.tries ELSE 0 END,
        tried_at = CASE WHEN {_SAME} THEN w.tried_at END,
        answer = CASE WHEN {_SAME} THEN w.answer ELSE '' END,
        retry_at = CASE WHEN {_SAME} THEN w.retry_at END
    RETURNING w.server_id
)
SELECT server_id, count(*) FROM written GROUP BY server_id"""

_COMPARE = """
SELECT c.server_id, old.reference, c.current_id, count(*)
FROM chosen c
LEFT JOIN abm_wish known ON known.listed_id = c.id
LEFT JOIN abm_definition old ON old.id = known.definition_id
WHERE old.reference IS DISTINCT FROM c.current_id
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""

# A device that is not on the list any more, or that belongs to another server now.
_FORGET = """
DELETE FROM abm_wish w USING abm_abmdevice a
WHERE a.id = w.listed_id AND (a.removed_at IS NOT NULL OR NOT a.current) {narrow}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """So many devices of a server would go from one version to another; None is none at all."""

    server_id: int
    before: int | None
    after: int | None
    devices: int


def resolve(serials: Sequence[str] | None = None) -> dict[int, int]:
    """Write the wishes of these serial numbers, or of all; how many of each server have changed.
    Call it in a transaction: one at a time gets through.
    """
    take_turn()
    _prepare_definitions()
    some = [list(serials)] if serials is not None else []
    with connection.cursor() as cursor:
        cursor.execute(_FORGET.format(narrow=_narrow(serials)), some)
        cursor.execute(_chosen(serials) + _WRITE, [*some, *some])
        return dict(cursor.fetchall())


def compare(serials: Sequence[str] | None = None) -> list[Change]:
    """What `resolve` would change. Writes nothing."""
    some = [list(serials)] if serials is not None else []
    with connection.cursor() as cursor:
        cursor.execute(_chosen(serials) + _COMPARE, [*some, *some])
        return [
            Change(server_id=server, before=before, after=after, devices=devices)
            for server, before, after, devices in cursor.fetchall()
        ]


def _chosen(serials: Sequence[str] | None) -> str:
    members = "WHERE m.serial_number = ANY(%s)" if serials is not None else ""
    return _CHOSEN.format(narrow=_narrow(serials), narrow_members=members)


def _narrow(serials: Sequence[str] | None) -> str:
    return "AND a.serial_number = ANY(%s)" if serials is not None else ""


def take_turn() -> None:
    """Whoever is about to move members of groups or wishes waits here, until its transaction ends:
    two that move the same rows in another order would wait for each other.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


# --- What Apple is to be told --------------------------------------------------------------------

_UNDEFINED = """
SELECT s.id, p.current_id
FROM abm_server s CROSS JOIN profiles_profile p
WHERE s.disconnected_at IS NULL AND p.current_id IS NOT NULL AND p.archived_at IS NULL
      AND NOT EXISTS (SELECT FROM abm_definition d
                      WHERE d.server_id = s.id AND d.reference = p.current_id)
      AND (EXISTS (SELECT FROM profiles_deviceprofile r WHERE r.profile_id = p.id)
           OR EXISTS (SELECT FROM profiles_groupprofile r WHERE r.profile_id = p.id)
           OR EXISTS (SELECT FROM profiles_default r WHERE r.profile_id = p.id))"""


def _prepare_definitions() -> None:
    """Have a row for each profile that any rule names, at each server. Apple hears of those alone
    that a device is to have.
    """
    with connection.cursor() as cursor:
        cursor.execute(_UNDEFINED)
        missing = cursor.fetchall()
    versions = Version.objects.select_related("profile").in_bulk(
        [version for _, version in missing]
    )
    known = Server.objects.in_bulk([server for server, _ in missing])
    Definition.objects.bulk_create(
        (
            Definition(
                server=known[server],
                reference=version,
                name=str(versions[version])[:300],
                sealed_document=secrets.seal(
                    PURPOSE, json.dumps(document(versions[version])).encode()
                ),
            )
            for server, version in missing
        ),
        ignore_conflicts=True,
    )


def document(version: Version) -> dict[str, Any]:
    """What POST /profile says of a version. The addresses in it carry its secret."""
    secret = secrets.unseal("ade_secret", version.sealed_secret).decode()
    base = settings.ENV.public_url
    return content.document(
        version.content,
        name=version.profile.name,
        url=f"{base}/ade/{secret}",
        web_url=f"{base}/ade/sign-in/{secret}/" if version.signs_in else "",
    )
