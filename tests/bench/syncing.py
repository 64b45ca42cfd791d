"""The process that syncs in the ABM phase: `python -m tests.bench.syncing`, started by `abm_sync`.

Reads what to do as one line of JSON and writes a line for each thing it measured.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import django

if __name__ == "__main__":
    django.setup()

from django.db import connection
from django.utils import timezone

from abm import client, conversation, store, sync
from abm.models import AbmDevice, LedgerEntry, Server, SyncRun
from mdm.models import Device
from mdm.webhooks.models import Event
from tests.abm.connected import connect
from tests.bench.load import seconds_of

DELTAS, CHANGES = 20, 100
_TABLES = "abm_server, abm_abmdevice, abm_syncrun, abm_runline, abm_ledgerentry, mdm_device, "


@dataclass(kw_only=True)
class Measured:
    """`processor` is in seconds, memory in megabytes, the times of pages in milliseconds: from
    asking for one to its commit.
    """

    name: str
    devices: int
    pages: int
    seconds: float
    page_median_ms: float
    page_worst_ms: float
    memory_before: float
    memory_peak: float
    processor: Mapping[str, float]
    more: dict[str, float] = field(default_factory=dict)


class Stopwatch:
    """How long each page took, from asking Apple for it to its commit."""

    def __init__(self) -> None:
        self.pages: list[float] = []
        self._asked = 0.0
        for name in ("list_devices", "list_changes"):
            setattr(client.Client, name, self._asking(getattr(client.Client, name)))
        store.write = self._writing(store.write)

    def _asking(self, ask: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(ask)
        def asking(*given: Any, **named: Any) -> Any:
            self._asked = time.perf_counter()
            return ask(*given, **named)

        return asking

    def _writing(self, write: Callable[..., None]) -> Callable[..., None]:
        @wraps(write)
        def writing(*given: Any, **named: Any) -> None:
            write(*given, **named)
            if named.get("page") is not None:
                self.pages.append((time.perf_counter() - self._asked) * 1000)

        return writing


class Office:
    """Our server, and what is measured of it."""

    def __init__(self, lab: Mapping[str, Any], size: int, watch: Mapping[str, int]) -> None:
        self._watch = {"sync": 0, **watch}
        self._stopwatch = Stopwatch()
        self._size = size
        self._server = _connected(lab["token"], size)

    def measure(self) -> None:
        """Each thing once; one process, so that its peak memory is that of all before."""
        server = self._server
        with conversation.alone(server.pk):
            # The lock is this session's; the beat's worker finds it taken throughout.
            self._whole_list("list", expected="added")
            self._deltas()
            Server.objects.filter(pk=server.pk).update(list_asked_at=timezone.now())
            self._whole_list("unchanged list", expected="")

    def _whole_list(self, name: str, expected: str) -> None:
        begin = self._begin()
        run = self._sync()
        measured = self._end(begin, f"{name}, pages of {self._size:,}", run.devices)
        counts = {"added": run.added, "changed": run.changed, "removed": run.removed}
        there = AbmDevice.objects.filter(removed_at=None).count()
        assert counts == {**dict.fromkeys(counts, 0), **({expected: there} if expected else {})}
        assert run.devices == there == Device.objects.filter(abm_devices__isnull=False).count()
        if expected:
            assert LedgerEntry.objects.filter(run_id=run.pk, decision="added").count() == there
            told = Event.objects.filter(kind="abm.devices.added", data__run=run.pk)
            assert sum(len(event.data["serial_numbers"]) for event in told) == there
        _say(measured)

    def _deltas(self) -> None:
        """Changed devices, 100 at a time, each time a sync of its own with one page."""
        serials = list(
            AbmDevice.objects.order_by("pk").values_list("serial_number", flat=True)[
                : DELTAS * CHANGES
            ]
        )
        profile = {"profile_name": "Bench", "url": "https://mdm.example.com/enroll"}
        time.sleep(1.1)  # Apple's clock has whole seconds; what follows is newer than the list.
        with self._apple() as apple:
            uuid, _ = apple.define_profile(profile)
        begin, whole = self._begin(), []
        for at in range(0, len(serials), CHANGES):
            with self._apple() as apple:
                apple.assign_profile(uuid, serials[at : at + CHANGES])
            began = time.perf_counter()
            run = self._sync()
            whole.append((time.perf_counter() - began) * 1000)
            assert run.changed == len(serials[at : at + CHANGES]), run.changed
        measured = self._end(
            begin, f"{DELTAS} deltas of {CHANGES}, pages of {self._size:,}", len(serials)
        )
        measured.more = {"sync_median_ms": statistics.median(whole), "sync_worst_ms": max(whole)}
        _say(measured)

    def _apple(self) -> Any:
        return conversation.with_apple(self._server, client.Patience())

    def _sync(self) -> SyncRun:
        run = sync.sync(self._server.pk)
        assert run is not None, "another process syncs this server"
        assert run.state == SyncRun.State.FINISHED, run.sentence
        return run

    def _begin(self) -> tuple[float, dict[str, float], float]:
        self._stopwatch.pages.clear()
        return time.monotonic(), self._processor(), _memory("VmRSS")

    def _end(
        self, begin: tuple[float, dict[str, float], float], name: str, devices: int
    ) -> Measured:
        began, before, memory = begin
        took, pages = time.monotonic() - began, self._stopwatch.pages
        return Measured(
            name=f"ABM {name}",
            devices=devices,
            pages=len(pages),
            seconds=took,
            page_median_ms=statistics.median(pages),
            page_worst_ms=max(pages),
            memory_before=memory,
            memory_peak=_memory("VmHWM"),
            processor={who: used - before[who] for who, used in self._processor().items()},
        )

    def _processor(self) -> dict[str, float]:
        used = {who: seconds_of(pid) for who, pid in self._watch.items() if pid}
        return {"sync": time.process_time(), **used}


def _connected(token: Mapping[str, Any], size: int) -> Server:
    """A server on empty tables with this token, as Apple has accepted it."""
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {_TABLES} webhooks_event CASCADE")
    words = {key: token[key] for key in token if key != "expires"}
    return connect("Bench", words, page_size=size)


def _memory(line: str) -> float:
    for each in Path("/proc/self/status").read_text().splitlines():
        if each.startswith(line):
            return int(each.split()[1]) / 1024
    raise LookupError(line)


def _say(measured: Measured) -> None:
    print(json.dumps(asdict(measured)), flush=True)


if __name__ == "__main__":
    asked = json.loads(sys.stdin.readline())
    Office(asked["lab"], asked["size"], asked["watch"]).measure()
