"""What each role may do: the one table. The dashboard shows it, the docs print it, `allow`
obeys it.

A right that reaches devices can be held for the devices of one group alone; all others are about
the whole server, and are held by those whose role is not limited to a group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from django.db.models import TextChoices


class Role(TextChoices):
    """From the least to the most; each is a set of rights, none contains another by nature."""

    VIEWER = "viewer", "Viewer"
    HELPER = "helper", "Helper"
    OPERATOR = "operator", "Operator"
    APPROVER = "approver", "Approver"
    ADMIN = "admin", "Admin"


class Reach(Enum):
    """What a right is about."""

    DEVICES = "devices"
    SERVER = "the server"


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One line of the table. `by_token` is False for what would let a stolen token last."""

    name: str
    words: str
    roles: frozenset[Role]
    reach: Reach
    by_token: bool = True


_V, _H, _O, _A, _X = Role.VIEWER, Role.HELPER, Role.OPERATOR, Role.APPROVER, Role.ADMIN
_EVERYONE = (_V, _H, _O, _A, _X)


def _on_devices(name: str, words: str, *roles: Role, by_token: bool = True) -> Right:
    return Right(
        name=name, words=words, roles=frozenset(roles), reach=Reach.DEVICES, by_token=by_token
    )


def _on_the_server(name: str, words: str, *roles: Role, by_token: bool = True) -> Right:
    return Right(
        name=name, words=words, roles=frozenset(roles), reach=Reach.SERVER, by_token=by_token
    )


TABLE: tuple[Right, ...] = (
    _on_devices("dashboard.open", "Sign in and see this table", *_EVERYONE),
    _on_devices("device.read", "See devices, their enrollments and inventory", *_EVERYONE),
    _on_devices("command.read", "See commands, what was sent and answered", *_EVERYONE),
    _on_the_server(
        "server.read",
        "See groups, ADE profiles, ABM, enrollment and the server's state",
        *_EVERYONE,
    ),
    _on_devices("token.create", "Make API tokens for oneself", *_EVERYONE, by_token=False),
    _on_devices("token.revoke", "Revoke one's own API tokens", *_EVERYONE),
    _on_devices(
        "session.end", "See where one is signed in, and end it", *_EVERYONE, by_token=False
    ),
    _on_devices("command.send", "Send commands that destroy nothing", _H, _O, _X),
    _on_devices("command.cancel", "Cancel commands that were not delivered", _H, _O, _A, _X),
    _on_devices("enrollment.wake", "Wake devices", _H, _O, _X),
    _on_devices("enrollment.configured", "Let a device go on in Setup Assistant", _H, _O, _X),
    _on_devices("command.destroy", "Send commands that lose data or lock people out", _O, _X),
    _on_devices("identity.renew", "Renew the identity of a device", _O, _X),
    _on_devices("enrollment.release", "End the management of a device here", _O, _X),
    _on_devices("device.retire", "Retire devices and bring them back", _O, _X),
    _on_the_server("health.check", "Try again whether mail, TLS, Apple and the like work", _O, _X),
    _on_the_server("abm.sync", "Sync with Apple Business Manager now", _H, _O, _X),
    _on_the_server("abm.assign.pause", "Pause and resume the assignment of profiles", _O, _X),
    _on_the_server("group.edit", "Make, change and delete groups", _O, _X),
    _on_the_server("profile.edit", "Make and change ADE profiles", _O, _X),
    _on_the_server("profile.apply", "Apply a version of an ADE profile", _O, _X),
    _on_the_server("profile.give", "Give ADE profiles to devices, groups and as defaults", _O, _X),
    _on_the_server("profile.compare", "Compare a profile with Apple's copy", _O, _X),
    _on_the_server("link.create", "Make enrollment links and see their addresses", _O, _X),
    _on_the_server("link.revoke", "Close enrollment links", _O, _X),
    _on_the_server("minimum_os.set", "Set the oldest OS that may enroll", _O, _X),
    _on_the_server("quarantine.decide", "Decide who leaves quarantine", _O, _X),
    _on_the_server("destructive.pause", "Pause all destructive commands", _O, _A, _X),
    _on_the_server(
        "destructive.resume", "Let destructive commands go again", _A, _X, by_token=False
    ),
    _on_the_server(
        "approval.decide", "Approve or refuse what others asked for", _A, _X, by_token=False
    ),
    _on_the_server("view.share", "Share views of tables, and end their sharing", _O, _X),
    _on_the_server("audit.read", "Read the audit log", _O, _A, _X),
    _on_the_server("device.delete", "Delete devices with their history", _X),
    _on_the_server("abm.connect", "Connect servers in Apple Business Manager", _X),
    _on_the_server("abm.disown", "Disown devices in Apple Business Manager", _X),
    _on_the_server("apple.trust", "Accept Apple's certificates", _X),
    _on_the_server("push_certificate.install", "Install the push certificate", _X),
    _on_the_server("webhook.manage", "Make, change, test and delete webhooks", _X, by_token=False),
    _on_the_server("health.dismiss", "Take steps off the first-run checklist", _X),
    _on_the_server("backup.note", "Take backups, and say that one was taken", _X),
    _on_the_server("keys.rotate", "Rotate the keys of what is sealed", _X),
    _on_the_server("people.read", "See people and their roles", _X),
    _on_the_server("people.invite", "Invite people", _X, by_token=False),
    _on_the_server("people.grant", "Give people roles", _X, by_token=False),
    _on_the_server("people.revoke", "Take roles from people", _X),
    _on_the_server("people.sign_out", "Sign someone out everywhere", _X),
    _on_the_server("people.deactivate", "End someone's access", _X),
    _on_the_server("people.activate", "Give someone their access back", _X, by_token=False),
    _on_the_server(
        "people.link", "Make a link at which someone chooses a password", _X, by_token=False
    ),
    _on_the_server("people.recover", "Let someone back in who lost everything", _X, by_token=False),
)
BY_NAME: Mapping[str, Right] = {right.name: right for right in TABLE}

# Destructive commands (request types) that a helper can be given beyond the role; the app that has
# them names them when it loads.
ALSO: list[str] = []

# Roles that can be held for the devices of one group alone.
LIMITABLE = (Role.VIEWER, Role.HELPER, Role.OPERATOR)
# An admin for two hours could make itself one for good.
TIMEABLE = (Role.VIEWER, Role.HELPER, Role.OPERATOR, Role.APPROVER)


@dataclass(frozen=True, slots=True)
class Held:
    """A role as someone holds it now: everywhere, or for the devices of one group, and the
    destructive commands (request types) that they may send though the role does not let them.
    """

    role: Role
    group: int | None = None
    also: frozenset[str] = frozenset()

    def has(self, right: Right, request_type: str = "") -> bool:
        if self.group is not None and right.reach is Reach.SERVER:
            return False
        return self.role in right.roles or (
            right.name == "command.destroy" and request_type in self.also
        )


@dataclass(frozen=True, slots=True)
class Where:
    """For which devices a right is held: all, those of some groups (by id), or none."""

    everywhere: bool = False
    groups: frozenset[int] = field(default_factory=frozenset)

    def __bool__(self) -> bool:
        return self.everywhere or bool(self.groups)

    def covers(self, groups: Iterable[int]) -> bool:
        """Whether it is held for a device that is in these groups."""
        return self.everywhere or not self.groups.isdisjoint(groups)


EVERYWHERE = Where(everywhere=True)
NOWHERE = Where()


def where(
    held: Iterable[Held], right: Right, bound: Held | None = None, request_type: str = ""
) -> Where:
    """For which devices a right is held by whoever holds these roles.

    `bound` is what their token is limited to: it has no right that its owner lacks. `request_type`
    names the command where the right is "command.destroy".
    """
    if bound is not None and not (right.by_token and bound.has(right)):
        return NOWHERE
    groups: set[int] = set()
    for each in held:
        if not each.has(right, request_type):
            continue
        both = {each.group, bound.group if bound else None} - {None}
        if not both:
            return EVERYWHERE
        if len(both) == 1:
            groups |= {group for group in both if group is not None}
    return Where(groups=frozenset(groups))


def of(role: Role) -> list[Right]:
    """The rights of a role, in the table's order."""
    return [right for right in TABLE if role in right.roles]
