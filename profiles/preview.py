"""What a change would do, before it is done: for how many devices which profile takes the place of
which, and what telling Apple of it costs. The change is made in a transaction that is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import transaction

from abm import assignment
from abm.assignment import Plan
from abm.models import Server
from mdm.models import Group
from profiles import giving, resolution
from profiles.models import Default, DeviceProfile, GroupProfile, Profile, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """So many devices of a server go from one version to another; None is no profile."""

    server: Server
    before: Version | None
    after: Version | None
    devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Every line, and for each server what is to be told to Apple."""

    lines: tuple[Line, ...]
    plans: tuple[tuple[Server, Plan], ...]

    @property
    def devices(self) -> int:
        return sum(line.devices for line in self.lines)

    @property
    def requests(self) -> int:
        return sum(plan.batches for _, plan in self.plans)

    @property
    def seconds(self) -> float:
        """Servers are told side by side."""
        return max((plan.seconds for _, plan in self.plans), default=0.0)

    @property
    def blocked(self) -> list[str]:
        return [plan.blocked for _, plan in self.plans if plan.blocked]


def of_version(version: Version) -> Preview:
    """What applying a version would do."""
    with _undone():
        Profile.objects.filter(pk=version.profile_id).update(current=version)
        return _read()


def of_defaults(wanted: dict[tuple[str, int | None], Profile | None]) -> Preview:
    """What these defaults, by OS and ABM server, would do. Raises NotNow."""
    for profile in wanted.values():
        giving.check(profile)
    with _undone():
        for (os, server_id), profile in wanted.items():
            Default.objects.filter(os=os, server=server_id).delete()
            if profile is not None:
                Default.objects.create(os=os, server_id=server_id, profile=profile, set_by="")
        return _read()


def of_group(group: Group, profile: Profile | None) -> Preview:
    """What giving a profile to a group, or taking it away, would do. Raises NotNow."""
    giving.check(profile)
    with _undone():
        GroupProfile.objects.filter(group=group).delete()
        if profile is not None:
            GroupProfile.objects.create(group=group, profile=profile, set_by="")
        return _read()


def of_devices(serials: Sequence[str], profile: Profile | None) -> Preview:
    """What giving a profile to these very devices, or taking theirs away, would do. Raises
    NotNow.
    """
    giving.check(profile)
    with _undone():
        DeviceProfile.objects.filter(serial_number__in=serials).delete()
        if profile is not None:
            DeviceProfile.objects.bulk_create(
                DeviceProfile(serial_number=serial, profile=profile, set_by="")
                for serial in serials
            )
        return _read(serials)


@contextmanager
def _undone() -> Iterator[None]:
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def _read(serials: Sequence[str] | None = None) -> Preview:
    changes = resolution.compare(serials)
    servers = Server.objects.in_bulk({each.server_id for each in changes})
    ids = {pk for each in changes for pk in (each.before, each.after) if pk is not None}
    versions = Version.objects.select_related("profile").in_bulk(ids)
    lines = tuple(
        Line(
            server=servers[each.server_id],
            before=versions.get(each.before) if each.before else None,
            after=versions.get(each.after) if each.after else None,
            devices=each.devices,
        )
        for each in changes
    )
    counts: dict[int, int] = {}
    for each in changes:
        counts[each.server_id] = counts.get(each.server_id, 0) + each.devices
    planned = assignment.planned(list(servers.values()), counts)
    return Preview(lines=lines, plans=tuple((servers[pk], planned[pk]) for pk in counts))
