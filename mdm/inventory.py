"""What devices report about themselves: one section per kind of report, newest wins."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import connection

from mdm.models import Device
from mdm.protocol.plist import jsonable

Section = tuple[int, str, object, bool, datetime]

# The columns of Device that a device's own report may set, with their greatest length.
_FACTS = {
    "device_name": 255,
    "product_name": 255,
    "model": 255,
    "model_name": 255,
    "os_version": 64,
    "build_version": 64,
    "imei": 64,
    "meid": 64,
    "supervised": None,
    "shared_ipad": None,
}


def replace_sections(sections: Iterable[Section]) -> None:
    """Store reports: (enrollment id, section, data for JSON, truncated, reported at) each.

    One statement; a report never replaces a newer one.
    """
    newest: dict[tuple[int, str], Section] = {}
    for section in sections:
        known = newest.get(section[:2])
        if known is None or known[4] <= section[4]:
            newest[section[:2]] = section
    if not newest:
        return
    # Always in the same order, so that two workers cannot wait for each other.
    rows = [newest[key] for key in sorted(newest)]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO mdm_inventorysection AS s
                (enrollment_id, section, data, item_count, truncated, reported_at)
            SELECT enrollment_id, section, data, item_count, truncated, reported_at
            FROM unnest(%(enrollments)s::bigint[], %(sections)s::text[], %(data)s::jsonb[],
                        %(counts)s::int[], %(truncated)s::boolean[], %(at)s::timestamptz[])
                 AS r (enrollment_id, section, data, item_count, truncated, reported_at)
            ON CONFLICT (enrollment_id, section) DO UPDATE SET
                data = EXCLUDED.data, item_count = EXCLUDED.item_count,
                truncated = EXCLUDED.truncated, reported_at = EXCLUDED.reported_at
            WHERE s.reported_at <= EXCLUDED.reported_at
            """,
            {
                "enrollments": [row[0] for row in rows],
                "sections": [row[1] for row in rows],
                "data": [json.dumps(jsonable(row[2])) for row in rows],
                "counts": [_count(row[2]) for row in rows],
                "truncated": [row[3] for row in rows],
                "at": [row[4] for row in rows],
            },
        )


def update_section(
    enrollment_id: int,
    section: str,
    data: Mapping[str, object],
    forget: Iterable[str],
    *,
    at: datetime,
) -> None:
    """Set some keys of a section and forget others; the rest stays as reported before."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO mdm_inventorysection AS s
                (enrollment_id, section, data, item_count, truncated, reported_at)
            VALUES (%(enrollment)s, %(section)s, %(data)s::jsonb, 0, false, %(at)s)
            ON CONFLICT (enrollment_id, section) DO UPDATE SET
                data = (s.data - %(gone)s::text[]) || EXCLUDED.data,
                reported_at = EXCLUDED.reported_at
            WHERE s.reported_at <= EXCLUDED.reported_at AND jsonb_typeof(s.data) = 'object'
            """,
            {
                "enrollment": enrollment_id,
                "section": section,
                "data": json.dumps(jsonable(dict(data))),
                "gone": list(forget),
                "at": at,
            },
        )


def set_device_facts(device_id: int, values: Mapping[str, Any]) -> None:
    """Set columns of the device that its own report names; others are ignored."""
    known: dict[str, Any] = {}
    for name, value in values.items():
        if name in _FACTS:
            length = _FACTS[name]
            known[name] = value if length is None else str(jsonable(value))[:length]
    if known:
        Device.objects.filter(pk=device_id).update(**known)


def _count(data: object) -> int:
    return len(data) if isinstance(data, list | dict) else 0
