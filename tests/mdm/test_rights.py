"""The table of rights: what holding a role means, and that the domain asks it everywhere."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from mdm.accounts import people, rights, tokens
from mdm.accounts.models import Grant, User
from mdm.accounts.rights import EVERYWHERE, NOWHERE, TABLE, Held, Reach, Role, Where, where
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed, allow, somewhere
from mdm.models import Device, Group, GroupMember
from mdm.settings import BASE_DIR
from tests.people import someone

LOCK = rights.BY_NAME["command.destroy"]
SEND = rights.BY_NAME["command.send"]
EDIT = rights.BY_NAME["group.edit"]
APPS = ("mdm", "commands", "abm", "profiles", "enrollment")

groups = st.none() | st.integers(1, 4)
holdings = st.builds(Held, st.sampled_from(Role), groups)
lines = st.sampled_from(TABLE)


# --- What the table means -----------------------------------------------------------------------


def test_every_right_is_asked_for_somewhere_and_every_right_asked_for_is_in_the_table() -> None:
    asked: set[str] = set()
    for app in APPS:
        for path in (BASE_DIR / app).rglob("*.py"):
            found = re.findall(r'(?:allow|somewhere)\(\s*actor,\s*"([^"]+)"', path.read_text())
            asked.update(found)

    # These are asked for at the edges alone: nothing is changed by looking.
    looked_at = {"dashboard.open", "device.read", "server.read", "people.read"}
    assert asked == {right.name for right in TABLE} - looked_at


def test_an_admin_may_everything_and_a_viewer_changes_nothing() -> None:
    assert rights.of(Role.ADMIN) == list(TABLE)
    assert {right.name for right in rights.of(Role.VIEWER)} == {
        *("dashboard.open", "device.read", "command.read", "server.read"),
        *("token.create", "token.revoke", "session.end"),
    }


def test_who_asks_for_much_does_not_approve_it() -> None:
    assert LOCK not in rights.of(Role.APPROVER)


@given(st.lists(holdings, max_size=4), lines, st.integers(1, 4))
def test_a_right_holds_for_a_device_where_some_role_gives_it(held, right, group) -> None:
    wanted = any(
        each.role in right.roles
        and (each.group is None or (each.group == group and right.reach is Reach.DEVICES))
        for each in held
    )

    assert where(held, right).covers({group}) == wanted


@given(st.lists(holdings, max_size=4), lines, holdings, st.integers(1, 4))
def test_a_token_has_no_right_that_its_owner_or_its_role_lacks(held, right, bound, group) -> None:
    by_token = where(held, right, bound)

    assert not (by_token.everywhere and not where(held, right).everywhere)
    assert by_token.groups <= where(held, right).groups | {bound.group}
    if by_token.covers({group}):
        assert right.by_token
        assert where(held, right).covers({group})
        assert where([bound], right).covers({group})


def test_a_helper_may_also_send_what_was_given_besides_and_nothing_like_it() -> None:
    held = [Held(Role.HELPER, 7, frozenset({"DeviceLock"}))]

    assert where(held, LOCK, None, "DeviceLock") == Where(groups=frozenset({7}))
    assert where(held, LOCK, None, "EraseDevice") == NOWHERE
    assert where(held, LOCK) == NOWHERE
    # A token of a helper does not inherit it.
    assert where(held, LOCK, Held(Role.HELPER), "DeviceLock") == NOWHERE


def test_a_role_for_a_group_gives_nothing_on_the_server() -> None:
    assert where([Held(Role.OPERATOR, 7)], EDIT) == NOWHERE
    assert where([Held(Role.OPERATOR, 7)], SEND) == Where(groups=frozenset({7}))
    assert where([Held(Role.OPERATOR, 7), Held(Role.HELPER)], SEND) == EVERYWHERE


# --- Whom it asks -------------------------------------------------------------------------------


@pytest.fixture
def group(db: None) -> Group:
    group = Group.objects.create(name="Kiosks", kind="static", rank=1, created_by="a test")
    GroupMember.objects.create(group=group, serial_number="IN")
    return group


def test_a_role_ends_when_its_time_is_over_or_it_is_taken_away(db: None) -> None:
    user = someone(Role.OPERATOR)
    given = user.grants.get()
    assert allow(Actor.person(user), "group.edit") is None

    for ended in (
        {"expires_at": timezone.now() - timedelta(seconds=1)},
        {"expires_at": None, "ended_at": timezone.now()},
    ):
        Grant.objects.filter(pk=given.pk).update(**ended)
        with pytest.raises(NotAllowed, match="has no role here now"):
            allow(Actor.person(user), "group.edit")


def test_a_device_outside_of_the_group_is_refused_with_the_reason(group: Group) -> None:
    actor = Actor.person(someone(Role.OPERATOR, group=group))
    inside = Device.objects.create(serial_number="IN", udid="1")
    outside = Device.objects.create(serial_number="OUT", udid="2")
    unknown = Device.objects.create(serial_number=None, udid="3")

    allow(actor, "device.retire", device=inside)
    for device in (outside, unknown):
        with pytest.raises(NotAllowed, match="for other groups of devices"):
            allow(actor, "device.retire", device=device)


def test_a_right_on_devices_is_asked_for_one_of_them(db: None) -> None:
    with pytest.raises(TypeError):
        allow(Actor.person(someone(Role.ADMIN)), "device.retire")


def test_what_is_missing_is_said(group: Group) -> None:
    def said(user: User, action: str) -> str:
        with pytest.raises(NotAllowed) as refused:
            somewhere(Actor.person(user), action)
        return str(refused.value)

    assert "It takes the role operator or admin; you are viewer." in said(
        someone(Role.VIEWER), "group.edit"
    )
    assert "for all devices; yours holds for a group of them" in said(
        someone(Role.OPERATOR, group=group), "group.edit"
    )
    off = someone(Role.ADMIN)
    off.is_active = False
    assert "is switched off" in said(off, "group.edit")


def test_a_device_and_a_stranger_may_nothing(db: None) -> None:
    for right in TABLE:
        assert not Actor.device("x").where(right.name)
        assert Actor.system("a task").where(right.name) == EVERYWHERE


# --- Giving and taking roles --------------------------------------------------------------------


@pytest.fixture
def admin(db: None) -> User:
    return someone(Role.ADMIN)


def test_nobody_but_an_admin_gives_roles_not_even_to_themselves(admin: User) -> None:
    for role in set(Role) - {Role.ADMIN}:
        user = someone(role)
        for wanted in Role:
            with pytest.raises(NotAllowed):
                people.grant(Actor.person(user), user, role=wanted)
        with pytest.raises(NotAllowed):
            people.invite(Actor.person(user), email="me2@example.com", role=role)
        with pytest.raises(NotAllowed):
            people.access_link(Actor.person(user), admin)
        assert user.grants.count() == 1


def test_a_role_for_two_hours_with_a_command_besides(admin: User, group: Group) -> None:
    user = someone()

    given = people.grant(
        Actor.person(admin),
        user,
        role=Role.HELPER,
        group=group,
        also=["DeviceLock"],
        lasts=timedelta(hours=2),
        reason="exam week",
    )

    assert user.held() == (Held(Role.HELPER, group.pk, frozenset({"DeviceLock"})),)
    assert given.expires_at is not None
    event = AuditEvent.objects.get(action="people.grant")
    assert event.after == {
        "user": "nobody",
        "role": "helper",
        "group": "Kiosks",
        "also": ["DeviceLock"],
        "reason": "exam week",
        "expires_at": given.expires_at.isoformat(),
    }


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"role": Role.ADMIN, "lasts": timedelta(hours=2)}, "lasts"),
        ({"role": Role.VIEWER, "lasts": timedelta(days=400)}, "lasts"),
        ({"role": Role.VIEWER, "lasts": timedelta(0) - timedelta(hours=1)}, "lasts"),
        ({"role": Role.OPERATOR, "also": ["DeviceLock"]}, "also"),
        ({"role": Role.HELPER, "also": ["DeviceInformation"]}, "also"),
        ({"role": Role.VIEWER, "reason": "a\nb"}, "reason"),
        ({"role": Role.VIEWER, "reason": "x" * 201}, "reason"),
    ],
)
def test_a_role_that_cannot_be_given_so_is_refused_by_field(admin: User, asked, field) -> None:
    with pytest.raises(people.BadGrant) as refused:
        people.grant(Actor.person(admin), someone(), **asked)

    assert refused.value.field == field
    assert Grant.objects.count() == 1


def test_an_admin_or_an_approver_is_one_for_all_devices(admin: User, group: Group) -> None:
    for role in (Role.ADMIN, Role.APPROVER):
        with pytest.raises(people.BadGrant, match="is for all devices"):
            people.grant(Actor.person(admin), admin, role=role, group=group)


def test_the_last_admin_who_can_sign_in_stays_one(admin: User) -> None:
    invited = people.invite(Actor.person(admin), email="new@example.com", role=Role.ADMIN)
    people.grant(Actor.person(admin), someone(), role=Role.OPERATOR)

    # The one who was invited has no password yet.
    with pytest.raises(people.LastOne):
        people.end_grant(Actor.person(admin), admin.grants.get())
    with pytest.raises(people.LastOne):
        people.deactivate(Actor.person(admin), admin)

    invited.set_password("a password that is long")
    invited.save()
    people.end_grant(Actor.person(admin), admin.grants.get())
    assert admin.held() == ()
    assert AuditEvent.objects.filter(action="people.revoke").count() == 1


def test_who_holds_nothing_as_an_admin_can_be_switched_off_by_the_only_one(admin: User) -> None:
    user = someone(Role.OPERATOR)

    people.deactivate(Actor.person(admin), user)

    assert not User.objects.get(pk=user.pk).is_active


# --- Tokens -------------------------------------------------------------------------------------


def _token(user: User, role: Role, group: Group | None = None):
    return tokens.create(
        Actor.person(user), user, name="x", role=role, group=group, expires_in=timedelta(days=1)
    )[0]


def test_a_token_is_made_with_no_more_than_its_owner_has(group: Group) -> None:
    helper = someone(Role.HELPER, group=group)

    for role, limit, field in (
        (Role.OPERATOR, group, "role"),
        (Role.APPROVER, None, "role"),
        (Role.HELPER, None, "group"),
    ):
        with pytest.raises(tokens.BadToken) as refused:
            _token(helper, role, limit)
        assert refused.value.field == field

    assert Actor.token(_token(helper, Role.VIEWER, group)).where("device.read") == Where(
        groups=frozenset({group.pk})
    )


def test_a_token_loses_with_its_owner(db: None) -> None:
    user = someone(Role.OPERATOR)
    token = _token(user, Role.OPERATOR)
    assert Actor.token(token).where("group.edit")

    user.grants.update(ended_at=timezone.now())
    Grant.objects.create(user=user, role=Role.VIEWER, given_by="a test")

    assert not Actor.token(token).where("group.edit")
    assert Actor.token(token).where("device.read") == EVERYWHERE


def test_what_is_for_a_group_goes_with_it_and_never_becomes_more(group: Group) -> None:
    user = someone(Role.HELPER, group=group)
    _token(user, Role.HELPER, group)

    group.delete()

    assert user.held() == ()
    assert not user.auth_token_set.exists()


def test_the_docs_hold_the_table(tmp_path: Path) -> None:
    page = (BASE_DIR / "docs" / "roles.md").read_text()

    for right in TABLE:
        cells = ["yes" if role in right.roles else "" for role in Role]
        words = f"{right.words}{'' if right.by_token else ' (not with a token)'}"
        assert f"| {words} | {right.reach.value} | {' | '.join(cells)} |" in page
