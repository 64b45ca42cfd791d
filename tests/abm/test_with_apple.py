"""The whole way with the lab's Apple: the exchange of the token, the first sync, and what changes
in the portal afterwards."""

from __future__ import annotations

import pytest

from abm import runs, state, sync, tokens
from abm.models import AbmDevice, Server, SyncRun
from lab.dep.catalog import Family
from lab.dep.faults import FaultKind
from mdm.models import Device
from tests.abm.apple import ADMIN, Apple
from tests.abm.patience import PATIENT

pytestmark = pytest.mark.django_db(transaction=True)


def run_of(server: Server) -> SyncRun:
    run = sync.sync(server.pk, PATIENT)
    assert run is not None
    server.refresh_from_db()
    return run


def finished(server: Server) -> SyncRun:
    run = run_of(server)
    assert run.state == SyncRun.State.FINISHED, run.sentence
    return run


def listed(server: Server) -> set[str]:
    rows = server.devices.filter(removed_at=None)
    return set(rows.values_list("serial_number", flat=True))


def test_a_token_is_exchanged_and_the_whole_list_is_read(lab_apple: Apple) -> None:
    server, remote = lab_apple.connect()
    lab_apple.portal.assign(lab_apple.portal.buy(250), "Office")

    run = finished(server)

    assert (server.server_uuid, server.server_name) == (remote.uuid, "Office")
    assert (run.pages, run.added) == (4, 250)
    assert listed(server) == lab_apple.listed("Office")
    assert Device.objects.count() == 250
    assert state.of(server).slug == "connected"


@pytest.mark.parametrize("way", ["automatic", "manual", "csv"])
def test_devices_appear_change_and_disappear_however_they_are_assigned(
    lab_apple: Apple, way: str
) -> None:
    portal = lab_apple.portal
    server, _ = lab_apple.connect()
    finished(server)

    if way == "automatic":
        portal.set_default(Family.MAC, "Office")
        serials = portal.buy(3, Family.MAC)
    else:
        serials = portal.buy(3, Family.MAC)
        if way == "manual":
            portal.assign(serials, "Office")
        else:
            lines = "\r\n".join(["Serial Number", *serials, "NOTTHERE1"])
            told = portal.assign_csv(f"\ufeff{lines}\r\n", "Office")
            assert told == {"assigned": serials, "unknown": ["NOTTHERE1"]}
    first = finished(server)
    assert (first.added, listed(server)) == (3, set(serials))

    lab_apple.clock.move(1)
    portal.change(serials[0], asset_tag="CART-7")
    second = finished(server)
    assert (second.changed, second.added) == (1, 0)
    assert AbmDevice.objects.get(serial_number=serials[0]).asset_tag == "CART-7"

    lab_apple.clock.move(1)
    portal.unassign(serials[:2])
    third = finished(server)
    assert (third.removed, listed(server)) == (2, {serials[2]})
    assert Device.objects.filter(serial_number__in=serials).count() == 3


def test_a_device_that_moves_belongs_to_the_server_it_was_moved_to(lab_apple: Apple) -> None:
    office, _ = lab_apple.connect("Office")
    school, _ = lab_apple.connect("School")
    [serial] = lab_apple.portal.buy(1)
    lab_apple.portal.assign([serial], "Office")
    finished(office)
    lab_apple.clock.move(1)
    lab_apple.portal.assign([serial], "School")

    # Whichever of the two hears of it first.
    finished(school)
    finished(office)

    assert AbmDevice.objects.get(serial_number=serial, current=True).server == school
    assert (listed(office), listed(school)) == (set(), {serial})


def test_a_lost_operation_is_found_by_the_next_full_list(lab_apple: Apple) -> None:
    server, _ = lab_apple.connect()
    finished(server)
    lab_apple.order(FaultKind.LOSSY)
    serials = lab_apple.portal.buy(2)
    lab_apple.portal.assign(serials, "Office")

    finished(server)
    assert len(listed(server)) == 1
    runs.ask(ADMIN, server, full=True)
    finished(server)

    assert listed(server) == set(serials)


def test_a_token_downloaded_in_the_portal_ends_the_one_in_use(lab_apple: Apple) -> None:
    server, _ = lab_apple.connect()
    finished(server)
    newer = lab_apple.portal.download_token("Office")

    failed = run_of(server)
    assert (failed.state, state.of(server).slug) == (SyncRun.State.FAILED, "rejected")

    upload = tokens.upload(ADMIN, server, newer)
    tokens.check(upload.pk, PATIENT)
    server.refresh_from_db()
    finished(server)
    assert state.of(server).slug == "connected"


@pytest.mark.parametrize(
    ("kind", "slug"),
    [
        (FaultKind.TERMS, "terms_not_signed"),
        (FaultKind.ACCESS_DENIED, "refused"),
        (FaultKind.TOO_MANY_REQUESTS, "throttled"),
        (FaultKind.UNAVAILABLE, "unreachable"),
        (FaultKind.NONSENSE, "unreachable"),
        (FaultKind.HTML, "unreachable"),
        (FaultKind.RESET, "unreachable"),
        (FaultKind.CUT, "unreachable"),
        (FaultKind.STUCK_CURSOR, "stuck"),
    ],
)
def test_each_trouble_has_its_state_and_ends_with_it(
    lab_apple: Apple, kind: FaultKind, slug: str
) -> None:
    server, _ = lab_apple.connect()
    serials = lab_apple.portal.buy(3)
    lab_apple.portal.assign(serials, "Office")
    lab_apple.order(kind, count=None)

    failed = run_of(server)
    assert (failed.state, state.of(server).slug) == (SyncRun.State.FAILED, slug)

    lab_apple.stand_in.faults.clear()
    finished(server)
    assert listed(server) == set(serials)
    assert state.of(server).slug == "connected"


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.STALE_SESSION,
        FaultKind.FORBIDDEN,
        FaultKind.AFTER,
        FaultKind.RESET,
        FaultKind.CUT,
        FaultKind.UNAVAILABLE,
        FaultKind.TOO_MANY_REQUESTS,
        FaultKind.NONSENSE,
        FaultKind.EXPIRED_CURSOR,
        FaultKind.INVALID_CURSOR,
        FaultKind.EXHAUSTED_CURSOR,
        FaultKind.DUPLICATES,
    ],
)
def test_what_happens_once_is_no_trouble(lab_apple: Apple, kind: FaultKind) -> None:
    server, _ = lab_apple.connect()
    lab_apple.portal.assign(lab_apple.portal.buy(150), "Office")
    finished(server)
    lab_apple.clock.move(1)
    more = lab_apple.portal.buy(120)
    lab_apple.portal.assign(more, "Office")
    lab_apple.portal.unassign(more[:10])
    lab_apple.order(kind, endpoint="/devices/sync")

    run_of(server)
    finished(server)

    assert listed(server) == lab_apple.listed("Office")
