"""Writing what was decided about a page: devices, ledger, run and cursor in one transaction.

All of it is set-based: a page costs the same few statements however many devices are on it. The
server's row is moved first, and only from where the run believes it to be: a run that has been
overtaken by another one writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.utils import timezone

from abm import signals
from abm.decisions import Decision, Held, Outcome
from abm.models import Server, SyncRun
from abm.platforms import platform
from abm.wire.records import FACTS, TEXTS, TIMES
from mdm.webhooks.outbox import emit_many

# Whether a device is on one or two of our servers is decided by one page at a time.
_LOCK = 0x41424D50
_EVENT_SERIALS = 1_000


class Overtaken(Exception):
    """Another run writes for this server now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a server's sync stands."""

    phase: str
    cursor: str

    @classmethod
    def of(cls, server: Server) -> Place:
        return cls(phase=server.phase, cursor=server.cursor)


def held(server: Server, serials: Iterable[str]) -> dict[str, Held]:
    """What we hold of these serial numbers on this server."""
    wanted = list(dict.fromkeys(serials))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_BY_KEY)
        cursor.execute(_HELD, [server.pk, wanted])
        return {row[0]: _held(row) for row in cursor.fetchall()}


def write(
    run: SyncRun,
    server: Server,
    outcome: Outcome,
    *,
    before: Mapping[str, Held],
    to: Place,
    page: int | None = None,
    records: int = 0,
    listed: Sequence[str] = (),
) -> None:
    """Write one page. `before` is what `held` gave, `records` how many devices Apple sent,
    `listed` the serial numbers that the full list contained. Raises Overtaken; then nothing was
    written.
    """
    now = timezone.now()
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(_MOVE, [to.phase, to.cursor, server.pk, run.pk, server.phase, server.cursor])
        if cursor.rowcount != 1:
            raise Overtaken
        cursor.execute(_BY_KEY)
        changed = [each for each in outcome.held.values() if _news(before, each)]
        if changed:
            _write_devices(cursor, server, changed, listed, now)
            _forget_answers(cursor, server, before, changed)
        _mark_listed(cursor, server, changed, listed)
        _write_ledger(cursor, run, server, outcome, page)
        _tell(server, run, outcome, now)
        _count(run, outcome, page, records, now)
    server.phase, server.cursor = to.phase, to.cursor


def write_answers(server: Server, outcome: Outcome, before: Mapping[str, Held]) -> None:
    """Write what Apple answered about single devices outside of a run; its place stays. Call it
    inside `conversation.alone`. Raises Overtaken where the server was disconnected meanwhile; then
    nothing was written.
    """
    now = timezone.now()
    with transaction.atomic(), connection.cursor() as cursor:
        if not _still_connected(server):
            raise Overtaken
        cursor.execute(_BY_KEY)
        changed = [each for each in outcome.held.values() if _news(before, each)]
        if changed:
            _write_devices(cursor, server, changed, (), now)
            _forget_answers(cursor, server, before, changed)
        _write_ledger(cursor, None, server, outcome, None)


def _still_connected(server: Server) -> bool:
    """Whether it is, until the transaction ends."""
    rows = Server.objects.select_for_update().filter(pk=server.pk, disconnected_at=None)
    return bool(rows.values_list("pk"))


def begin_list(run: SyncRun, server: Server, began_at: datetime | None) -> None:
    """Read the whole list from its beginning. Raises Overtaken."""
    moved = Server.objects.filter(pk=server.pk, run_id=run.pk).update(
        phase=Server.Phase.LIST,
        cursor="",
        list_number=server.list_number + 1,
        list_began_at=began_at,
        list_asked_at=None,
    )
    if not moved:
        raise Overtaken
    SyncRun.objects.filter(pk=run.pk).update(full=True)
    server.refresh_from_db()


def missing(server: Server, limit: int) -> list[str]:
    """Serial numbers that we hold and the last list did not contain."""
    with connection.cursor() as cursor:
        cursor.execute(_MISSING, [server.pk, server.list_number, limit])
        return [serial for (serial,) in cursor.fetchall()]


def doubtful(server: Server, limit: int) -> list[str]:
    """Serial numbers about which Apple is to be asked."""
    rows = server.devices.filter(doubtful=True).order_by("pk")
    return list(rows.values_list("serial_number", flat=True)[:limit])


def settle_current(serials: Sequence[str]) -> None:
    """Say anew to which of our servers these belong. Call it in a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        _settle_current(cursor, serials)
    signals.devices_changed.send(Server, serial_numbers=list(serials))


def relink(server: Server) -> int:
    """Give listed devices that have none a Device again: one that an admin deleted while ABM lists
    it comes back. Returns how many.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_BY_KEY)
        cursor.execute(_RELINK_NEW, [server.pk])
        cursor.execute(_RELINK, [server.pk])
        serials = [serial for (serial,) in cursor.fetchall()]
        if serials:
            signals.devices_changed.send(Server, serial_numbers=serials)
        return len(serials)


# --- Devices -------------------------------------------------------------------------------------

# All that a page does goes by serial numbers. A plan that was made while a table was small would
# read all of it for every page, until its statistics are taken anew.
_BY_KEY = "SET LOCAL enable_seqscan = off"

_NAMES = ", ".join(FACTS)
_HELD = f"""
SELECT serial_number, removed_at IS NULL, added_at IS NOT NULL, op_date, as_of, doubtful,
       {_NAMES}
FROM abm_abmdevice WHERE server_id = %s AND serial_number = ANY(%s)"""

_MOVE = """
UPDATE abm_server SET phase = %s, cursor = %s
WHERE id = %s AND run_id = %s AND phase = %s AND cursor = %s"""

_FACTS_AS = ", ".join(
    [*(f"{name} text" for name in TEXTS), *(f"{name} timestamptz" for name in TIMES), "more jsonb"]
)

# A Device that is there already is the enrollment's and the admin's; ABM fills what nobody said.
# One that is made by someone else at this very moment is found by `relink`. It is looked up by a
# subquery, since a join might read the whole index.
_UPSERT = f"""
WITH r AS MATERIALIZED (
    SELECT given.*, (
        SELECT d.id FROM mdm_device d WHERE d.serial_number = given.serial_number
    ) AS device_id
    FROM jsonb_to_recordset(%s) AS given(
        serial_number text, listed boolean, doubtful boolean,
        op_date timestamptz, as_of timestamptz, platform text, list_number integer, {_FACTS_AS})
), made AS (
    INSERT INTO mdm_device (serial_number, platform, model_name, udid, device_name, product_name,
                            model, os_version, build_version, imei, meid)
    SELECT serial_number, platform, left(model, 255), '', '', '', '', '', '', '', ''
    FROM r WHERE listed AND device_id IS NULL ORDER BY serial_number
    ON CONFLICT (serial_number) DO NOTHING
    RETURNING id, serial_number
)
INSERT INTO abm_abmdevice AS a (server_id, device_id, serial_number, {_NAMES}, op_date, as_of,
                                list_number, doubtful, current, added_at, changed_at, removed_at)
SELECT %s, coalesce(r.device_id, made.id), r.serial_number,
       {", ".join(f"r.{name}" for name in FACTS)}, r.op_date,
       CASE WHEN r.list_number > 0 THEN greatest(r.as_of, %s) ELSE r.as_of END,
       r.list_number, r.doubtful, r.listed, CASE WHEN r.listed THEN %s::timestamptz END, NULL,
       CASE WHEN NOT r.listed THEN %s::timestamptz END
FROM r LEFT JOIN made ON made.serial_number = r.serial_number
ON CONFLICT (serial_number, server_id) DO UPDATE SET
    device_id = coalesce(excluded.device_id, a.device_id),
    {", ".join(f"{name} = excluded.{name}" for name in FACTS)},
    op_date = excluded.op_date, as_of = excluded.as_of, doubtful = excluded.doubtful,
    list_number = greatest(a.list_number, excluded.list_number), current = excluded.current,
    added_at = CASE WHEN a.added_at IS NULL
                         OR (a.removed_at IS NOT NULL AND excluded.removed_at IS NULL)
                    THEN excluded.added_at ELSE a.added_at END,
    changed_at = %s,
    removed_at = CASE WHEN excluded.removed_at IS NULL THEN NULL
                      ELSE coalesce(a.removed_at, excluded.removed_at) END"""

# A device belongs to the server that it was assigned last, of those that list it.
_RANKED = """
WITH found AS MATERIALIZED (
    SELECT id, serial_number, current, removed_at, device_assigned_date, op_date
    FROM abm_abmdevice WHERE serial_number = ANY(%s)
), ranked AS MATERIALIZED (
    SELECT id, current, removed_at IS NULL AND row_number() OVER (
        PARTITION BY serial_number
        ORDER BY (removed_at IS NULL) DESC, coalesce(device_assigned_date, '-infinity') DESC,
                 coalesce(op_date, '-infinity') DESC, id DESC) = 1 AS best
    FROM found
)
UPDATE abm_abmdevice SET current = NOT current
WHERE id = ANY(ARRAY(SELECT id FROM ranked WHERE current <> best))"""

_LISTED = """
UPDATE abm_abmdevice SET list_number = %s, as_of = greatest(as_of, %s)
WHERE server_id = %s AND serial_number = ANY(%s)"""

_MISSING = """
SELECT serial_number FROM abm_abmdevice
WHERE server_id = %s AND removed_at IS NULL AND list_number < %s ORDER BY id LIMIT %s"""

# In the order in which everybody else locks wishes.
_FORGET = """
UPDATE abm_wish SET tries = 0, tried_at = NULL, answer = '', retry_at = NULL
WHERE listed_id = ANY(ARRAY(
    SELECT w.listed_id FROM abm_wish w JOIN abm_abmdevice a ON a.id = w.listed_id
    WHERE w.retry_at IS NOT NULL AND a.server_id = %s AND a.serial_number = ANY(%s)
    ORDER BY w.listed_id FOR UPDATE OF w))"""

# Materialized, so that it is the index of device_id that finds them.
_LOST = """
WITH lost AS MATERIALIZED (SELECT * FROM abm_abmdevice WHERE device_id IS NULL)"""
_RELINK_NEW = f"""{_LOST}
INSERT INTO mdm_device (serial_number, platform, model_name, udid, device_name, product_name, model,
                        os_version, build_version, imei, meid)
SELECT serial_number, '', left(model, 255), '', '', '', '', '', '', '', '' FROM lost
WHERE server_id = %s AND removed_at IS NULL ORDER BY serial_number
ON CONFLICT (serial_number) DO NOTHING"""
_RELINK = f"""{_LOST}
UPDATE abm_abmdevice a
SET device_id = (SELECT d.id FROM mdm_device d WHERE d.serial_number = a.serial_number)
WHERE a.id = ANY(ARRAY(SELECT id FROM lost WHERE server_id = %s AND removed_at IS NULL))
RETURNING a.serial_number"""


def _held(row: tuple[Any, ...]) -> Held:
    serial, listed, ever, op_date, as_of, doubtful, *facts = row
    known = dict(zip(FACTS, facts, strict=True))
    if isinstance(known["more"], str):
        known["more"] = json.loads(known["more"])
    return Held(
        serial_number=serial,
        listed=listed,
        facts=known if ever else {},
        op_date=op_date,
        as_of=as_of,
        doubtful=doubtful,
    )


def _news(held: Mapping[str, Held], after: Held) -> bool:
    """Whether the row has to be written: `as_of` alone is noted with the list as a whole."""
    before = held.get(after.serial_number)
    return (
        before is None
        or before.listed != after.listed
        or before.op_date != after.op_date
        or before.doubtful != after.doubtful
        or before.facts != after.facts
    )


def _write_devices(
    cursor: Any, server: Server, rows: Sequence[Held], listed: Sequence[str], now: datetime
) -> None:
    serials, on_list = [row.serial_number for row in rows], frozenset(listed)
    data = json.dumps(
        [_row(row, server.list_number if row.serial_number in on_list else 0) for row in rows],
        default=datetime.isoformat,
    )
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    cursor.execute(_UPSERT, [data, server.pk, server.list_began_at, now, now, now])
    _settle_current(cursor, serials)
    signals.devices_changed.send(Server, serial_numbers=serials)


def _forget_answers(
    cursor: Any, server: Server, before: Mapping[str, Held], rows: Iterable[Held]
) -> None:
    """What Apple said to a wish is of no account once the device was assigned to us anew."""
    serials = [row.serial_number for row in rows if _anew(before.get(row.serial_number), row)]
    if serials:
        cursor.execute(_FORGET, [server.pk, serials])


def _anew(before: Held | None, after: Held) -> bool:
    was = before.facts.get("device_assigned_date") if before else None
    now = after.facts.get("device_assigned_date") if after.listed else None
    return was is not None and now is not None and now > was


def _settle_current(cursor: Any, serials: Sequence[str]) -> None:
    cursor.execute(_RANKED, [list(serials)])


def _row(held: Held, list_number: int) -> dict[str, Any]:
    facts = held.facts or _NOTHING
    return {
        **facts,
        "serial_number": held.serial_number,
        "listed": held.listed,
        "doubtful": held.doubtful,
        "op_date": held.op_date,
        "as_of": held.as_of,
        "list_number": list_number,
        "platform": platform(facts["os"], facts["device_family"]),
    }


_NOTHING: dict[str, Any] = {**dict.fromkeys(TEXTS, ""), **dict.fromkeys(TIMES), "more": {}}


def _mark_listed(
    cursor: Any, server: Server, written: Iterable[Held], listed: Sequence[str]
) -> None:
    """Of those on the list only the ones that were not written: the others carry it already."""
    rest = set(listed).difference(row.serial_number for row in written)
    if rest:
        cursor.execute(_LISTED, [server.list_number, server.list_began_at, server.pk, list(rest)])


# --- What is told of it --------------------------------------------------------------------------

_LEDGER = """
INSERT INTO abm_ledgerentry (server_id, run_id, page, at, serial_number, source, op_type, op_date,
                             decision, changes)
SELECT %s, %s, %s, now(), r.*
FROM jsonb_to_recordset(%s) AS r(serial_number text, source text, op_type text, op_date timestamptz,
                                 decision text, changes jsonb)"""


def _write_ledger(
    cursor: Any, run: SyncRun | None, server: Server, outcome: Outcome, page: int | None
) -> None:
    if not outcome.entries:
        return
    rows = [
        {
            "serial_number": entry.serial_number,
            "source": entry.source,
            "op_type": entry.op_type,
            "op_date": entry.op_date,
            "decision": entry.decision,
            "changes": entry.changes,
        }
        for entry in outcome.entries
    ]
    data = json.dumps(rows, default=datetime.isoformat)
    cursor.execute(_LEDGER, [server.pk, run.pk if run else None, page, data])


def _tell(server: Server, run: SyncRun, outcome: Outcome, now: datetime) -> None:
    """Devices that came and went, for webhooks and mail: one event for up to 1,000 of them."""
    came = outcome.of(Decision.ADDED, Decision.RETURNED)
    gone = outcome.of(Decision.REMOVED)
    for kind, serials in (("abm.devices.added", came), ("abm.devices.removed", gone)):
        told = [
            (now, str(server.pk), {"name": str(server), "run": run.pk, "serial_numbers": some})
            for some in _parts(serials)
        ]
        if told:
            emit_many(kind, told)


def _parts(serials: Sequence[str]) -> Iterable[list[str]]:
    return (
        list(serials[at : at + _EVENT_SERIALS]) for at in range(0, len(serials), _EVENT_SERIALS)
    )


def _count(run: SyncRun, outcome: Outcome, page: int | None, records: int, now: datetime) -> None:
    """The run's own counts, which whoever watches it reads."""
    for column, more in outcome.counts().items():
        setattr(run, column, getattr(run, column) + more)
    run.pages += page is not None
    run.devices += records
    run.moved_at = now
    run.save(
        update_fields=["pages", "devices", "added", "changed", "removed", "ignored", "moved_at"]
    )
