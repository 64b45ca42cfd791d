"""One world for all stories, which ends with the last of them; and what its parts said last, beside
each failure.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator

import pytest

from tests.e2e import world as worlds
from tests.e2e.world import World

_LAST_LINES = 40
_started: list[World] = []


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    started = worlds.start(folder / "var")
    _started.append(started)
    yield started
    _started.clear()
    started.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and _started:
        for log in sorted(_started[-1].logs.glob("*.log")):
            last = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            report.sections.append((f"the last lines of {log.name}", "\n".join(last)))
    return report
