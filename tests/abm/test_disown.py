"""Disowning with the lab's Apple: what was confirmed is asked once, and its outcome is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from abm import client, disowns, runs, servers, sync, tasks
from abm.disowns import CannotDisown
from abm.models import AbmDevice, Disown, DisownDevice, LedgerEntry, Server, SyncRun
from lab.dep.faults import FaultKind
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed
from tests.abm.apple import ADMIN, Apple
from tests.abm.connected import somebody_talks
from tests.abm.patience import PATIENT
from tests.abm.scripted import Script

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/devices/disown"


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which workers were called: the task and the server."""
    called: list[tuple[str, int]] = []
    monkeypatch.setattr(disowns, "publish", lambda server_id: called.append(("disown", server_id)))
    monkeypatch.setattr(runs, "publish", lambda server_id: called.append(("sync", server_id)))
    return called


@pytest.fixture
def office(lab_apple: Apple) -> Server:
    """A server with three devices, all of them known here."""
    return listing(lab_apple, "Office", 3)


def listing(apple: Apple, name: str, count: int) -> Server:
    server, _ = apple.link(name)
    apple.portal.assign(apple.portal.buy(count), name)
    synced(server)
    return server


def synced(server: Server) -> SyncRun:
    run = sync.sync(server.pk, PATIENT)
    assert run is not None
    assert run.state == SyncRun.State.FINISHED, run.sentence
    return run


def rows(*of: Server) -> list[AbmDevice]:
    found = AbmDevice.objects.filter(server__in=of, removed_at=None)
    return list(found.order_by("serial_number"))


def ids(*of: Server) -> list[int]:
    return [row.pk for row in rows(*of)]


def states(disown: Disown) -> dict[str, str]:
    return dict(disown.devices.values_list("serial_number", "state"))


def carried_out(server: Server) -> None:
    disowns.carry_out(server.pk, PATIENT)
    server.refresh_from_db()


def asked(apple: Apple) -> int:
    return sum(count for word, count in apple.answered.items() if word.endswith(PATH))


def test_what_is_disowned_leaves_the_organization_and_the_sync_says_so(
    lab_apple: Apple, office: Server, published: list[tuple[str, int]]
) -> None:
    first, second, third = rows(office)
    disown = disowns.ask(ADMIN, [first.pk, second.pk])
    assert published == [("disown", office.pk)]
    carried_out(office)
    assert published[1:] == [("sync", office.pk)]
    assert states(disown) == {first.serial_number: "Disowned", second.serial_number: "Disowned"}
    # Until Apple was asked again it stays listed, in doubt.
    assert {row.doubtful for row in rows(office)[:2]} == {True}

    assert synced(office).removed == 2
    assert [row.serial_number for row in rows(office)] == [third.serial_number]
    assert lab_apple.listed("Office") == {third.serial_number}
    ledger = LedgerEntry.objects.filter(serial_number=first.serial_number).order_by("pk")
    told = [(entry.source, entry.op_type, entry.decision) for entry in ledger]
    assert told[-3:-1] == [("disown", "SUCCESS", "asked"), ("details", "", "removed")]
    assert told[-1][2] == "repeated"
    assert first.device is not None
    first.device.refresh_from_db()


def test_the_wish_is_on_record_with_its_devices(office: Server) -> None:
    disown = disowns.ask(ADMIN, ids(office))
    event = AuditEvent.objects.get(action="abm.disown")
    assert (event.actor_name, event.subject_id) == (ADMIN.name, str(disown.pk))
    serials = [row.serial_number for row in rows(office)]
    assert event.after == {"devices": 3, "serial_numbers": serials}


def test_whoever_may_not_changes_nothing(office: Server) -> None:
    off = replace(ADMIN, active=False)
    disown = disowns.ask(ADMIN, ids(office))
    with pytest.raises(NotAllowed):
        disowns.ask(off, ids(office))
    with pytest.raises(NotAllowed):
        disowns.stop(off, disown)
    assert Disown.objects.count() == 1
    assert set(states(disown).values()) == {"Waiting"}


def test_devices_of_two_servers_are_asked_about_as_their_own(lab_apple: Apple) -> None:
    office, school = listing(lab_apple, "Office", 2), listing(lab_apple, "School", 2)
    disown = disowns.ask(ADMIN, ids(office, school))
    carried_out(office)
    assert sorted(states(disown).values()) == ["Disowned", "Disowned", "Waiting", "Waiting"]
    carried_out(school)
    assert set(states(disown).values()) == {"Disowned"}
    assert lab_apple.listed("Office") == lab_apple.listed("School") == set()


@pytest.mark.parametrize("gone", ["removed", "moved", "never"])
def test_a_choice_that_does_not_fit_any_more_disowns_nothing(office: Server, gone: str) -> None:
    first, *_ = rows(office)
    chosen = ids(office)
    if gone == "removed":
        AbmDevice.objects.filter(pk=first.pk).update(removed_at=timezone.now())
    elif gone == "moved":
        AbmDevice.objects.filter(pk=first.pk).update(current=False)
    else:
        chosen.append(first.pk + 1_000_000)
    with pytest.raises(CannotDisown, match="1 of these devices has left the list"):
        disowns.ask(ADMIN, chosen)
    with pytest.raises(CannotDisown, match="None of these"):
        disowns.ask(ADMIN, [])
    assert not DisownDevice.objects.exists()


def test_a_device_that_is_being_disowned_is_not_disowned_once_more(office: Server) -> None:
    disowns.ask(ADMIN, ids(office)[:1])
    with pytest.raises(CannotDisown, match="being disowned already"):
        disowns.ask(ADMIN, ids(office))
    assert Disown.objects.count() == 1
    assert DisownDevice.objects.count() == 1


def test_a_server_that_cannot_be_talked_with_is_said_at_once(office: Server) -> None:
    Server.objects.update(token_expires_at=timezone.now() - timedelta(days=1))
    with pytest.raises(CannotDisown, match=r"Apple cannot be asked for Office.*expired.*Download"):
        disowns.ask(ADMIN, ids(office))


def test_many_are_asked_about_a_hundred_at_a_time(lab_apple: Apple) -> None:
    office = listing(lab_apple, "Office", 201)
    disown = disowns.ask(ADMIN, ids(office))
    carried_out(office)
    assert disowns.counts(disown) == {"Disowned": 201}
    assert asked(lab_apple) == 3


def test_what_can_be_stopped_is_stopped(lab_apple: Apple, office: Server) -> None:
    disown = disowns.ask(ADMIN, ids(office))
    assert disowns.stop(ADMIN, disown) == 3
    carried_out(office)
    assert set(states(disown).values()) == {"Not asked"}
    assert asked(lab_apple) == 0
    assert AuditEvent.objects.get(action="abm.disown.stop").after == {"not_asked": 3}
    assert disowns.stop(ADMIN, disown) == 0
    assert AuditEvent.objects.filter(action="abm.disown.stop").count() == 1
    # And the same devices may be chosen again.
    disowns.ask(ADMIN, ids(office))


def test_what_was_stopped_while_apple_was_asked_is_not_asked_about_again(
    lab_apple: Apple, office: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apple does not listen to the first request; nobody wants the second any more."""
    disown = disowns.ask(ADMIN, ids(office))
    usual = client.Client.disown

    def stopped(self: client.Client, serials: Any) -> Any:
        assert disowns.stop(ADMIN, disown) == 0
        return usual(self, serials)

    monkeypatch.setattr(client.Client, "disown", stopped)
    lab_apple.order(FaultKind.TOO_MANY_REQUESTS, endpoint=PATH, seconds=1, count=1)
    carried_out(office)
    assert set(states(disown).values()) == {"Not asked"}
    assert all("tests stopped it" in row.sentence for row in disown.devices.all())
    Server.objects.update(retry_at=None)
    carried_out(office)
    assert asked(lab_apple) == 1
    assert len(lab_apple.listed("Office")) == 3


def test_a_server_that_is_disconnected_between_two_requests_is_asked_no_more(
    lab_apple: Apple, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = listing(lab_apple, "Office", 150)
    disown = disowns.ask(ADMIN, ids(server))
    usual = client.Client.disown

    def disconnected(self: client.Client, serials: Any) -> Any:
        answer = usual(self, serials)
        servers.disconnect(ADMIN, Server.objects.get(pk=server.pk))
        return answer

    monkeypatch.setattr(client.Client, "disown", disconnected)
    carried_out(server)
    assert asked(lab_apple) == 1
    carried_out(server)
    assert disowns.counts(disown) == {"Disowned": 100, "Not asked": 50}


# --- What Apple may say --------------------------------------------------------------------------


def test_a_device_that_left_meanwhile_is_not_ours(lab_apple: Apple, office: Server) -> None:
    first, *_ = rows(office)
    disown = disowns.ask(ADMIN, [first.pk])
    lab_apple.portal.unassign([first.serial_number])
    carried_out(office)
    assert states(disown) == {first.serial_number: "Not ours"}
    assert synced(office).removed == 1


def test_a_device_that_apple_refuses_stays(lab_apple: Apple, office: Server) -> None:
    lab_apple.order(
        FaultKind.FAILED, endpoint=PATH, serials=frozenset({rows(office)[0].serial_number})
    )
    disown = disowns.ask(ADMIN, ids(office))
    carried_out(office)
    refused = disown.devices.get(state="Refused")
    assert sorted(states(disown).values()) == ["Disowned", "Disowned", "Refused"]
    assert refused.sentence == "Apple answered FAILED. It stays as it was."
    assert synced(office).removed == 2
    assert [row.serial_number for row in rows(office)] == [refused.serial_number]


@pytest.mark.parametrize("status", ["A\0B", "\ud800", "x" * 5_000, ""])
def test_a_status_that_nobody_knows_is_a_refusal(
    script: Script, server: Server, status: str
) -> None:
    row = AbmDevice.objects.create(server=server, serial_number="S1")
    script.say(200, {"auth_session_token": "s"})
    script.say(200, {"server_uuid": "U", "server_name": "Office"})
    script.say(200, {"devices": {"S1": status}})
    disown = disowns.ask(ADMIN, [row.pk])
    carried_out(server)
    assert states(disown) == {"S1": "Refused"}


def test_an_answer_that_leaves_a_device_out_is_unclear_and_the_sync_finds_out(
    lab_apple: Apple, office: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = client.Client.disown
    left_out = rows(office)[0].serial_number

    def partial(self: client.Client, serials: list[str]) -> dict[str, str]:
        return {key: said for key, said in whole(self, serials).items() if key != left_out}

    monkeypatch.setattr(client.Client, "disown", partial)
    disown = disowns.ask(ADMIN, ids(office))
    carried_out(office)
    unclear = disown.devices.get(state="Unclear")
    assert (unclear.serial_number, disowns.counts(disown)["Disowned"]) == (left_out, 2)
    assert synced(office).removed == 3


@pytest.mark.parametrize("kind", [FaultKind.AFTER, FaultKind.RESET, FaultKind.NONSENSE])
def test_an_answer_that_does_not_come_is_not_asked_for_again(
    lab_apple: Apple, office: Server, published: list[tuple[str, int]], kind: FaultKind
) -> None:
    lab_apple.order(kind, endpoint=PATH, count=1)
    disown = disowns.ask(ADMIN, ids(office))
    carried_out(office)
    assert set(states(disown).values()) == {"Unclear"}
    assert all("no answer came" in row.sentence for row in disown.devices.all())
    assert office.problem == Server.Problem.UNREACHABLE
    carried_out(office)
    assert asked(lab_apple) <= 1

    assert ("sync", office.pk) in published
    done = 3 - len(lab_apple.listed("Office"))
    assert synced(office).removed == done
    assert len(rows(office)) == 3 - done
    assert not any(row.doubtful for row in rows(office))


def test_what_apple_was_not_asked_about_when_the_line_broke_is_asked_later(
    lab_apple: Apple,
) -> None:
    office = listing(lab_apple, "Office", 150)
    lab_apple.order(FaultKind.RESET, endpoint=PATH, count=1)
    disown = disowns.ask(ADMIN, ids(office))
    carried_out(office)
    assert disowns.counts(disown) == {"Unclear": 100, "Waiting": 50}
    carried_out(office)
    assert disowns.counts(disown) == {"Unclear": 100, "Disowned": 50}


@pytest.mark.parametrize("endpoint", [PATH, "/account", "/session"])
def test_a_pause_that_apple_asks_for_is_kept(
    lab_apple: Apple, office: Server, published: list[tuple[str, int]], endpoint: str
) -> None:
    lab_apple.order(FaultKind.TOO_MANY_REQUESTS, endpoint=endpoint, seconds=600, count=1)
    lab_apple.order(FaultKind.STALE_SESSION, count=1)
    disown = disowns.ask(ADMIN, ids(office))
    # Something that the sync is to find out, but not now.
    office.devices.update(doubtful=True)
    carried_out(office)
    assert set(states(disown).values()) == {"Waiting"}
    assert office.problem == Server.Problem.THROTTLED
    said = disowns.waits_for(office, timezone.now())
    assert said.startswith("Apple asked for a pause; Office is asked again after")
    before = lab_apple.answered
    carried_out(office)
    assert lab_apple.answered == before
    assert ("sync", office.pk) not in published

    Server.objects.update(retry_at=timezone.now())
    office.refresh_from_db()
    carried_out(office)
    assert set(states(disown).values()) == {"Disowned"}


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (FaultKind.TERMS, Server.Problem.TERMS_NOT_SIGNED),
        (FaultKind.TOKEN_REJECTED, Server.Problem.REJECTED),
        (FaultKind.ACCESS_DENIED, Server.Problem.REFUSED),
    ],
)
@pytest.mark.parametrize("endpoint", [PATH, "/account"])
def test_what_a_person_has_to_mend_ends_the_wish(
    lab_apple: Apple, office: Server, kind: FaultKind, problem: str, endpoint: str
) -> None:
    """Or else devices would be gone days later, when someone mends it for another reason."""
    lab_apple.order(kind, endpoint=endpoint, count=None)
    disown = disowns.ask(ADMIN, ids(office))
    carried_out(office)
    assert set(states(disown).values()) == {"Not asked"}
    assert office.problem == problem
    assert all(row.sentence.startswith("Apple refused to be asked") for row in disown.devices.all())
    lab_apple.stand_in.faults.clear()
    Server.objects.update(problem="", retry_at=None)
    carried_out(office)
    assert len(lab_apple.listed("Office")) == 3


def test_a_server_that_is_disconnected_meanwhile_is_not_asked(
    lab_apple: Apple, office: Server
) -> None:
    disown = disowns.ask(ADMIN, ids(office))
    servers.disconnect(ADMIN, office)
    carried_out(office)
    assert set(states(disown).values()) == {"Not asked"}
    assert asked(lab_apple) == 0


# --- Workers that end, wait, or come late --------------------------------------------------------


def test_a_worker_that_ends_while_it_asks_leaves_it_to_the_sync(
    lab_apple: Apple,
    office: Server,
    published: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Killed(BaseException):
        pass

    whole = client.Client.disown

    def ended(self: client.Client, serials: list[str]) -> dict[str, str]:
        whole(self, serials)
        raise Killed

    disown = disowns.ask(ADMIN, ids(office))
    with monkeypatch.context() as dying:
        dying.setattr(client.Client, "disown", ended)
        with pytest.raises(Killed):
            carried_out(office)
    assert set(states(disown).values()) == {"Asked"}

    published.clear()
    tasks.sync_due()
    assert ("disown", office.pk) in published
    carried_out(office)
    assert set(states(disown).values()) == {"Unclear"}
    assert asked(lab_apple) == 1
    assert ("sync", office.pk) in published
    assert synced(office).removed == 3


def test_a_wish_of_more_than_an_hour_ago_is_not_carried_out(
    lab_apple: Apple, office: Server
) -> None:
    disown = disowns.ask(ADMIN, ids(office))
    Disown.objects.update(asked_at=timezone.now() - timedelta(minutes=61))
    carried_out(office)
    assert set(states(disown).values()) == {"Not asked"}
    assert asked(lab_apple) == 0


def test_while_a_sync_is_under_way_it_waits_for_its_end(
    lab_apple: Apple, office: Server, published: list[tuple[str, int]]
) -> None:
    disown = disowns.ask(ADMIN, ids(office))
    with somebody_talks(office.pk):
        carried_out(office)
        said = disowns.waits_for(office, timezone.now())
    assert set(states(disown).values()) == {"Waiting"}
    assert said == "A sync of Office is under way; they come when it is through."

    published.clear()
    tasks.sync(office.pk)
    assert ("disown", office.pk) in published
    tasks.disown(office.pk)
    assert set(states(disown).values()) == {"Disowned"}


def test_the_sync_that_it_calls_for_is_not_lost_where_apple_is_taken(
    lab_apple: Apple, office: Server, published: list[tuple[str, int]]
) -> None:
    disowns.ask(ADMIN, ids(office)[:1])
    carried_out(office)
    # The assignment, which follows at once and is quicker than the sync's worker.
    with somebody_talks(office.pk):
        tasks.sync(office.pk)
    assert len(rows(office)) == 3

    published.clear()
    tasks.assign(office.pk)
    assert ("sync", office.pk) in published
    assert synced(office).asked_by == runs.AFTER_DISOWNING
    assert len(rows(office)) == 2


def test_what_waits_while_profiles_are_assigned_is_called_after_that(
    lab_apple: Apple, office: Server, published: list[tuple[str, int]]
) -> None:
    disowns.ask(ADMIN, ids(office)[:1])
    published.clear()
    tasks.assign(office.pk)
    assert ("disown", office.pk) in published


def test_what_no_worker_takes_is_said_after_a_while(office: Server) -> None:
    disowns.ask(ADMIN, ids(office))
    now = timezone.now()
    assert disowns.waits_for(office, now) == ""
    assert "No worker has taken" in disowns.waits_for(office, now + timedelta(seconds=30))


def test_without_anything_to_do_nobody_is_asked(
    lab_apple: Apple, office: Server, published: list[tuple[str, int]]
) -> None:
    before = lab_apple.answered
    published.clear()
    carried_out(office)
    tasks.disown(office.pk)
    disowns.publish_waiting()
    disowns.publish_waiting(office.pk)
    assert (lab_apple.answered, published) == (before, [])
