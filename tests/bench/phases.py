"""What is measured, phase by phase; `__main__` starts the server and prints the headings."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from django.db import connection

from commands import queue
from commands.models import QueueEntry, Reply
from mdm.audit.actor import Actor
from mdm.models import Enrollment
from tests.bench import abm_sync, fleet, load, pages, resolving
from tests.bench.load import Figure

SPEAKERS = 2000
ABM, RESOLVE, PAGES = "abm-sync", "resolve", "pages"
ADMIN = Actor.system("bench")


@dataclass(frozen=True)
class Run:
    mode: str
    url: str
    watch: Mapping[str, int]
    seconds: float


def everything(
    run: Run, *, crowd: int, finished: int, listed: int, wanted: set[str]
) -> dict[str, object]:
    """The sync with ABM on empty tables, every phase on small ones, then Idle and cycles again on
    large ones.
    """
    figures: dict[str, object] = {}
    if ABM in wanted:
        for measured in abm_sync.measure(listed, run.watch):
            print(abm_sync.line(measured), flush=True)
            figures[measured["name"]] = measured
    if RESOLVE in wanted:
        for measured in resolving.measure(listed):
            print(resolving.line(measured), flush=True)
            figures[measured["name"]] = measured
    if PAGES in wanted:
        for measured in pages.measure(crowd, finished):
            print(pages.line(measured), flush=True)
            figures[measured["page"]] = measured
    if wanted <= {ABM, RESOLVE, PAGES}:
        return figures
    fleet.push_certificate()
    own_keys = fleet.keys()
    speakers = fleet.certify(SPEAKERS, own_keys)
    ids = fleet.enroll(speakers)

    def note(name: str, figure: Figure, per: int = 1) -> float:
        rate = figure.per_second / per
        shares = ", ".join(f"{who} {part:.0%}" for who, part in figure.shares.items())
        print(
            f"  {name:42} {rate:8,.0f}/s   p50 {figure.p50_ms:.1f} ms  p99 {figure.p99_ms:.1f} ms"
            f"   {figure.errors} errors   [{shares}]",
            flush=True,
        )
        figures[name] = {**asdict(figure), "rate": rate}
        return rate

    if "idle" in wanted:
        note("Idle", idle(run, speakers))
    if "cycles" in wanted:
        note("cycles", cycles(run, speakers, ids), per=2)
        print(f"  {'  replies drained after':42} {drained():8.1f} s")
    if "enroll" in wanted:
        note("enrollments", enrollments(run, own_keys), per=2)
    if "enqueue" in wanted or "size" in wanted:
        many = fleet.crowd(crowd)
        if "size" in wanted:
            note(f"Idle, {crowd:,} enrollments", idle(run, speakers))
            note(f"cycles, {crowd:,} enrollments", cycles(run, speakers, ids), per=2)
        if "enqueue" in wanted:
            took = enqueue(many)
            figures["enqueue"] = took
            print(f"  {f'enqueue to {crowd:,}':42} {took:8.2f} s", flush=True)
    if "size" in wanted:
        drained()
        fleet.history(ids, finished)
        note(f"Idle, {finished:,} finished commands", idle(run, speakers))
        note(f"cycles, {finished:,} finished commands", cycles(run, speakers, ids), per=2)
    return figures


def idle(run: Run, speakers: list[fleet.Bench]) -> Figure:
    requests = [device.idle(run.mode) for device in speakers]
    # The first round notes the contact; what is measured is the steady state.
    load.replay(run.url, load.spread(requests), seconds=2, once=False, watch={})
    return load.replay(
        run.url, load.spread(requests), seconds=run.seconds, once=False, watch=run.watch
    )


def cycles(run: Run, speakers: list[fleet.Bench], ids: list[int]) -> Figure:
    """Idle, command, Acknowledged, empty: two requests each, five commands a device."""
    rounds = 5
    commands = [
        queue.enqueue(
            ADMIN, request_type="DeviceLock", parameters={"Message": f"{n}"}, enrollments=ids
        ).command.uuid
        for n in range(rounds)
    ]
    per_device = [
        [
            request
            for uuid in commands
            for request in (d.idle(run.mode), d.acknowledge(uuid, run.mode))
        ]
        for d in speakers
    ]
    # Every device does one cycle, then every device the next one.
    ordered = [
        request
        for n in range(rounds)
        for device in per_device
        for request in device[2 * n : 2 * n + 2]
    ]
    figure = load.replay(
        run.url, _by_device(ordered, len(speakers)), seconds=120, once=True, watch=run.watch
    )
    left = QueueEntry.objects.filter(command__uuid__in=commands, finished_at__isnull=True).count()
    if left:
        print(f"  ! {left} commands were left unanswered")
    return figure


def _by_device(ordered: list[bytes], devices: int) -> list[list[bytes]]:
    """Deal pairs so that all pairs of one device stay on one connection, in order."""
    hands: list[list[bytes]] = [[] for _ in range(load.CONNECTIONS)]
    for number in range(0, len(ordered), 2):
        device = (number // 2) % devices
        hands[device % load.CONNECTIONS] += ordered[number : number + 2]
    return hands


def drained() -> float:
    """Seconds until no reply waits for its consequences."""
    began = time.monotonic()
    while Reply.objects.filter(drained_at__isnull=True).exists():
        time.sleep(0.05)
    return time.monotonic() - began


def enrollments(run: Run, own_keys: list[object]) -> Figure:
    devices = fleet.certify(max(500, round(run.seconds * 400)), own_keys)  # type: ignore[arg-type]
    requests = [
        request for d in devices for request in (d.authenticate(run.mode), d.token_update(run.mode))
    ]
    figure = load.replay(
        run.url, load.spread(requests, each=2), seconds=120, once=True, watch=run.watch
    )
    keys = [device.udid.lower() for device in devices]
    done = Enrollment.objects.filter(key__in=keys, state="Enrolled").count()
    if done != len(devices):
        print(f"  ! {len(devices) - done} of {len(devices)} are not Enrolled")
    return figure


def enqueue(many: list[int]) -> float:
    began = time.monotonic()
    made = queue.enqueue(ADMIN, request_type="SecurityInfo", parameters={}, enrollments=many)
    took = time.monotonic() - began
    assert made.entries == len(many), made
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE commands_queueentry")
    return took
