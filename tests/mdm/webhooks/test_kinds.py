"""Every event that the code emits is in the table, and is as the table says."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from commands import consequences, queue
from commands.models import Reply
from mdm import devices, quarantine
from mdm.models import PushCertificate, Quarantine
from mdm.settings import BASE_DIR
from mdm.webhooks import kinds, outbox, reminders
from mdm.webhooks.models import Event
from tests import machines
from tests.machines import Machine
from tests.mdm.webhooks.conftest import ACTOR, Subscribe

APPS = ("mdm", "commands", "abm", "profiles", "enrollment")
# `emit` holds these to the table in every test that has them written; SQL writes the others.
BY_SQL = {"enrollment.completed", "enrollment.ended", "quarantine.opened"}


@pytest.fixture
def server(db: None) -> None:
    machines.install_authority()
    machines.install_push_certificate()


def test_what_the_code_emits_is_what_the_table_has() -> None:
    emitted: set[str] = set()
    for app in APPS:
        for path in (BASE_DIR / app).rglob("*.py"):
            text = path.read_text()
            names = "|".join(re.escape(kind.name) for kind in kinds.every())
            if "emit" in text or "webhooks_event" in text:
                if path.name == "events.py" and path.parent.name != "commands":
                    continue
                emitted |= set(re.findall(rf"[\"']({names})[\"']", text))
    assert emitted | {kinds.TEST.name} == {kind.name for kind in kinds.every()}


def test_an_event_that_is_not_as_the_table_says_is_a_mistake_of_ours(db: None) -> None:
    for kind, data in (
        ("destructive.resumed", {}),
        ("destructive.resumed", {"by": "Ada", "more": 1}),
        ("destructive.resumed", {"by": None}),
        ("expiry.near", {"expires_at": "soon", "days": 1, "stops": "", "url": ""}),
    ):
        with pytest.raises(ValueError, match=kind):
            outbox.emit(kind, "1", data)
    with pytest.raises(KeyError):
        outbox.emit("device.sneezed", "1", {})


def test_each_example_is_an_event_of_its_kind() -> None:
    for kind in kinds.every():
        assert kind.fault(kind.example()["data"]) == "", kind.name
        assert all(field.words or field.name in _PLAIN for field in kind.fields), kind.name


_PLAIN = {"udid", "name", "topic"}


def check(kind: str, count: int = 1) -> list[dict]:
    found = list(Event.objects.filter(kind=kind).order_by("pk"))
    assert len(found) == count
    assert [kinds.find(kind).fault(each.data) for each in found] == [""] * count
    assert {each.version for each in found} == {kinds.find(kind).version}
    return [{"subject": each.subject, **each.data} for each in found]


def test_check_in_tells_whose_enrollment_began_and_ended(server: None) -> None:
    machine = Machine.enrolled()
    user = {"UserID": str(uuid.uuid4()), "UserShortName": "ada"}
    machine.token_update(**user)
    machine.token_update()

    device, person = check("enrollment.completed", 2)
    assert device == {
        "subject": machine.enrollment.key,
        "enrollment": machine.enrollment.pk,
        "channel": "device",
        "device": machine.enrollment.device_id,
        "serial_number": machine.serial_number,
    }
    assert (person["channel"], person["device"]) == ("user", device["device"])

    devices.release(ACTOR, machine.enrollment)

    assert {(each["state"], each["channel"]) for each in check("enrollment.ended", 2)} == {
        ("Released", "device"),
        ("Released", "user"),
    }


def test_a_case_in_quarantine_is_told_of_once_until_it_opens_anew(server: None) -> None:
    machine = Machine.enrolled()
    again = Machine.new(udid=machine.udid, serial_number=machine.serial_number)
    again.authenticate()
    again.authenticate()

    (opened,) = check("quarantine.opened")
    case = Quarantine.objects.get()
    assert opened["subject"] == str(case.pk)
    assert opened["serial_number"] == machine.serial_number

    quarantine.accept(ACTOR, case.pk)

    (decided,) = check("quarantine.decided")
    assert (decided["decision"], decided["by"]) == ("Accepted", "test")
    Quarantine.objects.update(state="Used")
    again.authenticate()
    assert Event.objects.filter(kind="quarantine.opened").count() == 2


def test_what_ends_is_told_of_once_at_each_mark_and_anew_when_it_was_renewed(server: None) -> None:
    now = timezone.now()
    PushCertificate.objects.update(not_after=now + timedelta(days=29, hours=1))

    def told(after: float) -> list[int]:
        count = reminders.tell(now + timedelta(days=after))
        found = Event.objects.filter(kind="expiry.near").order_by("-pk")[:count]
        return [each.data["days"] for each in found]

    marks = [told(after) for after in (-2, 0, 1, 16, 20, 27, 28.5, 28.6, 30)]
    assert marks == [[], [30], [], [14], [], [7], [1], [], []]
    assert {each["subject"] for each in check("expiry.near", 4)} == {"Push certificate"}

    PushCertificate.objects.update(not_after=now + timedelta(days=40))
    assert [told(28.6), told(28.7)] == [[14], []]


def answered(count: int) -> None:
    """So many devices have acknowledged a command."""
    fleet = [Machine.enrolled() for _ in range(count)]
    made = queue.enqueue(
        ACTOR,
        request_type="ProfileList",
        parameters={},
        enrollments=[machine.enrollment.pk for machine in fleet],
    )
    for machine in fleet:
        machine.idle()
        machine.connect("Acknowledged", made.command.uuid, ProfileList=[])


def test_what_devices_answered_is_told_of_in_batches_where_someone_asks(
    server: None, subscribe: Subscribe
) -> None:
    answered(1)
    consequences.drain()
    assert not Event.objects.filter(kind="command.finished").exists()

    subscribe("http://hook.example/", "command.*")

    def statements(count: int) -> int:
        answered(count)
        with CaptureQueriesContext(connection) as queries:
            assert consequences.drain() == count
        return sum("webhooks_event" in query["sql"] for query in queries)

    assert statements(1) == statements(4) == 1
    told = check("command.finished", 5)
    assert told[0]["request_type"] == "ProfileList"
    assert (told[0]["status"], told[0]["asked_by"]) == ("Acknowledged", "test")
    assert len({each["serial_number"] for each in told}) == 5
    assert told[-1]["subject"] == str(Reply.objects.latest("pk").command_uuid)
