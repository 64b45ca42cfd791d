"""Which devices the rules of smart groups find, and keeping that true."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from django.utils import timezone

from mdm.models import Group
from profiles import rules
from profiles.rules import Rule

_SOME = " AND d.serial_number = ANY(%s)"
_FOLLOW = """
WITH found AS MATERIALIZED (
    SELECT d.serial_number {devices} {narrow} AND {rule}
), gone AS (
    DELETE FROM mdm_groupmember m
    WHERE m.group_id = %s {of_these}
          AND NOT EXISTS (SELECT FROM found f WHERE f.serial_number = m.serial_number)
    RETURNING m.serial_number
), come AS (
    INSERT INTO mdm_groupmember (group_id, serial_number)
    SELECT %s, f.serial_number FROM found f
    ON CONFLICT (group_id, serial_number) DO NOTHING
    RETURNING serial_number
)
SELECT serial_number FROM gone UNION ALL SELECT serial_number FROM come"""


def count(rule: Rule) -> int:
    """How many devices fulfill a rule now."""
    sql, parameters = rules.where(rule)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) {rules.DEVICES} AND {sql}", parameters)
        [found] = cursor.fetchone() or [0]
    return int(found)


def follow(serials: Sequence[str] | None = None) -> set[str]:
    """Make the members of all smart groups true again, for these serial numbers or for all; those
    that came or went. Call it in a transaction.
    """
    moved: set[str] = set()
    for group in Group.objects.filter(kind=Group.Kind.SMART).order_by("pk"):
        moved |= follow_group(group, None if rules.moves(group.rule) else serials)
    return moved


def follow_group(group: Group, serials: Sequence[str] | None = None) -> set[str]:
    """The same for one smart group."""
    sql, parameters = rules.where(group.rule)
    of_these = "AND m.serial_number = ANY(%s)" if serials is not None else ""
    some = [list(serials)] if serials is not None else []
    statement = _FOLLOW.format(
        devices=rules.DEVICES,
        narrow=_SOME if serials is not None else "",
        rule=sql,
        of_these=of_these,
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [*some, *parameters, group.pk, *some, group.pk])
        moved = {serial for (serial,) in cursor.fetchall()}
    if moved:
        Group.objects.filter(pk=group.pk).update(changed_at=timezone.now())
    return moved
