"""Who is given which profile: devices, groups, and all devices of an OS. What follows for each
device is worked out by `resolution.py`, in the background.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.db import transaction
from django.utils import timezone

from abm.models import Server
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.models import Group
from profiles import following
from profiles.errors import NotNow
from profiles.models import Default, DeviceProfile, GroupProfile, Profile

# The audit row names so many; the rest is told by the rows.
_NAMED = 1_000


def give_devices(actor: Actor, serials: Iterable[str], profile: Profile | None) -> int:
    """Give a profile to these very devices, or take theirs away (None); how many it changes for.
    Raises NotAllowed, NotNow.
    """
    allow(actor, "profile.give")
    wanted = sorted(set(serials))
    with transaction.atomic():
        if profile is None:
            changed = _take_from(wanted)
        else:
            changed = _give_to(actor, wanted, _usable(profile))
        if changed:
            record(
                actor,
                "profile.give.devices",
                subject_kind="profile",
                subject_id=profile.pk if profile else "",
                after={"devices": len(changed), "serial_numbers": changed[:_NAMED]},
            )
            _told(changed)
    return len(changed)


def give_group(actor: Actor, group: Group, profile: Profile | None) -> None:
    """Give a profile to a group, or take it away (None). Raises NotAllowed, NotNow."""
    allow(actor, "profile.give")
    with transaction.atomic():
        known = GroupProfile.objects.select_for_update().filter(group=group).first()
        before = known.profile_id if known else None
        after = _usable(profile).pk if profile else None
        if before == after:
            return
        if profile is None:
            GroupProfile.objects.filter(group=group).delete()
        else:
            given = {"profile": profile, "set_by": actor.name, "set_at": timezone.now()}
            GroupProfile.objects.update_or_create(group=group, defaults=given)
        _record(actor, "profile.give.group", "group", group.pk, before, after)
        _told(group.members.values_list("serial_number", flat=True))


def set_default(actor: Actor, os: str, server: Server | None, profile: Profile | None) -> None:
    """Set the profile of devices of an OS for which nothing else speaks, on one ABM server or in
    general (None); no profile takes it away. Raises NotAllowed, NotNow.
    """
    allow(actor, "profile.give")
    if os not in Default.OS.values:
        raise NotNow(f"There is no OS called {os[:40]!r}.")
    with transaction.atomic():
        rows = Default.objects.filter(os=os, server=server)
        known = rows.select_for_update().first()
        before = known.profile_id if known else None
        after = _usable(profile).pk if profile else None
        if before == after:
            return
        if profile is None:
            rows.delete()
        else:
            given = {"profile": profile, "set_by": actor.name, "set_at": timezone.now()}
            Default.objects.update_or_create(os=os, server=server, defaults=given)
        name = f"{os} on {server}" if server else os
        _record(actor, "profile.default", "default", name, before, after)
        following.tell_everything()
        following.publish()


def check(profile: Profile | None) -> None:
    """Raise NotNow where it can be given to nobody; to give none is always possible."""
    if profile is None:
        return
    if profile.archived_at is not None:
        raise NotNow(f"{profile} is archived. Restore it first.")
    if profile.current_id is None:
        raise NotNow(f"{profile} has no version that was applied yet.")


def _usable(profile: Profile) -> Profile:
    """The profile, kept from being archived meanwhile."""
    held = Profile.objects.select_for_update(of=("self",)).get(pk=profile.pk)
    check(held)
    return held


def _take_from(serials: list[str]) -> list[str]:
    rows = DeviceProfile.objects.filter(serial_number__in=serials)
    changed = sorted(rows.values_list("serial_number", flat=True))
    rows.delete()
    return changed


def _give_to(actor: Actor, serials: list[str], profile: Profile) -> list[str]:
    same = DeviceProfile.objects.filter(serial_number__in=serials, profile=profile)
    changed = sorted(set(serials) - set(same.values_list("serial_number", flat=True)))
    now = timezone.now()
    DeviceProfile.objects.bulk_create(
        (
            DeviceProfile(serial_number=serial, profile=profile, set_by=actor.name, set_at=now)
            for serial in changed
        ),
        batch_size=5_000,
        update_conflicts=True,
        unique_fields=["serial_number"],
        update_fields=["profile", "set_by", "set_at"],
    )
    return changed


def _told(serials: Iterable[str]) -> None:
    following.tell(serials)
    following.publish()


def _record(
    actor: Actor, action: str, kind: str, subject: object, before: int | None, after: int | None
) -> None:
    told: Mapping[str, object] = {"profile": after}
    record(
        actor,
        action,
        subject_kind=kind,
        subject_id=subject,
        before={"profile": before},
        after=told,
    )
