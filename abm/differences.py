"""Which listed devices have another ADE profile at Apple than they should. Reads only; who tells
Apple is `assignment.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import F, Q

# What Apple says of a device that has no profile, or is to lose the one it has. Any other word
# than these means that it has the one that `profile_uuid` names.
_WITHOUT_WORDS = ("", "empty", "removed")
_WITHOUT = str(_WITHOUT_WORDS)

# A profile that is not ours stays where none of ours is wanted: somebody else may need it. Ours is
# also what was defined before a server was disconnected and connected anew. Where a rule speaks and
# its profile is not prepared for this server yet, Apple is told nothing.
_IS_OTHER = f"""CASE
    WHEN w.definition_id IS NOT NULL
    THEN d.state <> 'Defined' OR a.profile_uuid <> d.profile_uuid
         OR a.profile_status IN {_WITHOUT}
    WHEN w.rule <> '' THEN false
    ELSE a.profile_uuid <> '' AND a.profile_status NOT IN {_WITHOUT} AND EXISTS (
        SELECT FROM abm_definition o WHERE o.profile_uuid = a.profile_uuid
    ) END"""
_LISTED = """
FROM abm_wish w
JOIN abm_abmdevice a ON a.id = w.listed_id
LEFT JOIN abm_definition d ON d.id = w.definition_id
WHERE w.server_id = ANY (%(servers)s) AND a.current AND a.removed_at IS NULL"""
_DIFFERS = f"{_LISTED} AND {_IS_OTHER}"
_DUE = "AND (w.retry_at IS NULL OR w.retry_at <= %(now)s)"
# The profile is there to be assigned; or none is wanted.
_READY = "AND (w.definition_id IS NULL OR d.state = 'Defined')"

_NEXT = f"""
WITH first AS (
    SELECT w.definition_id {_DIFFERS} {_DUE} {_READY} ORDER BY w.listed_id LIMIT 1
)
SELECT w.listed_id, a.serial_number, w.definition_id, w.tries, w.tried_at, a.profile_uuid
{_DIFFERS} {_DUE} {_READY}
AND w.definition_id IS NOT DISTINCT FROM (SELECT definition_id FROM first)
ORDER BY w.listed_id LIMIT %(limit)s"""

# One look at every wish answers all of it.
_COUNTS = f"""
SELECT server_id,
       count(*) FILTER (WHERE differs AND later),
       count(*) FILTER (WHERE differs AND NOT later AND state = 'Refused'),
       count(*) FILTER (WHERE differs),
       min(retry_at) FILTER (WHERE differs AND later),
       count(*) FILTER (WHERE wanted AND NOT differs),
       count(*) FILTER (WHERE NOT wanted)
FROM (
    SELECT w.server_id, w.retry_at, coalesce(w.retry_at > %(now)s, false) AS later, d.state,
           w.definition_id IS NOT NULL AS wanted, {_IS_OTHER} AS differs {_LISTED} OFFSET 0
) listed GROUP BY server_id"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A device that is to be assigned the profile of `definition_id`, or to lose the one that it
    has (None). `had` is the UUID that Apple last said.
    """

    listed_id: int
    serial_number: str
    definition_id: int | None
    tries: int
    tried_at: datetime | None
    had: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many devices differ: those that Apple can be told now, those that cool down after an
    answer of Apple's, and those whose profile Apple refuses to define. `next_at` is when the first
    of the cooling is due. `settled` are those that should have a profile and have it, `unassigned`
    those that should have none.
    """

    due: int
    cooling: int = 0
    undefined: int = 0
    next_at: datetime | None = None
    settled: int = 0
    unassigned: int = 0

    @property
    def total(self) -> int:
        return self.due + self.cooling + self.undefined


def differs() -> Q:
    """The same as a condition on AbmDevice, of those that should have a profile of ours."""
    return Q(wish__definition__isnull=False) & ~_same()


def settled() -> Q:
    """The devices that should have a profile and have it."""
    return Q(wish__definition__isnull=False) & _same()


def _same() -> Q:
    return Q(
        profile_uuid=F("wish__definition__profile_uuid"), wish__definition__state="Defined"
    ) & ~Q(profile_status__in=_WITHOUT_WORDS)


def next_batch(server_id: int, now: datetime, limit: int) -> Sequence[Difference]:
    """Up to `limit` devices that are due, all to be told the same."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, {"servers": [server_id], "now": now, "limit": limit})
        return [
            Difference(
                listed_id=listed,
                serial_number=serial,
                definition_id=definition,
                tries=tries,
                tried_at=tried,
                had=had,
            )
            for listed, serial, definition, tries, tried, had in cursor.fetchall()
        ]


def counts(server_id: int, now: datetime) -> Counts:
    """How many devices of a server differ."""
    return counts_of([server_id], now)[server_id]


def counts_of(server_ids: Sequence[int], now: datetime) -> dict[int, Counts]:
    """The same of each of these servers, in one statement."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, {"servers": list(server_ids), "now": now})
        found = {server: rest for server, *rest in cursor.fetchall()}
    return {server: _counts(*found.get(server, (0, 0, 0, None, 0, 0))) for server in server_ids}


def _counts(
    cooling: int,
    undefined: int,
    total: int,
    next_at: datetime | None,
    settled: int,
    unassigned: int,
) -> Counts:
    return Counts(
        due=total - cooling - undefined,
        cooling=cooling,
        undefined=undefined,
        next_at=next_at,
        settled=settled,
        unassigned=unassigned,
    )


def exist(server_id: int, now: datetime) -> bool:
    """Whether Apple could be told something now."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS (SELECT {_DIFFERS} {_DUE}"
            " AND (w.definition_id IS NULL OR d.state = 'Defined'"
            " OR d.retry_at IS NULL OR d.retry_at <= %(now)s))",
            {"servers": [server_id], "now": now},
        )
        [found] = cursor.fetchone() or [False]
    return bool(found)
