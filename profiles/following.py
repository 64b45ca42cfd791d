"""What follows from news: groups find their members again, and devices their profile.

News is written in the transaction of what happened, and gone in the one that followed it: a crash
in between loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from celery import current_app
from django.db import connection, transaction

from abm import assignment
from abm.platforms import platform_sql
from profiles import membership, resolution
from profiles.models import News

FOLLOW = "profiles.tasks.follow"
# News about all devices there are.
EVERYTHING = ""
# From so many devices on, all of them are looked at: that is one pass through the tables.
_MANY = 5_000
_EXPIRES = 60

_log = structlog.get_logger(__name__)


def tell(serials: Iterable[str]) -> None:
    """Something about these devices has changed. Call it in the transaction of the change."""
    wanted = list(dict.fromkeys(serials))
    if len(wanted) > _MANY:
        wanted = [EVERYTHING]
    if wanted:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO profiles_news (serial_number) SELECT unnest(%s::text[])", [wanted]
            )


def tell_of(device_ids: Iterable[int]) -> None:
    """The same, of devices by their id; those that no rule can see are left out."""
    _insert_from("mdm_device d WHERE d.id = ANY(%s)", list(device_ids))


def tell_of_enrollment(enrollment_id: int) -> None:
    """The same, of the device of an enrollment."""
    _insert_from(
        "mdm_device d WHERE d.id = (SELECT device_id FROM mdm_enrollment WHERE id = %s)",
        enrollment_id,
    )


def tell_everything() -> None:
    """A rule has changed that any device may fall under."""
    tell([EVERYTHING])


def publish() -> None:
    """Call a worker once this transaction is through. A broker that is down delays it: the beat
    looks every few seconds.
    """
    transaction.on_commit(_publish)


def follow() -> dict[int, int]:
    """Take all news up; how many devices of each ABM server are to have another profile, of which
    Apple is then told.
    """
    if not News.objects.exists():
        return {}
    with transaction.atomic():
        resolution.take_turn()
        serials = _taken()
        if not serials:
            return {}
        everything = EVERYTHING in serials or len(serials) > _MANY
        moved = membership.follow(None if everything else list(serials))
        concerned = None if everything else list(serials | moved)
        if concerned is not None and len(concerned) > _MANY:
            concerned = None
        changed = resolution.resolve(concerned)
    for server_id in changed:
        assignment.publish(server_id)
    return changed


def _insert_from(devices: str, parameter: int | list[int]) -> None:
    """Only where there is a smart group, or where ABM does not say which OS the device has: nothing
    else follows from what devices say.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO profiles_news (serial_number) SELECT d.serial_number"
            f" FROM {devices} AND d.serial_number IS NOT NULL"
            " AND (EXISTS (SELECT FROM mdm_group WHERE kind = 'smart')"
            " OR EXISTS (SELECT FROM abm_abmdevice a WHERE a.serial_number = d.serial_number"
            f" AND {platform_sql('a.os', 'a.device_family')} = ''))",
            [parameter],
        )


def _taken() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM profiles_news WHERE id = ANY (ARRAY("
            "SELECT id FROM profiles_news FOR UPDATE SKIP LOCKED)) RETURNING serial_number"
        )
        return {serial for (serial,) in cursor.fetchall()}


def _publish() -> None:
    try:
        current_app.send_task(FOLLOW, expires=_EXPIRES, retry=False, ignore_result=True)
    except Exception as error:
        _log.warning("The broker does not take tasks; the beat will follow", error=str(error))
