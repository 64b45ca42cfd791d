"""Rights and their record: may this actor do this, and the row that says that it did.

Every domain function that someone can trigger calls `allow` before it changes anything and
`record` in the same transaction as the change. Who may do what is `mdm/accounts/rights.py`; which
rows of a list someone may see is `mdm/scope.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.utils import timezone

from mdm.accounts import rights
from mdm.accounts.rights import Reach, Right, Role, Where
from mdm.audit.actor import Actor, Kind
from mdm.audit.models import AuditEvent
from mdm.models import Device, GroupMember


class NotAllowed(Exception):
    """This actor may not do `action`; the message says what would be needed."""

    def __init__(self, action: str, message: str) -> None:
        super().__init__(message)
        self.action = action


class NoReason(Exception):
    """A secret is not shown to who does not say what for."""


def allow(actor: Actor, action: str, *, device: Device | None = None) -> None:
    """Raise NotAllowed unless `actor` may do `action`, which is a right of the table.

    A right that reaches devices is asked for one of them; who asks for many at once uses
    `somewhere`, and works out which of them it covers.
    """
    right = rights.BY_NAME[action]
    if device is None and right.reach is Reach.DEVICES and actor.kind != Kind.SYSTEM:
        raise TypeError(f"{action} is a right on devices: ask for one of them.")
    held = somewhere(actor, action)
    if held.everywhere or device is None:
        return
    groups = GroupMember.objects.filter(serial_number=device.serial_number or None)
    if not held.covers(groups.values_list("group_id", flat=True)):
        raise NotAllowed(
            action,
            f"You may not do this to {device}: {right.words.lower()}. Your role holds for other"
            " groups of devices.",
        )


def somewhere(actor: Actor, action: str, request_type: str = "") -> Where:
    """For which devices `actor` may do `action`. Raises NotAllowed where for none."""
    found = actor.where(action, request_type)
    if not found:
        raise NotAllowed(action, _why_not(actor, rights.BY_NAME[action]))
    return found


def record(
    actor: Actor,
    action: str,
    *,
    subject_kind: str,
    subject_id: object,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> AuditEvent:
    """Write the audit row. Secrets must be masked by the caller, who knows which they are."""
    return AuditEvent.objects.create(
        at=timezone.now(),
        actor_kind=actor.kind or "",
        actor_id=actor.id,
        actor_name=actor.name,
        address=actor.address,
        request_id=actor.request_id,
        action=action,
        subject_kind=subject_kind,
        subject_id=str(subject_id)[:300],
        before=before,
        after=after,
    )


def record_reading(
    actor: Actor, action: str, reason: str, *, subject_kind: str, subject_id: object
) -> AuditEvent:
    """Write the audit row of a secret that is shown, and what for. Raises NoReason."""
    reason = reason.strip()
    if not reason or len(reason) > 200 or not reason.isprintable():
        raise NoReason("Say in a few words what you need it for; the audit log keeps it.")
    return record(
        actor, action, subject_kind=subject_kind, subject_id=subject_id, after={"reason": reason}
    )


def _why_not(actor: Actor, right: Right) -> str:
    if not actor.active:
        return f"{actor.name} is switched off and may not do this ({right.name})."
    if not actor.held:
        return (
            f"{actor.name} has no role here now. An admin gives one under Settings > People and"
            " roles."
        )
    if actor.bound is not None and not right.by_token:
        return f"A token cannot do this ({right.words}): sign in to the dashboard."
    what = f"You may not do this ({right.words}). It takes the role {_either(right)}"
    if any(held.role in right.roles for held in actor.held):
        if actor.bound is not None and not actor.bound.has(right):
            return f"{what}; this token has less than its owner: {_words(actor.bound)}."
        return f"{what} for all devices; yours holds for a group of them."
    return (
        f"{what}; you are {' and '.join(sorted({held.role.label.lower() for held in actor.held}))}."
    )


def _either(right: Right) -> str:
    names = [role.label.lower() for role in Role if role in right.roles]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _words(held: rights.Held) -> str:
    limit = " for one group of devices" if held.group is not None else ""
    return f"the role {held.role.label.lower()}{limit}"
