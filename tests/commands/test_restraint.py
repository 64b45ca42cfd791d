"""What keeps destructive commands back: the budget, the second person, the delay and the switch.
Devices are asked at the real endpoint, so that "kept back" means that they do not get it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from smtplib import SMTPRecipientsRefused

import pytest
from django.conf import settings as django_settings
from django.core.mail import send_mail
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from commands import approvers, catalog, queue, restraint
from commands.models import Approval, Command, Pause, QueueEntry
from enrollment import removal
from mdm.accounts import people, tokens
from mdm.accounts.models import ApiToken, User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed
from mdm.models import Device, Enrollment, Group, GroupMember
from mdm.webhooks.models import Event
from tests.machines import Machine, install_authority, install_push_certificate
from tests.people import signed_in, someone
from tests.steps import Meanwhile

State = QueueEntry.State
ROBOT = Actor.system("a script")


pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _server(db: None) -> None:
    install_authority()
    install_push_certificate()


@pytest.fixture
def limits(settings) -> Callable[..., None]:
    """Sets the numbers that the environment would."""

    def limit(delay: int = 300, **budget: int) -> None:
        numbers = {**dict(django_settings.ENV.destructive_budget), **budget}
        settings.ENV = replace(
            django_settings.ENV,
            destructive_budget=tuple(numbers.items()),
            destructive_delay=timedelta(seconds=delay),
        )

    return limit


def trusted(*roles: Role, name: str = "", **more) -> User:
    """Someone who has had these roles for long."""
    user = someone(*roles, name=name, **more)
    long_ago = timezone.now() - timedelta(days=30)
    user.grants.update(given_at=long_ago)
    User.objects.filter(pk=user.pk).update(trusted_since=long_ago)
    return User.objects.get(pk=user.pk)


def rows(count: int) -> list[int]:
    """Enrolled devices that nobody hears of, as ids of their enrollments."""
    made = []
    for number in range(count):
        device = Device.objects.create(serial_number=f"ROW{number}", udid=f"row-{number}")
        made.append(
            Enrollment.objects.create(
                key=f"row-{number}",
                device=device,
                kind="device",
                channel="device",
                device_identifier=f"row-{number}",
                state="Enrolled",
            ).pk
        )
    return made


def lock(actor: Actor, *enrollments: int, request_type: str = "DeviceLock") -> queue.Enqueued:
    return queue.enqueue(
        actor, request_type=request_type, parameters={}, enrollments=list(enrollments)
    )


def states(command: Command) -> dict[str, int]:
    return dict(Counter(command.entries.values_list("state", flat=True)))


def later(**time: int) -> None:
    """Move the clock, as far as what waits can see."""
    by = timedelta(**time)
    for command in Command.objects.all():
        Command.objects.filter(pk=command.pk).update(
            created_at=command.created_at - by,
            starts_at=command.starts_at and command.starts_at - by,
        )
    for approval in Approval.objects.all():
        Approval.objects.filter(pk=approval.pk).update(expires_at=approval.expires_at - by)


# --- Classes ------------------------------------------------------------------------------------


def test_every_command_has_a_class() -> None:
    classes = {each.request_type: each.effect.value for each in catalog.all_types()}

    assert {name for name, effect in classes.items() if effect == "destructive"} == {
        *("DeviceLock", "EraseDevice", "Raw"),
    }
    assert {name for name, effect in classes.items() if effect == "reads"} == {
        *("CertificateList", "DeviceInformation", "InstalledApplicationList", "ProfileList"),
        "SecurityInfo",
    }


def test_ending_the_management_is_destructive_however_it_is_asked_for(limits) -> None:
    limits(operator=0)
    machine = Machine.enrolled()
    helper, operator = (Actor.person(trusted(role)) for role in (Role.HELPER, Role.OPERATOR))
    enrollment = Enrollment.objects.get(key=machine.udid.lower())
    asked = {"Identifier": removal.PROFILE_IDENTIFIER}
    pasted = (
        "<plist><dict><key>RequestType</key><string>RemoveProfile</string>"
        f"<key>Identifier</key><string>{removal.PROFILE_IDENTIFIER}</string></dict></plist>"
    )

    for request_type, parameters in (("RemoveProfile", asked), ("Raw", {"Plist": pasted})):
        with pytest.raises(NotAllowed):
            queue.enqueue(
                helper,
                request_type=request_type,
                parameters=parameters,
                enrollments=[enrollment.pk],
            )
    assert removal.ask(operator, enrollment).held
    assert machine.idle().body == b""


# --- The budget and the second person -----------------------------------------------------------


def test_within_the_budget_one_device_gets_it_at_once(limits) -> None:
    limits(operator=1)
    machine = Machine.enrolled()
    enrollment = Enrollment.objects.get(key=machine.udid.lower())

    sent = lock(Actor.person(trusted(Role.OPERATOR)), enrollment.pk)

    assert not sent.held
    assert machine.idle().command == "DeviceLock"


def test_beyond_it_nobody_gets_it_until_a_second_person_approves(limits) -> None:
    limits(operator=1, delay=0)
    machine = Machine.enrolled()
    enrollment = Enrollment.objects.get(key=machine.udid.lower())
    asker = Actor.person(trusted(Role.OPERATOR))
    lock(asker, *rows(1))

    sent = lock(asker, enrollment.pk)
    restraint.release_due()

    assert sent.held
    assert machine.idle().body == b""
    approval = Approval.objects.get()
    assert approval.because == (
        "it is for 1 device, and Operator may send destructive commands to 1 an hour alone"
        " (1 used)."
    )
    assert Event.objects.filter(kind="approval.wanted", subject=str(sent.command.uuid)).exists()

    restraint.approve(Actor.person(trusted(Role.APPROVER)), approval.pk)
    assert restraint.release_due() == 1

    assert machine.idle().command == "DeviceLock"
    enrollment.refresh_from_db()
    assert enrollment.wake_at is not None
    event = AuditEvent.objects.get(action="approval.decide")
    assert (event.actor_name, event.after["decision"]) == ("Approver", "approved")


def test_who_may_decide_is_written_to_once(limits, mailoutbox, settings) -> None:
    limits(admin=0)
    asker, _ = trusted(Role.ADMIN, name="asker"), trusted(Role.APPROVER)
    someone(Role.OPERATOR)
    User.objects.filter(pk=someone(Role.ADMIN, name="gone").pk).update(is_active=False)
    someone(Role.ADMIN)
    sent = lock(Actor.person(asker), *rows(1))

    backend = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_PORT = 9
    assert approvers.tell() == 0
    settings.EMAIL_BACKEND = backend
    assert [approvers.tell(), approvers.tell()] == [1, 0]

    assert [mail.to for mail in mailoutbox] == [["approver@example.com"], ["admin@example.com"]]
    assert mailoutbox[0].subject == "[GuardMDM] Asker wants DeviceLock for 1 device"
    assert f"/commands/{sent.command.uuid}/" in mailoutbox[0].body
    assert "may send destructive commands to 0 an hour" in mailoutbox[0].body


def test_an_address_that_is_refused_keeps_no_other_from_being_written_to(
    limits, mailoutbox, monkeypatch
) -> None:
    limits(admin=0)
    asker = trusted(Role.ADMIN, name="asker")
    for name in ("gone", "there"):
        someone(Role.APPROVER, name=name)

    def send(subject, words, sender, to):
        if to == ["gone@example.com"]:
            raise SMTPRecipientsRefused({})
        send_mail(subject, words, sender, to)

    monkeypatch.setattr(approvers, "send_mail", send)
    for enrollment in rows(2):
        lock(Actor.person(asker), enrollment)

    assert [approvers.tell(), approvers.tell()] == [2, 0]
    assert [mail.to for mail in mailoutbox] == [["there@example.com"]] * 2


def test_the_budget_counts_devices_of_a_person_in_the_last_hour(limits) -> None:
    limits(operator=3, admin=3, delay=0)
    ids = rows(4)
    one, other = trusted(Role.OPERATOR, name="one"), trusted(Role.OPERATOR, name="other")
    token, _ = tokens.create(
        Actor.person(one), one, name="x", role=Role.OPERATOR, expires_in=timedelta(days=1)
    )

    assert not Approval.objects.filter(command=lock(Actor.person(one), *ids[:2]).command)
    # A token spends its owner's; another person has their own.
    assert Approval.objects.filter(command=lock(Actor.token(token), *ids[:2]).command)
    assert not Approval.objects.filter(command=lock(Actor.person(other), *ids[:3]).command)
    # What waits for approval does not use it up.
    assert restraint.spent(Actor.person(one)) == 2
    assert not Approval.objects.filter(command=lock(Actor.person(one), ids[0]).command)
    assert Approval.objects.filter(command=lock(Actor.person(one), ids[0]).command)
    later(minutes=61)
    assert restraint.spent(Actor.person(one)) == 0


def test_scripts_and_tasks_obey_too(limits) -> None:
    limits(admin=2, delay=0)

    assert Approval.objects.filter(command=lock(ROBOT, *rows(3)).command)


def test_a_helper_has_the_budget_of_helpers(limits) -> None:
    limits(helper=1, operator=100, delay=0)
    group = Group.objects.create(name="Kiosks", kind="static", rank=1, created_by="a test")
    ids = rows(2)
    for serial_number in ("ROW0", "ROW1"):
        GroupMember.objects.create(group=group, serial_number=serial_number)
    helper = Actor.person(trusted(Role.HELPER, group=group, also=["DeviceLock"]))

    assert Approval.objects.filter(command=lock(helper, *ids).command)
    assert restraint.budget(helper, "EraseDevice") == 0


@pytest.mark.django_db(transaction=True)
def test_two_at_once_do_not_spend_the_same_budget_twice(limits) -> None:
    limits(operator=1, delay=0)
    ids = rows(2)
    asker = Actor.person(trusted(Role.OPERATOR))

    with transaction.atomic():
        first = lock(asker, ids[0])
        second = Meanwhile(lambda: lock(asker, ids[1]))

    assert not Approval.objects.filter(command=first.command).exists()
    assert Approval.objects.filter(command=second.returned().command).exists()


def test_who_asked_does_not_approve_nor_does_a_token_or_a_script(limits) -> None:
    limits(admin=0)
    asker = trusted(Role.ADMIN, Role.APPROVER, name="asker")
    command = lock(Actor.person(asker), *rows(2)).command
    approval = Approval.objects.get(command=command)
    approver = trusted(Role.APPROVER)
    token, _ = tokens.create(
        Actor.person(approver), approver, name="x", role=Role.APPROVER, expires_in=timedelta(days=1)
    )

    for actor in (
        Actor.person(asker),
        Actor.token(token),
        ROBOT,
        Actor.person(trusted(Role.OPERATOR)),
        Actor.person(trusted(Role.VIEWER)),
    ):
        for decide in (restraint.approve, restraint.refuse):
            with pytest.raises(NotAllowed):
                decide(actor, approval.pk)
    approval.refresh_from_db()
    assert approval.state == Approval.State.WAITING


def test_an_account_that_was_made_or_taken_over_for_it_approves_nothing(limits) -> None:
    limits(admin=0)
    thief = Actor.person(trusted(Role.ADMIN, name="thief"))
    approval = Approval.objects.get(command=lock(thief, *rows(2)).command)
    made = people.invite(thief, email="second@example.com", role=Role.ADMIN)
    taken = trusted(Role.ADMIN, name="taken")
    people.access_link(thief, taken)
    raised = trusted(Role.OPERATOR, name="raised")
    people.grant(thief, raised, role=Role.APPROVER)
    woken = trusted(Role.APPROVER, name="woken")
    people.deactivate(thief, woken)
    people.activate(thief, woken)

    for user in (made, taken, raised, woken):
        actor = Actor.person(User.objects.get(pk=user.pk))
        with pytest.raises(NotAllowed, match="just now waits a day"):
            restraint.approve(actor, approval.pk)

    User.objects.filter(pk=taken.pk).update(trusted_since=timezone.now() - timedelta(hours=25))
    restraint.approve(Actor.person(User.objects.get(pk=taken.pk)), approval.pk)


def test_a_refusal_ends_it_for_all_and_is_said(limits) -> None:
    limits(operator=0)
    command = lock(Actor.person(trusted(Role.OPERATOR)), *rows(2)).command
    approver = Actor.person(trusted(Role.APPROVER))

    done = restraint.refuse(approver, command.approval.pk, "wrong group")

    assert (done.state, done.note) == ("refused", "wrong group")
    assert states(command) == {"Cancelled": 2}
    assert command.entries.first().ended_because == "refused by Approver"
    with pytest.raises(restraint.AlreadyDecided):
        restraint.approve(approver, done.pk)
    assert restraint.release_due() == 0


def test_what_nobody_approves_in_a_day_is_not_sent(limits) -> None:
    limits(operator=0)
    command = lock(Actor.person(trusted(Role.OPERATOR)), *rows(2)).command
    later(hours=25)

    with pytest.raises(restraint.AlreadyDecided, match="in a day"):
        restraint.approve(Actor.person(trusted(Role.APPROVER)), command.approval.pk)
    assert restraint.release_due() == 0

    command.approval.refresh_from_db()
    assert command.approval.state == "expired"
    assert states(command) == {"Cancelled": 2}


def test_who_asked_may_take_it_back_and_then_there_is_nothing_to_approve(limits) -> None:
    limits(operator=0)
    asker = Actor.person(trusted(Role.OPERATOR))
    command = lock(asker, *rows(2)).command

    assert queue.cancel_rest(asker, command) == 2

    command.approval.refresh_from_db()
    assert command.approval.state == "withdrawn"
    with pytest.raises(restraint.AlreadyDecided):
        restraint.approve(Actor.person(trusted(Role.APPROVER)), command.approval.pk)


def test_the_last_one_that_is_cancelled_takes_the_approval_with_it(limits) -> None:
    limits(operator=0)
    asker = Actor.person(trusted(Role.OPERATOR))
    command = lock(asker, *rows(2)).command
    first, second = command.entries.all()

    queue.cancel(asker, first.pk)
    command.approval.refresh_from_db()
    assert command.approval.state == "waiting"
    queue.cancel(asker, second.pk)
    command.approval.refresh_from_db()
    assert command.approval.state == "withdrawn"


@pytest.mark.parametrize("loss", ["switched off", "role taken", "role for others", "gone"])
def test_what_someone_asked_for_ends_when_they_lose_their_access(limits, loss: str) -> None:
    limits(operator=5, delay=300)
    user = trusted(Role.OPERATOR)
    command = lock(Actor.person(user), *rows(2)).command
    if loss == "switched off":
        User.objects.filter(pk=user.pk).update(is_active=False)
    elif loss == "role taken":
        user.grants.update(ended_at=timezone.now())
    elif loss == "role for others":
        user.grants.update(role=Role.HELPER, also=["EraseDevice"])
    else:
        user.delete()
    later(minutes=6)

    assert restraint.release_due() == 0

    assert states(command) == {"Cancelled": 2}
    assert command.entries.first().ended_because == "Operator lost access before it began"


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        ("revoked", "the API token that asked for it was revoked before it began"),
        ("expired", "the API token that asked for it expired before it began"),
        ("owner's role taken", "x (Operator) lost access before it began"),
        ("another token revoked", ""),
    ],
)
def test_what_a_token_asked_for_ends_when_the_token_does(
    limits, settings, loss: str, why: str
) -> None:
    limits(operator=5, delay=300)
    storage = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": storage}}
    user = trusted(Role.OPERATOR)
    token, other = (
        tokens.create(
            Actor.person(user), user, name=name, role=Role.OPERATOR, expires_in=timedelta(days=1)
        )[0]
        for name in "xy"
    )
    command = lock(Actor.token(token), *rows(2)).command
    if loss == "expired":
        ApiToken.objects.filter(pk=token.pk).update(expiry=timezone.now())
    elif loss == "owner's role taken":
        user.grants.update(ended_at=timezone.now())
    else:
        tokens.revoke(Actor.person(user), token if loss == "revoked" else other)
    later(minutes=6)

    restraint.release_due()

    assert states(command) == ({"Cancelled": 2} if why else {"Queued": 2})
    assert command.entries.first().ended_because == why
    if why:
        page = signed_in(trusted(Role.VIEWER)).get(f"/commands/{command.uuid}/").text
        assert why in page


def test_what_someone_does_not_reach_any_more_when_it_begins_is_left_out(limits) -> None:
    limits(operator=5, delay=300)
    group = Group.objects.create(name="Kiosks", kind="static", rank=1, created_by="a test")
    ids = rows(2)
    for serial_number in ("ROW0", "ROW1"):
        GroupMember.objects.create(group=group, serial_number=serial_number)
    command = lock(Actor.person(trusted(Role.OPERATOR, group=group)), *ids).command

    group.members.filter(serial_number="ROW1").delete()
    later(minutes=6)

    assert restraint.release_due() == 1
    assert dict(command.entries.values_list("enrollment_id", "state")) == {
        ids[0]: "Queued",
        ids[1]: "Cancelled",
    }


def test_what_waits_costs_nothing_until_it_is_due(limits) -> None:
    limits(operator=50, delay=300)
    asker = Actor.person(trusted(Role.OPERATOR))
    ids = rows(6)
    costs = []
    for each in (ids[:1], ids[1:4], ids[4:]):
        for pk in each:
            lock(asker, pk)
        restraint.pause(ROBOT)
        with CaptureQueriesContext(connection) as seen:
            assert restraint.release_due() == 0
        costs.append(len(seen))

    assert len(set(costs)) == 1


# --- The delay ----------------------------------------------------------------------------------


def test_what_is_for_more_than_one_starts_after_the_delay(limits) -> None:
    limits(delay=300)
    machine = Machine.enrolled()
    enrollment = Enrollment.objects.get(key=machine.udid.lower())
    asker = Actor.person(trusted(Role.OPERATOR))

    command = lock(asker, enrollment.pk, *rows(1)).command
    assert restraint.release_due() == 0
    assert machine.idle().body == b""
    assert states(command) == {"Held": 2}

    later(seconds=301)
    assert restraint.release_due() == 2
    assert machine.idle().command == "DeviceLock"
    command.refresh_from_db()
    assert not command.held


def test_an_approval_begins_the_delay(limits) -> None:
    limits(operator=0, delay=300)
    command = lock(Actor.person(trusted(Role.OPERATOR)), *rows(2)).command
    later(minutes=30)

    restraint.approve(Actor.person(trusted(Role.APPROVER)), command.approval.pk)

    assert restraint.release_due() == 0
    later(seconds=301)
    assert restraint.release_due() == 2


def test_what_is_kept_back_does_not_use_up_its_time(limits) -> None:
    limits(delay=300)
    command = queue.enqueue(
        Actor.person(trusted(Role.OPERATOR)),
        request_type="DeviceLock",
        parameters={},
        enrollments=rows(2),
        expires_in=timedelta(seconds=60),
    ).command
    begun = command.entries.first()
    later(minutes=6)
    QueueEntry.objects.update(
        created_at=begun.created_at - timedelta(minutes=6),
        expires_at=begun.expires_at - timedelta(minutes=6),
    )

    assert queue.expire() == 0
    assert restraint.release_due() == 2
    assert queue.expire() == 0
    entry = command.entries.first()
    assert timedelta(seconds=50) < entry.expires_at - timezone.now() <= timedelta(seconds=60)


def test_without_a_delay_it_starts_at_once(limits) -> None:
    limits(delay=0)

    command = lock(Actor.person(trusted(Role.OPERATOR)), *rows(2)).command

    assert states(command) == {"Queued": 2}


def test_it_can_be_cancelled_meanwhile(limits) -> None:
    limits(delay=300)
    asker = Actor.person(trusted(Role.OPERATOR))
    command = lock(asker, *rows(3)).command

    assert queue.cancel_rest(asker, command) == 3

    later(minutes=6)
    assert restraint.release_due() == 0
    assert states(command) == {"Cancelled": 3}


def test_the_list_is_frozen_and_a_device_that_enrolls_anew_is_not_hit(limits) -> None:
    limits(delay=300)
    machine = Machine.enrolled()
    enrollment = Enrollment.objects.get(key=machine.udid.lower())
    command = lock(Actor.person(trusted(Role.OPERATOR)), enrollment.pk, *rows(1)).command

    machine.authenticate()
    machine.token_update()
    later(minutes=6)

    assert restraint.release_due() == 1
    assert states(command) == {"Cancelled": 1, "Queued": 1}
    assert b"DeviceLock" not in machine.idle().body


# --- The switch ---------------------------------------------------------------------------------


def test_the_switch_holds_what_no_device_has_and_all_to_come(limits) -> None:
    limits(operator=50, delay=0)
    machines = [Machine.enrolled() for _ in range(3)]
    ids = [Enrollment.objects.get(key=each.udid.lower()).pk for each in machines]
    asker = Actor.person(trusted(Role.OPERATOR, name="asker"))
    for pk in ids[:2]:
        lock(asker, pk)
    assert machines[0].idle().command == "DeviceLock"

    pause = restraint.pause(Actor.person(trusted(Role.OPERATOR, name="Finder")), "stolen laptop")
    third = lock(asker, ids[2])
    queue.enqueue(asker, request_type="SecurityInfo", parameters={}, enrollments=[ids[1]])
    restraint.release_due()

    assert third.held
    assert "Finder paused" in restraint.why_held(third.command, None, pause)
    # What reads goes out as ever.
    assert machines[1].idle().command == "SecurityInfo"
    assert machines[2].idle().body == b""
    assert QueueEntry.objects.filter(state=State.HELD).count() == 2
    assert AuditEvent.objects.get(action="destructive.pause").after["reason"] == "stolen laptop"
    # A second one finds it done.
    assert restraint.pause(ROBOT) == pause

    restraint.resume(Actor.person(trusted(Role.APPROVER)))
    assert restraint.release_due() == 2
    assert machines[2].idle().command == "DeviceLock"
    assert Pause.objects.get().ended_by == "Approver"
    with pytest.raises(restraint.NotPaused):
        restraint.resume(ROBOT)


def test_what_was_put_off_is_held_too(limits) -> None:
    limits(delay=0)
    machine = Machine.enrolled()
    enrollment = Enrollment.objects.get(key=machine.udid.lower())
    command = lock(Actor.person(trusted(Role.ADMIN)), enrollment.pk).command
    machine.idle()
    QueueEntry.objects.filter(command=command).update(state=State.NOT_NOW)

    restraint.pause(ROBOT)

    assert machine.idle().body == b""
    assert states(command) == {"Held": 1}


def test_what_a_device_puts_off_after_the_switch_was_thrown_is_not_offered_again(limits) -> None:
    limits(delay=0)
    machine = Machine.enrolled()
    enrollment = Enrollment.objects.get(key=machine.udid.lower())
    command = lock(Actor.person(trusted(Role.ADMIN)), enrollment.pk).command
    sent = machine.idle()
    restraint.pause(ROBOT)

    machine.connect("NotNow", sent.plist["CommandUUID"])
    restraint.release_due()

    assert machine.idle().body == b""
    restraint.resume(ROBOT)
    restraint.release_due()
    assert machine.idle().command == "DeviceLock"
    assert states(command) == {"Sent": 1}


@pytest.mark.parametrize(
    ("role", "pauses", "resumes"),
    [
        (Role.VIEWER, False, False),
        (Role.HELPER, False, False),
        (Role.OPERATOR, True, False),
        (Role.APPROVER, True, True),
        (Role.ADMIN, True, True),
    ],
)
def test_who_may_pause_and_who_may_let_go(role: Role, pauses: bool, resumes: bool) -> None:
    actor = Actor.person(someone(role))

    def may(act: Callable[[Actor], object]) -> bool:
        try:
            act(actor)
        except NotAllowed:
            return False
        return True

    assert may(restraint.pause) == pauses
    restraint.pause(ROBOT)
    assert may(restraint.resume) == resumes


def test_an_approval_under_the_switch_waits_for_it(limits) -> None:
    limits(operator=0, delay=0)
    command = lock(Actor.person(trusted(Role.OPERATOR)), *rows(2)).command
    restraint.pause(ROBOT)

    restraint.approve(Actor.person(trusted(Role.APPROVER)), command.approval.pk)
    later(seconds=1)

    assert restraint.release_due() == 0
    restraint.resume(ROBOT)
    assert restraint.release_due() == 2


@pytest.mark.django_db(transaction=True)
def test_what_is_being_asked_for_when_the_switch_falls_is_held(limits) -> None:
    limits(operator=50, delay=0)
    ids = rows(1)
    asker = Actor.person(trusted(Role.OPERATOR))

    with transaction.atomic():
        lock(asker, ids[0])
        paused = Meanwhile(lambda: restraint.pause(ROBOT))

    assert paused.returned()
    assert list(QueueEntry.objects.values_list("state", flat=True)) == ["Held"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", ["cancel", "cancel one", "refuse", "approve"])
def test_who_acts_as_the_switch_is_thrown_waits_for_it_and_nobody_for_ever(limits, act) -> None:
    limits(operator=0, delay=0)
    asker = Actor.person(trusted(Role.OPERATOR))
    approver = Actor.person(trusted(Role.APPROVER))
    command = lock(asker, *rows(2)).command
    entry = command.entries.earliest("pk")
    acts = {
        "cancel": lambda: queue.cancel_rest(asker, command),
        "cancel one": lambda: queue.cancel(asker, entry.pk),
        "refuse": lambda: restraint.refuse(approver, command.approval.pk),
        "approve": lambda: restraint.approve(approver, command.approval.pk),
    }

    with transaction.atomic():
        restraint.pause(ROBOT)
        waiting = Meanwhile(acts[act])
        assert waiting.waits

    waiting.returned()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("second", ["cancel", "refuse"])
def test_who_cancels_and_who_decides_wait_for_each_other_in_one_order(limits, second) -> None:
    limits(operator=0, delay=0)
    asker = Actor.person(trusted(Role.OPERATOR))
    approver = Actor.person(trusted(Role.APPROVER))
    command = lock(asker, *rows(2)).command
    approval = command.approval

    def decide() -> str:
        try:
            return restraint.refuse(approver, approval.pk).state
        except restraint.AlreadyDecided:
            return "too late"

    with transaction.atomic():
        if second == "refuse":
            queue.cancel_rest(asker, command)
            other = Meanwhile(decide)
        else:
            decide()
            other = Meanwhile(lambda: queue.cancel_rest(asker, command))
        assert other.waits

    assert other.returned() in ("too late", 0)
    assert states(command) == {"Cancelled": 2}


@pytest.mark.django_db(transaction=True)
def test_what_is_asked_for_while_the_switch_falls_is_held(limits) -> None:
    limits(operator=50, delay=0)
    ids = rows(1)
    asker = Actor.person(trusted(Role.OPERATOR))

    with transaction.atomic():
        restraint.pause(ROBOT)
        sent = Meanwhile(lambda: lock(asker, ids[0]))

    assert sent.returned().held


# --- Cost ---------------------------------------------------------------------------------------


def test_many_are_let_go_and_paused_in_as_many_statements_as_few(limits) -> None:
    limits(admin=10_000, delay=300)
    admin = Actor.person(trusted(Role.ADMIN))
    costs = []
    for count in (2, 200):
        Device.objects.all().delete()
        lock(admin, *rows(count))
        later(minutes=6)
        with CaptureQueriesContext(connection) as seen:
            assert restraint.release_due() == count
            restraint.pause(ROBOT)
            restraint.resume(ROBOT)
            assert restraint.release_due() == count
        costs.append(len(seen))

    assert costs[0] == costs[1]
