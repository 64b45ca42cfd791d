"""Driving load with wrk, and saying how much of the machine each process took meanwhile."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 16
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figure:
    """What one run measured; `shares` are parts of the whole machine's processor time."""

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    requests: int
    shares: Mapping[str, float]


def wrk_is_there() -> bool:
    return shutil.which("wrk") is not None


def replay(
    url: str,
    requests: Sequence[Sequence[bytes]],
    *,
    seconds: float,
    once: bool,
    watch: Mapping[str, int],
) -> Figure:
    """Send prepared requests over 16 connections, one list each, in order.

    `once` sends each request one time and ends when the lists do; otherwise they repeat for
    `seconds`. `watch` names process trees by the id of their first process.
    """
    with tempfile.TemporaryDirectory() as folder:
        for number, listed in enumerate(requests, 1):
            with (Path(folder) / f"load.{number}").open("wb") as file:
                for request in listed:
                    file.write(f"{len(request)}\n".encode() + request)
        threads = len(requests)
        script = str(Path(__file__).with_name("replay.lua"))
        command = [
            "wrk",
            f"-t{threads}",
            f"-c{threads}",
            f"-d{max(1, round(seconds))}s",
            "-s",
            script,
        ]
        mode = "once" if once else "again"
        before, own = {name: _ticks(pid) for name, pid in watch.items()}, _children()
        began = time.monotonic()
        process = subprocess.Popen(
            [*command, url, "--", f"{folder}/load", mode], stdout=subprocess.PIPE, text=True
        )
        if once:
            _stop_when_done(process, Path(folder), threads)
        output, _ = process.communicate()
        elapsed = time.monotonic() - began
    if process.returncode != 0:
        raise RuntimeError(output)
    said = json.loads(next(line for line in output.splitlines() if line.startswith("RESULT"))[7:])
    whole = elapsed * (os.cpu_count() or 1)
    shares = {name: (_ticks(pid) - before[name]) / _TICKS / whole for name, pid in watch.items()}
    shares["load generator"] = (_children() - own) / whole
    return Figure(
        per_second=said["requests"] / (said["duration_us"] / 1e6),
        p50_ms=said["p50_us"] / 1000,
        p99_ms=said["p99_us"] / 1000,
        errors=said["status_errors"] + said["socket_errors"],
        requests=said["requests"],
        shares=shares,
    )


def spread(requests: Sequence[bytes], each: int = 1) -> list[list[bytes]]:
    """Deal requests to the connections; `each` consecutive ones stay together."""
    hands: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
    for number, start in enumerate(range(0, len(requests), each)):
        hands[number % CONNECTIONS] += requests[start : start + each]
    return hands


def _stop_when_done(process: subprocess.Popen[str], folder: Path, threads: int) -> None:
    """End wrk, which would wait out its whole time, as soon as every list was sent."""
    while process.poll() is None:
        if len(list(folder.glob("*.done"))) == threads:
            process.send_signal(signal.SIGINT)
            return
        time.sleep(0.02)


def seconds_of(first: int) -> float:
    """Processor time of a process and all below it, in seconds."""
    return _ticks(first) / _TICKS


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ticks(first: int) -> int:
    """Processor time of a process and all below it, in clock ticks."""
    below: dict[int, list[int]] = {}
    times: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(entry.name)
        below.setdefault(int(fields[1]), []).append(pid)
        times[pid] = sum(int(field) for field in fields[11:15])
    total, waiting = 0, [first]
    while waiting:
        pid = waiting.pop()
        total += times.get(pid, 0)
        waiting += below.get(pid, [])
    return total
