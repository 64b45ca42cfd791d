"""The sync with ABM: the lab's enrollment service and the process that syncs, each of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

# Apple's usual page, its maximum, and what it grants some.
SIZES = (100, 1_000, 5_000)


def measure(devices: int, watch: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """What was measured at each page size, each time on empty tables."""
    for size in SIZES:
        with _lab(devices) as lab:
            asked = {"lab": lab, "size": size, "watch": {**watch, "lab": lab["pid"]}}
            with _python("tests.bench.syncing") as syncing:
                assert syncing.stdin
                assert syncing.stdout
                syncing.stdin.write(json.dumps(asked) + "\n")
                syncing.stdin.close()
                for line in syncing.stdout:
                    yield json.loads(line)
            if syncing.returncode != 0:
                raise RuntimeError("The sync ended with an error; it stands above.")


def line(measured: Mapping[str, Any]) -> str:
    whole = measured["seconds"] * (os.cpu_count() or 1)
    shares = ", ".join(
        f"{who} {used:.1f} s {used / whole:.0%}" for who, used in measured["processor"].items()
    )
    more = measured["more"]
    syncs = "  whole sync {sync_median_ms:.1f}, {sync_worst_ms:.1f}".format(**more) if more else ""
    return (
        f"  {measured['name']:42} {measured['devices'] / measured['seconds']:8,.0f}/s"
        f"   {measured['pages']:,} pages in {measured['seconds']:.1f} s"
        f"   page p50 {measured['page_median_ms']:.1f} ms  worst {measured['page_worst_ms']:.1f} ms"
        f"{syncs}   {measured['memory_before']:.0f} MB, peak {measured['memory_peak']:.0f} MB"
        f"   [{shares}]"
    )


@contextmanager
def _lab(devices: int) -> Iterator[dict[str, Any]]:
    """The enrollment service at the address that the server was told."""
    port = os.environ["GUARD_DEP_URL"].rpartition(":")[2]
    options = ("--devices", str(devices), "--maximum", str(max(SIZES)), "--port", port)
    lab = _python("lab.dep", *options)
    try:
        assert lab.stdout
        yield {**json.loads(lab.stdout.readline()), "pid": lab.pid}
    finally:
        lab.terminate()
        lab.wait()


def _python(module: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
