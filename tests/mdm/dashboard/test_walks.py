"""Whole ways through the dashboard in Chromium, on a desk and on a phone: setting a new server up,
locking many devices with a second person's approval, giving a role for two hours, a token that
is made and revoked, and the audit log that tells of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from commands import restraint
from commands.models import Approval, QueueEntry
from mdm.accounts import first_admin
from mdm.accounts.models import ApiToken, User
from mdm.accounts.rights import Role
from mdm.audit import seal
from mdm.audit.models import AuditEvent
from tests.mdm.dashboard.conftest import PASSWORD, Enroll
from tests.mdm.dashboard.test_in_browser import Window, _faults
from tests.people import someone

pytestmark = pytest.mark.django_db(transaction=True)

SIZES = pytest.mark.parametrize("width", [1440, 390], ids=["desk", "phone"])

Open = Callable[..., Page]


@pytest.fixture
def browse(chromium: Browser, live_server: Any) -> Iterator[Open]:
    """Opens a window for someone, signed in where a name is given."""
    opened: list[Window] = []

    def browse(width: int, login: str = "") -> Page:
        window = Window(chromium, live_server.url, viewport={"width": width, "height": 900})
        opened.append(window)
        if login:
            window.sign_in(login)
        return window.page

    yield browse
    # A form that is wrong is answered with a 422 and what is gone with a 404: Chromium says so.
    trouble = [
        line
        for window in opened
        for line in window.trouble
        if "the server responded with a status of 4" not in line
    ]
    for window in opened:
        window.close()
    assert trouble == []


def _person(role: Role) -> User:
    user = someone(role)
    user.set_password(PASSWORD)
    user.save()
    long_ago = timezone.now() - timedelta(days=30)
    user.grants.update(given_at=long_ago)
    User.objects.filter(pk=user.pk).update(trusted_since=long_ago)
    return user


@SIZES
def test_a_new_server_is_set_up(browse: Open, width: int) -> None:
    page = browse(width)
    page.goto("/devices/")
    expect(page.get_by_role("heading", name="Set up this server")).to_be_visible()
    assert _faults(page, "set-up") == []

    page.get_by_label("Set-up token").fill("not it")
    page.get_by_label("Mail address").fill("ada@example.com")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Set up the server").click()
    expect(page.get_by_text("This is not the token")).to_be_visible()
    assert _faults(page, "set-up, wrong") == []

    page.get_by_label("Set-up token").fill(first_admin.token())
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Set up the server").click()

    expect(page.get_by_role("heading", name="First steps")).to_be_visible()
    page.goto("/setup/")
    expect(page.get_by_role("heading", name="Set up this server")).to_have_count(0)


@SIZES
def test_many_are_locked_after_a_preview_and_a_second_persons_approval(
    browse: Open, enroll: Enroll, settings: Any, width: int
) -> None:
    settings.ENV = replace(
        django_settings.ENV,
        destructive_budget=(("helper", 0), ("operator", 2), ("admin", 2)),
        destructive_delay=timedelta(0),
    )
    for number in range(4):
        enroll(f"S{number}")
    enroll("GONE", state="CheckedOut")
    for role in (Role.OPERATOR, Role.APPROVER):
        _person(role)

    asker = browse(width, "operator")
    asker.goto("/devices/")
    for name in ("S0", "S1", "S2", "S3", "GONE"):
        asker.get_by_label(f"Select {name}").check()
    asker.get_by_role("button", name="Send a command").click()
    asker.get_by_role("link", name="DeviceLock").click()
    expect(asker.get_by_text("4 can take it, the others cannot:")).to_be_visible()
    expect(asker.get_by_text("It will wait for a second person's approval")).to_be_visible()
    assert _faults(asker, "preview") == []
    asker.get_by_label("to confirm").fill("5")
    asker.get_by_role("button", name="Send DeviceLock").click()
    expect(asker.get_by_text("It waits for a second person's approval")).to_be_visible()
    expect(asker.get_by_role("button", name="Approve", exact=True)).to_have_count(0)
    assert _faults(asker, "job, kept back") == []
    assert set(QueueEntry.objects.values_list("state", flat=True)) == {"Held"}

    approver = browse(width, "approver")
    approver.get_by_role("link", name="Look at them").click()
    approver.get_by_role("link", name="DeviceLock").click()
    expect(approver.get_by_text("it is for 4 devices, and Operator may")).to_be_visible()
    approver.get_by_role("button", name="Approve", exact=True).click()
    expect(approver.get_by_text("DeviceLock is approved.")).to_be_visible()
    assert Approval.objects.get().decided_by == "Approver"

    assert restraint.release_due() == 4
    approver.reload()
    expect(approver.get_by_text("Queued").first).to_be_visible()


@SIZES
def test_the_switch_is_thrown_and_says_who_did_it(browse: Open, enroll: Enroll, width: int) -> None:
    for role in (Role.OPERATOR, Role.APPROVER):
        _person(role)
    page = browse(width, "operator")
    page.goto("/commands/approvals/")
    page.get_by_role("link", name="Pause destructive commands").click()
    page.get_by_label("Reason, for the others").fill("a stolen laptop")
    page.get_by_role("button", name="Pause them now").click()
    expect(page.get_by_text("Operator paused all destructive commands")).to_be_visible()
    expect(page.get_by_role("link", name="Let them go again")).to_have_count(0)
    assert _faults(page, "paused") == []

    approver = browse(width, "approver")
    expect(approver.get_by_text("a stolen laptop")).to_be_visible()
    approver.goto("/commands/approvals/")
    approver.get_by_role("link", name="Let them go again").click()
    approver.get_by_role("button", name="Let them go").click()
    expect(approver.get_by_text("Destructive commands go out again.")).to_be_visible()
    assert restraint.active_pause() is None


@SIZES
def test_a_helper_may_lock_for_two_hours(browse: Open, admin: User, width: int) -> None:
    ben = someone(name="ben")
    page = browse(width, "ada")
    page.goto("/settings/people/")
    page.get_by_role("link", name="Ben").click()
    page.get_by_label("Helper", exact=False).first.check()
    page.get_by_label("How long").select_option("for 2 hours")
    page.get_by_label("DeviceLock").check()
    page.get_by_label("Reason").fill("exam week")
    page.get_by_role("button", name="Give the role").click()

    expect(page.get_by_text("Ben is Helper now.")).to_be_visible()
    (held,) = ben.held()
    assert (held.role, held.also) == (Role.HELPER, frozenset({"DeviceLock"}))
    page.get_by_role("button", name="Take away Helper").click()
    expect(page.get_by_text("Earlier roles")).to_be_visible()
    assert ben.held() == ()


@SIZES
def test_a_token_is_made_for_one_role_and_revoked(browse: Open, admin: User, width: int) -> None:
    page = browse(width, "ada")
    page.goto("/settings/tokens/")
    page.get_by_role("link", name="Make a token").first.click()
    page.get_by_label("Name").fill("backup")
    page.get_by_label("Role").select_option("Viewer")
    page.get_by_role("button", name="Make the token").click()
    assert page.get_by_label("Token", exact=True).input_value().startswith("guard_")
    assert ApiToken.objects.get().role == "viewer"
    page.get_by_role("link", name="I have it").click()
    page.get_by_role("button", name="Revoke backup").click()
    expect(page.get_by_text("backup no longer works.")).to_be_visible()

    # And what happened is told, each event by itself, from when it was sealed with its number.
    page.goto("/settings/audit/")
    page.get_by_role("link", name="token.revoke").click()
    expect(page.get_by_text("Not sealed yet")).to_be_visible()
    seal.seal()
    page.reload()
    number = AuditEvent.objects.get(action="token.revoke").sealed_as
    expect(page.get_by_text(f"Sealed as number {number}")).to_be_visible()
    assert _faults(page, "event") == []
    page.get_by_role("link", name="All of theirs").click()
    expect(page.get_by_role("link", name="token.create")).to_be_visible()
