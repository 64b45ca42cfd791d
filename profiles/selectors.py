"""What more than one edge reads about profiles."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from abm.models import AbmDevice, Definition, Wish
from abm.platforms import platform
from profiles.models import Default, DeviceProfile, GroupProfile, Profile, Version


def usable() -> QuerySet[Profile]:
    """The profiles that can be given, by name."""
    return Profile.objects.filter(archived_at=None, current__isnull=False).order_by("name")


def with_use(rows: QuerySet[Profile]) -> QuerySet[Profile]:
    """Each with `by_device`, `by_group` and `by_default`: whether such a rule names it."""
    return rows.annotate(
        by_device=Exists(_BY_DEVICE), by_group=Exists(_BY_GROUP), by_default=Exists(_BY_DEFAULT)
    )


def in_use() -> Q:
    """Whether any rule names a profile."""
    return Q(Exists(_BY_DEVICE)) | Q(Exists(_BY_GROUP)) | Q(Exists(_BY_DEFAULT))


_BY_DEVICE = DeviceProfile.objects.filter(profile=OuterRef("pk"))
_BY_GROUP = GroupProfile.objects.filter(profile=OuterRef("pk"))
_BY_DEFAULT = Default.objects.filter(Default.speaks(), profile=OuterRef("pk"))


def devices_by_version(versions: Iterable[Version]) -> dict[int, int]:
    """How many devices should have each of these versions."""
    ids = [version.pk for version in versions]
    rows = (
        Wish.objects.filter(definition__reference__in=ids)
        .order_by()
        .values_list("definition__reference")
        .annotate(count=Count("*"))
    )
    return dict(rows)


def carried_by_version(versions: Iterable[Version]) -> dict[int, int]:
    """How many listed devices have each of these versions at Apple, wanted or not."""
    ids = [version.pk for version in versions]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT d.reference, count(*) FROM abm_definition d"
            " JOIN abm_abmdevice a ON a.server_id = d.server_id AND a.profile_uuid = d.profile_uuid"
            " WHERE d.reference = ANY(%s) AND d.profile_uuid <> '' AND a.removed_at IS NULL"
            " AND a.current AND a.profile_status IN ('assigned', 'pushed')"
            " GROUP BY d.reference",
            [ids],
        )
        return dict(cursor.fetchall())


def at_apple(version: Version) -> QuerySet[Definition]:
    """How the version stands at each server."""
    return Definition.objects.filter(reference=version.pk).select_related("server").order_by("pk")


def unassigned() -> QuerySet[AbmDevice]:
    """The devices on the list that should have no profile, since no rule gives them one."""
    return AbmDevice.objects.filter(
        current=True, removed_at=None, wish__isnull=False, wish__definition=None
    )


def systems_without_default() -> list[str]:
    """The OSes, in words, of unassigned devices for which there is no general default."""
    general = set(Default.objects.filter(server=None).values_list("os", flat=True))
    rows = unassigned().order_by().values_list("os", "device_family")
    found = set()
    for os, family, _ in rows.annotate(count=Count("*")):
        word = platform(os, family)
        found.add("iOS" if word == "iPadOS" else word)
    return [Default.OS(os).label for os in sorted(found - general - {""})]
