"""Two requests at the same moment: the second one waits in Postgres until the first is decided."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from commands import queue
from commands.models import Command, QueueEntry
from mdm import devices, refusals
from mdm.accounts import federation, people
from mdm.accounts.federation import Identity
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.models import Device, Enrollment
from mdm.providers import IdentityProvider, RoleRule
from tests import machines
from tests.machines import Machine
from tests.people import someone
from tests.steps import Meanwhile

pytestmark = pytest.mark.django_db(transaction=True)

ADMIN = Actor.system("test")


@pytest.fixture(autouse=True)
def server(transactional_db):
    machines.install_authority()
    machines.install_push_certificate()
    refusals.tally.__init__()


def ask(machine: Machine, request_type: str) -> QueueEntry:
    made = queue.enqueue(
        ADMIN, request_type=request_type, parameters={}, enrollments=[machine.enrollment.pk]
    )
    return QueueEntry.objects.get(command=made.command)


def test_a_command_that_is_being_cancelled_is_not_handed_out():
    machine = Machine.enrolled()
    entry = ask(machine, "EraseDevice")

    with transaction.atomic():
        queue.cancel(ADMIN, entry.pk)
        idle = Meanwhile(machine.idle)

    assert (idle.returned().status, idle.returned().body) == (200, b"")
    entry.refresh_from_db()
    assert (entry.state, entry.deliveries) == (QueueEntry.State.CANCELLED, 0)


def test_a_wake_up_asked_for_while_a_device_is_told_that_there_is_nothing_is_kept():
    machine = Machine.enrolled()
    long_ago = timezone.now() - timedelta(hours=1)
    Enrollment.objects.update(last_seen_at=long_ago, wake_at=long_ago)

    with transaction.atomic():
        ask(machine, "ProfileList")
        idle = Meanwhile(machine.idle)

    assert idle.returned().body == b""
    assert machine.enrollment.wake_at is not None
    assert machine.idle().command == "ProfileList"


def test_two_identities_that_begin_one_enrollment_at_once_leave_one_bound():
    first = Machine.new()
    second = Machine.new(udid=first.udid, serial_number=first.serial_number)

    with transaction.atomic():
        assert first.authenticate().status == 200
        attempt = Meanwhile(second.authenticate)

    assert attempt.returned().status == 200
    assert first.token_update().status == 403
    assert second.token_update().status == 200
    assert (Enrollment.objects.count(), Device.objects.count()) == (1, 1)


def test_two_that_begin_the_enrollment_of_a_machine_without_a_serial_number_leave_one_bound():
    first = Machine.new(serial_number=None)
    second = Machine.new(udid=first.udid, serial_number=None)

    with transaction.atomic():
        assert first.authenticate().status == 200
        attempt = Meanwhile(second.authenticate)

    assert attempt.returned().status == 200
    assert first.token_update().status == 403
    assert second.token_update().status == 200
    assert (Enrollment.objects.count(), Device.objects.count()) == (1, 1)


def test_a_machine_that_begins_under_two_udids_at_once_ends_under_one():
    first = Machine.new()
    second = Machine.new(serial_number=first.serial_number)

    with transaction.atomic():
        assert first.authenticate().status == 200
        attempt = Meanwhile(second.authenticate)

    assert attempt.returned().status == 200
    assert first.enrollment.state == Enrollment.State.CHECKED_OUT
    assert Device.objects.get().enrollment == second.enrollment


def test_an_identity_not_on_record_that_waits_for_the_honest_device_finds_it_enrolled():
    honest = Machine.new()
    thief = Machine.new(certificate=machines.issue(known=False), serial_number=honest.serial_number)

    with transaction.atomic():
        assert honest.authenticate().status == 200
        assert honest.token_update().status == 200
        attempt = Meanwhile(thief.authenticate)

    assert attempt.returned().status == 403
    assert Device.objects.get().enrollment == honest.enrollment
    assert honest.token_update().status == 200


def test_a_token_update_that_waits_while_its_enrollment_ends_comes_too_late():
    machine = Machine.enrolled()

    with transaction.atomic():
        devices.release(ADMIN, machine.enrollment)
        attempt = Meanwhile(machine.token_update)

    assert attempt.returned().status == 403
    assert machine.enrollment.state == Enrollment.State.RELEASED


def test_one_identity_begins_one_enrollment_however_fast_it_is():
    first = Machine.new()
    second = Machine.new(certificate=first.certificate)

    with transaction.atomic():
        assert first.authenticate().status == 200
        attempt = Meanwhile(second.authenticate)

    assert attempt.returned().status == 403
    assert Enrollment.objects.get() == first.enrollment


def test_an_answer_and_its_repetition_count_once():
    machine = Machine.enrolled()
    entry = ask(machine, "ProfileList")
    machine.idle()

    with transaction.atomic():
        machine.connect("Acknowledged", entry.command_uuid)
        again = Meanwhile(lambda: machine.connect("Error", entry.command_uuid))

    assert again.returned().status == 200
    entry.refresh_from_db()
    assert entry.state == QueueEntry.State.ACKNOWLEDGED
    assert machine.enrollment.replies.count() == 1


def test_a_takeover_that_waits_for_the_honest_device_finds_it_enrolled():
    honest = Machine.new()
    honest.authenticate()
    thief = Machine.new(udid=honest.udid, serial_number=honest.serial_number)

    with transaction.atomic():
        assert honest.token_update().status == 200
        attempt = Meanwhile(thief.authenticate)

    assert attempt.returned().status == 403
    assert honest.idle().status == 200


def test_a_command_that_was_asked_for_just_as_the_enrollment_ended_ends_too():
    machine = Machine.enrolled()
    machine.check_in("CheckOut", Topic=machine.topic)
    # As `enqueue` leaves it when it looked at the enrollment before the CheckOut.
    command = Command.objects.create(request_type="ProfileList", asked_by="test")
    entry = QueueEntry.objects.create(
        enrollment=machine.enrollment, command=command, command_uuid=command.uuid
    )

    assert queue.expire() == 1

    entry.refresh_from_db()
    assert entry.state == QueueEntry.State.CANCELLED


def test_two_first_sign_ins_with_an_identity_provider_make_one_person():
    provider = IdentityProvider(
        id="entra",
        name="Entra",
        url="https://login.example.com",
        client_id="x",
        client_secret="x",
        rules=(RoleRule(claim_group="it", role="admin"),),
    )
    grace = Identity(
        provider=provider, subject="1", groups=frozenset({"it"}), email="grace@example.com"
    )

    with transaction.atomic():
        first = federation.admit(grace)
        second = Meanwhile(lambda: federation.admit(grace))

    assert second.returned() == first
    assert User.objects.get().grants.count() == 1


def test_two_admins_who_lose_their_role_at_once_leave_one():
    ada, grace = someone(Role.ADMIN, name="ada"), someone(Role.ADMIN, name="grace")
    for each in (ada, grace):
        each.set_password("a password that is long")
        each.save()
    refused: list[people.LastOne] = []

    def end(user: User) -> None:
        try:
            people.end_grant(ADMIN, user.grants.get())
        except people.LastOne as last:
            refused.append(last)

    with transaction.atomic():
        end(ada)
        other = Meanwhile(lambda: end(grace))
    other.returned()

    assert len(refused) == 1
    assert [len(each.held()) for each in (ada, grace)] == [0, 1]
