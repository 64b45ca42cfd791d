"""Groups of devices: picked by serial number, or found by a rule; in the order of their rank."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Max, Q
from django.utils import timezone

from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.models import Group, GroupMember
from profiles import following, membership, resolution, rules
from profiles.errors import BadGroup, NotNow

MAX_NAME = 100
_NAMED = 1_000


def create_static(actor: Actor, name: str, serials: Iterable[str] = ()) -> Group:
    """A group of these serial numbers, of the last rank. Raises NotAllowed, BadGroup."""
    allow(actor, "group.edit")
    with transaction.atomic():
        group = _create(actor, name, Group.Kind.STATIC, {})
        count = _add(group, serials)
        _record(actor, "group.create", group, after={"name": group.name, "devices": count})
    return group


def create_smart(actor: Actor, name: str, rule: object) -> Group:
    """A group of all devices that fulfill a rule, now and later. Raises NotAllowed, BadGroup,
    BadRule.
    """
    allow(actor, "group.edit")
    cleaned = rules.clean(rule)
    with transaction.atomic():
        resolution.take_turn()
        group = _create(actor, name, Group.Kind.SMART, cleaned)
        membership.follow_group(group)
        _record(actor, "group.create", group, after={"name": group.name, "rule": cleaned})
    group.refresh_from_db()
    return group


def change_rule(actor: Actor, group: Group, rule: object) -> None:
    """Raises NotAllowed, BadRule, and BadGroup for a group without a rule."""
    allow(actor, "group.edit")
    if group.kind != Group.Kind.SMART:
        raise BadGroup("rule", "The devices of this group are picked; it has no rule.")
    cleaned = rules.clean(rule)
    with transaction.atomic():
        resolution.take_turn()
        held = Group.objects.select_for_update().get(pk=group.pk)
        before = held.rule
        if before == cleaned:
            return
        held.rule = cleaned
        held.save(update_fields=["rule"])
        _told(membership.follow_group(held))
        _record(actor, "group.rule", group, before={"rule": before}, after={"rule": cleaned})
    group.refresh_from_db()


def rename(actor: Actor, group: Group, name: str) -> None:
    """Raises NotAllowed, BadGroup."""
    allow(actor, "group.edit")
    name = _name(name)
    with transaction.atomic():
        held = Group.objects.select_for_update().get(pk=group.pk)
        before, held.name = held.name, name
        if before == name:
            return
        _save(held, update_fields=["name"])
        _record(actor, "group.rename", group, before={"name": before}, after={"name": name})
    group.name = name


def add(actor: Actor, group: Group, serials: Iterable[str]) -> int:
    """Put serial numbers into a static group; how many were not in it. Raises NotAllowed,
    BadGroup.
    """
    allow(actor, "group.edit")
    _check_static(group)
    wanted = sorted(set(serials))
    with transaction.atomic():
        count = _add(group, wanted)
        if count:
            _record_members(actor, "group.add", group, wanted, count)
    return count


def remove(actor: Actor, group: Group, serials: Iterable[str]) -> int:
    """Take serial numbers out of a static group; how many were in it. Raises NotAllowed,
    BadGroup.
    """
    allow(actor, "group.edit")
    _check_static(group)
    wanted = sorted(set(serials))
    with transaction.atomic():
        count, _ = group.members.filter(serial_number__in=wanted).delete()
        if count:
            _touch(group)
            _told(wanted)
            _record_members(actor, "group.remove", group, wanted, count)
    return count


def move(actor: Actor, group: Group, rank: int) -> None:
    """Give a group another rank, from 1 on; the ones in between make room. Raises NotAllowed,
    BadGroup.
    """
    allow(actor, "group.edit")
    with transaction.atomic():
        lock_ranks()
        order = list(Group.objects.order_by("rank"))
        place = max(0, min(rank - 1, len(order) - 1))
        before = next((at for at, each in enumerate(order) if each.pk == group.pk), None)
        if before is None:
            raise BadGroup("rank", "This group was deleted meanwhile.")
        if place == before:
            return
        order.insert(place, order.pop(before))
        for at, each in enumerate(order, start=1):
            if each.rank != at:
                Group.objects.filter(pk=each.pk).update(rank=at)
        _record(actor, "group.rank", group, before={"rank": before + 1}, after={"rank": place + 1})
        _told(group.members.values_list("serial_number", flat=True))
    group.refresh_from_db(fields=["rank"])


def delete(actor: Actor, group: Group) -> None:
    """Devices stay; what the group gave them is gone. Raises NotAllowed, and NotNow while someone
    has a role for its devices.
    """
    allow(actor, "group.edit")
    with transaction.atomic():
        resolution.take_turn()
        held = Group.objects.select_for_update().get(pk=group.pk)
        _check_unused(held)
        _told(list(held.members.values_list("serial_number", flat=True)))
        _record(actor, "group.delete", held, before={"name": held.name, "rule": held.rule})
        rank = held.rank
        held.delete()
        Group.objects.filter(rank__gt=rank).update(rank=F("rank") - 1)


def _check_unused(group: Group) -> None:
    """Rights would end with the group, without a word to whoever holds them."""
    holders = [str(each.user) for each in group.grants.current().select_related("user")[:3]]
    live = Q(expiry=None) | Q(expiry__gt=timezone.now())
    holders += [f"the token {token}" for token in group.tokens.filter(live)[:3]]
    if holders:
        raise NotNow(
            f"Rights hold for the devices of this group ({', '.join(holders)}). Take them away"
            " first, under Settings > People and roles or API tokens."
        )


def _create(actor: Actor, name: str, kind: Group.Kind, rule: rules.Rule) -> Group:
    lock_ranks()
    last = Group.objects.aggregate(rank=Max("rank"))["rank"] or 0
    group = Group(name=_name(name), kind=kind, rule=rule, rank=last + 1, created_by=actor.name)
    _save(group)
    return group


def lock_ranks() -> None:
    """Two that are made or moved at once do not get the same rank, nor undo each other."""
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE mdm_group IN SHARE ROW EXCLUSIVE MODE")


def _save(group: Group, update_fields: list[str] | None = None) -> None:
    try:
        with transaction.atomic():
            group.save(update_fields=update_fields)
    except IntegrityError:
        raise BadGroup("name", "Another group has this name.") from None


def _name(name: str) -> str:
    cleaned = " ".join(name.replace("\0", "").split())
    if not cleaned or len(cleaned) > MAX_NAME or not cleaned.isprintable():
        raise BadGroup("name", f"Give the group a name of at most {MAX_NAME} characters.")
    return cleaned


def _check_static(group: Group) -> None:
    if group.kind != Group.Kind.STATIC:
        raise BadGroup("serial_numbers", "Its rule says which devices are in this group.")


def _add(group: Group, serials: Iterable[str]) -> int:
    wanted = sorted(set(serials))
    there = set(
        group.members.filter(serial_number__in=wanted).values_list("serial_number", flat=True)
    )
    coming = [serial for serial in wanted if serial not in there]
    GroupMember.objects.bulk_create(
        (GroupMember(group=group, serial_number=serial) for serial in coming),
        batch_size=5_000,
        ignore_conflicts=True,
    )
    if coming:
        _touch(group)
        _told(coming)
    return len(coming)


def _touch(group: Group) -> None:
    Group.objects.filter(pk=group.pk).update(changed_at=timezone.now())


def _told(serials: Iterable[str]) -> None:
    following.tell(serials)
    following.publish()


def _record_members(
    actor: Actor, action: str, group: Group, serials: list[str], count: int
) -> None:
    _record(actor, action, group, after={"devices": count, "serial_numbers": serials[:_NAMED]})


def _record(actor: Actor, action: str, group: Group, **more: Mapping[str, object]) -> None:
    record(actor, action, subject_kind="group", subject_id=group.pk, **more)
