"""What a run writes, where it stops, and where the next one goes on."""

from __future__ import annotations

import pytest

from abm import conversation, runs, servers, state, sync
from abm.models import AbmDevice, LedgerEntry, Server, SyncRun
from mdm.audit.actor import Actor
from mdm.models import Device
from mdm.webhooks.models import Event
from tests.abm.connected import connect, somebody_talks
from tests.abm.patience import PATIENT

pytestmark = pytest.mark.django_db(transaction=True)

SESSION = {"auth_session_token": "s"}
ACCOUNT = {"server_uuid": "UUID", "server_name": "Apple's name", "org_name": "Acme"}
DATE = {"Date": "Mon, 05 Jan 2026 09:00:00 GMT"}


def device(serial: str, **more) -> dict:
    return {
        "serial_number": serial,
        "model": "IPHONE 15",
        "device_family": "iPhone",
        "os": "iOS",
    } | more


def page(*devices: dict, cursor: str, more: bool = False) -> dict:
    return {"devices": list(devices), "cursor": cursor, "more_to_follow": more}


def begin(script, uuid: str = "UUID") -> None:
    script.say(200, SESSION, **DATE)
    script.say(200, {**ACCOUNT, "server_uuid": uuid}, **DATE)


def run_of(server: Server) -> SyncRun:
    run = sync.sync(server.pk, PATIENT)
    assert run is not None
    server.refresh_from_db()
    return run


def listed() -> set[str]:
    return set(AbmDevice.objects.filter(removed_at=None).values_list("serial_number", flat=True))


def first_sync(script, server: Server, *serials: str) -> SyncRun:
    begin(script)
    script.say(200, page(*map(device, serials), cursor="l1"), **DATE)
    script.say(200, page(cursor="f1"), **DATE)
    script.answers.append((500, b"unexpected", {}))
    return run_of(server)


def test_the_first_run_reads_the_list_page_by_page_and_then_follows_changes(script, server):
    begin(script)
    for number in range(5):
        following = page(device(f"S{number}"), cursor=f"l{number}", more=number < 4)
        script.say(200, following, **DATE)
    script.say(200, page(cursor="f1"), **DATE)

    run = run_of(server)

    assert run.state == SyncRun.State.FINISHED, run.sentence
    assert (run.pages, run.devices, run.added, run.full) == (6, 5, 5, True)
    assert (server.phase, server.cursor) == (Server.Phase.FEED, "f1")
    assert script.paths[2:] == ["POST /server/devices"] * 5 + ["POST /devices/sync"]
    assert [each.json.get("cursor") for each in script.asked[2:]] == [
        *(None, "l0", "l1", "l2", "l3", "l4")
    ]
    assert Device.objects.filter(serial_number="S3", platform="iOS").exists()
    assert LedgerEntry.objects.filter(decision="added").count() == 5
    told = Event.objects.filter(kind="abm.devices.added")
    assert sorted(s for each in told for s in each.data["serial_numbers"]) == [
        *("S0", "S1", "S2", "S3", "S4")
    ]


def test_changes_are_followed_from_where_the_last_run_stopped(script, server):
    first_sync(script, server, "A", "B")
    script.answers.clear()
    script.say(200, ACCOUNT, **DATE)
    changes = (
        device("A", op_type="modified", op_date="2026-01-06T10:00:00Z", color="BLACK"),
        device("B", op_type="deleted", op_date="2026-01-06T10:00:01Z"),
        device("C", op_type="added", op_date="2026-01-06T10:00:02Z"),
    )
    script.say(200, page(*changes, cursor="f2"), **DATE)

    run = run_of(server)

    assert (run.added, run.changed, run.removed) == (1, 1, 1)
    assert script.asked[-1].json["cursor"] == "f1"
    assert listed() == {"A", "C"}
    assert Device.objects.filter(serial_number="B").exists()
    entry = LedgerEntry.objects.get(serial_number="A", decision="changed")
    assert entry.changes == {"color": ["", "BLACK"]}


def test_a_device_missing_from_a_full_list_goes_only_when_apple_says_so(script, server):
    first_sync(script, server, "A", "B", "C")
    Server.objects.update(list_asked_at="2026-01-06T00:00:00Z")
    script.answers.clear()
    script.say(200, ACCOUNT, **DATE)
    script.say(200, page(device("A"), cursor="l2"), **DATE)
    answer = {
        "devices": {
            "B": {**device("B"), "response_status": "SUCCESS"},
            "C": {"serial_number": "C", "response_status": "NOT_ACCESSIBLE"},
        }
    }
    script.say(200, answer, **DATE)
    script.say(200, page(cursor="f3"), **DATE)

    run = run_of(server)

    assert run.state == SyncRun.State.FINISHED, run.sentence
    assert listed() == {"A", "B"}
    kept = LedgerEntry.objects.filter(serial_number="B").latest("pk")
    assert (kept.source, kept.decision) == ("details", "kept")


def test_an_operation_that_contradicts_a_newer_list_is_settled_by_asking(script, server):
    first_sync(script, server, "A")
    script.answers.clear()
    script.say(200, ACCOUNT, **DATE)
    old = device("A", op_type="deleted", op_date="2026-01-04T10:00:00Z")
    script.say(200, page(old, cursor="f2"), **DATE)
    script.say(200, {"devices": {"A": {**device("A"), "response_status": "SUCCESS"}}}, **DATE)

    run_of(server)

    assert script.asked[-1].path == "/devices"
    assert listed() == {"A"}
    decisions = LedgerEntry.objects.filter(serial_number="A").order_by("pk")
    assert [entry.decision for entry in decisions] == ["added", "asked", "kept"]


def test_a_cursor_that_comes_back_stops_the_run_with_its_page_written(script, server):
    first_sync(script, server, "A")
    script.answers.clear()
    script.say(200, ACCOUNT, **DATE)
    added = device("B", op_type="added", op_date="2026-01-06T10:00:00Z")
    script.say(200, page(added, cursor="f1", more=True), **DATE)
    script.say(500, b"asked again and again")

    run = run_of(server)

    assert (run.state, run.problem) == (SyncRun.State.FAILED, "stuck")
    assert script.paths.count("POST /devices/sync") == 2
    assert listed() == {"A", "B"}
    assert state.of(server).slug == "stuck"


@pytest.mark.parametrize("word", [b"EXPIRED_CURSOR", b"INVALID_CURSOR"])
def test_a_cursor_that_apple_does_not_take_begins_the_list_anew(script, server, word):
    first_sync(script, server, "A")
    script.answers.clear()
    script.say(200, ACCOUNT, **DATE)
    script.say(400, word, **DATE)
    script.say(200, page(device("A"), device("B"), cursor="l2"), **DATE)
    script.say(200, page(cursor="f2"), **DATE)

    run = run_of(server)

    assert run.state == SyncRun.State.FINISHED, run.sentence
    assert listed() == {"A", "B"}
    assert server.cursor == "f2"


def test_a_list_that_is_exhausted_goes_on_with_changes(script, server):
    begin(script)
    script.say(200, page(device("A"), cursor="l1", more=True), **DATE)
    script.say(400, b"EXHAUSTED_CURSOR", **DATE)
    script.say(200, page(cursor="f1"), **DATE)

    run = run_of(server)

    assert run.state == SyncRun.State.FINISHED, run.sentence
    assert script.asked[-1].json["cursor"] == "l1"
    assert listed() == {"A"}


def test_a_run_that_failed_half_way_leaves_its_pages_and_the_next_goes_on(script, server):
    begin(script)
    script.say(200, page(device("A"), cursor="l1", more=True), **DATE)
    script.say(503, b"")

    failed = run_of(server)
    script.answers.clear()
    script.say(200, ACCOUNT, **DATE)
    script.say(200, page(device("B"), cursor="l2"), **DATE)
    script.say(200, page(cursor="f1"), **DATE)
    finished = run_of(server)

    assert (failed.state, failed.problem) == (SyncRun.State.FAILED, "unreachable")
    assert failed.errors == 3
    assert finished.state == SyncRun.State.FINISHED
    assert script.asked[-2].json["cursor"] == "l1"
    assert listed() == {"A", "B"}
    assert state.of(server).slug == "connected"


def test_a_device_belongs_to_the_server_that_it_was_assigned_last(script, server):
    other = connect("School")
    for each, day in ((server, "05"), (other, "07")):
        script.answers.clear()
        begin(script, each.name)
        moved = device("A", device_assigned_date=f"2026-01-{day}T00:00:00Z")
        script.say(200, page(moved, cursor="l1"), **DATE)
        script.say(200, page(cursor="f1"), **DATE)
        run_of(each)
    assert [d.server for d in AbmDevice.objects.filter(current=True)] == [other]

    script.answers.clear()
    script.say(200, {**ACCOUNT, "server_uuid": server.name}, **DATE)
    gone = device("A", op_type="deleted", op_date="2026-01-08T00:00:00Z")
    script.say(200, page(gone, cursor="f2"), **DATE)
    run_of(server)

    assert [d.server for d in AbmDevice.objects.filter(removed_at=None)] == [other]
    assert Device.objects.filter(serial_number="A").count() == 1


def test_what_someone_deleted_here_comes_back_while_abm_lists_it(script, server):
    first_sync(script, server, "A")
    Device.objects.all().delete()
    script.answers.clear()
    script.say(200, ACCOUNT, **DATE)
    script.say(200, page(cursor="f2"), **DATE)

    run_of(server)

    assert AbmDevice.objects.get().device == Device.objects.get(serial_number="A")


def test_while_one_process_syncs_another_leaves_the_server_alone(script, server):
    with somebody_talks(server.pk):
        assert conversation.taken(server.pk)
        assert sync.sync(server.pk, PATIENT) is None

    assert script.asked == []
    assert not SyncRun.objects.exists()
    assert not conversation.taken(server.pk)


def test_a_run_gives_the_server_back_when_it_ends(script, server):
    first_sync(script, server, "A")

    assert not conversation.taken(server.pk)


def test_a_page_that_is_written_while_someone_disconnects_leaves_nothing(
    script, server, monkeypatch
):
    begin(script)
    script.say(200, page(device("A"), cursor="l1"), **DATE)
    real = sync.decisions.from_list

    def disconnect(*given):
        servers.disconnect(Actor.system("tests"), server)
        return real(*given)

    monkeypatch.setattr(sync.decisions, "from_list", disconnect)
    run = run_of(server)

    assert run.state == SyncRun.State.INTERRUPTED
    assert listed() == set()
    assert state.of(server).slug == "disconnected"


def test_an_expired_token_stops_the_sync_without_asking_apple(script):
    server = connect(token_expires_at="2026-01-01T00:00:00Z")

    assert sync.sync(server.pk, PATIENT) is None

    assert script.asked == []
    assert servers.due() == []
    server.refresh_from_db()
    assert state.of(server).slug == "expired"
    with pytest.raises(runs.CannotSync, match="expired"):
        runs.ask(Actor.system("tests"), server)


def test_asking_twice_joins_the_run_that_waits(server):
    first, joined_first = runs.ask(Actor.system("tests"), server)
    second, joined = runs.ask(Actor.system("tests"), server)

    assert (first, joined_first, joined) == (second, False, True)


def test_a_worker_that_died_is_told_and_the_next_run_goes_on(script, server):
    dead = SyncRun.objects.create(server=server, asked_by="x", state=SyncRun.State.RUNNING)

    run = first_sync(script, server, "A")

    dead.refresh_from_db()
    assert dead.state == SyncRun.State.INTERRUPTED
    assert run.state == SyncRun.State.FINISHED


def test_a_run_that_was_overtaken_writes_nothing(script, server, monkeypatch):
    begin(script)
    script.say(200, page(device("A"), cursor="l1"), **DATE)
    real = sync.decisions.from_list

    def overtake(*given):
        Server.objects.update(run_id=0)
        return real(*given)

    monkeypatch.setattr(sync.decisions, "from_list", overtake)
    run = run_of(server)

    assert run.state == SyncRun.State.INTERRUPTED
    assert not AbmDevice.objects.exists()
    assert not LedgerEntry.objects.exists()
    assert server.cursor == ""
