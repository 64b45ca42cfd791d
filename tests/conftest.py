"""What every test stands on: a Postgres and a Valkey of this run's own, in a folder that goes when
the run ends. One cluster serves all xdist workers; pytest-django gives each its own database.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import django
import pytest
from django.conf import settings
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from mdm.local import valkey
from mdm.local.parts import Parts

_STARTED_BY_CONTROLLER = "GUARD_TEST_PARTS"
_STORIES = "tests/e2e/"
# What takes longest begins first, so that no process is left alone with it in the end.
_LONGEST = (_STORIES, "tests/lab/test_demo.py", "tests/mdm/local/test_up.py")
_worker = os.environ.get("PYTEST_XDIST_WORKER")


def _state_dir() -> Path:
    if _worker:
        return Path(os.environ["GUARD_STATE_DIR"])
    return Path(tempfile.mkdtemp(prefix="guardmdm-test-"))


# Set while this file is imported, which is before pytest-django loads the settings: that is why
# DJANGO_SETTINGS_MODULE stands here and not in pyproject.toml, where it would be read too early.
STATE_DIR = _state_dir()
for name in [name for name in os.environ if name.startswith("GUARD_") and not _worker]:
    del os.environ[name]
os.environ.pop("DATABASE_URL", None)
os.environ["GUARD_ENV"] = "test"
os.environ["GUARD_STATE_DIR"] = str(STATE_DIR)
os.environ["REDIS_URL"] = valkey.url(STATE_DIR, int((_worker or "gw0").removeprefix("gw")) % 16)
os.environ["DJANGO_SETTINGS_MODULE"] = "mdm.settings"
django.setup()
# Settings loaded earlier would be another process's: its database of Valkey, which it empties.
assert os.environ["REDIS_URL"] == settings.REDIS_URL, "unset DJANGO_SETTINGS_MODULE"

# This data is gone in a minute: nothing is won by waiting for the disk.
_parts = Parts(STATE_DIR, postgres_settings={"fsync": "off", "synchronous_commit": "off"})


def pytest_configure(config: pytest.Config) -> None:
    if not _worker and config.getoption("numprocesses", None):
        _parts.start()
        os.environ[_STARTED_BY_CONTROLLER] = "yes"
        # A worker that inherited it would load the settings before this file gives it its own.
        del os.environ["DJANGO_SETTINGS_MODULE"]


def pytest_unconfigure(config: pytest.Config) -> None:
    if not _worker:
        _parts.stop()
        shutil.rmtree(STATE_DIR, ignore_errors=True)


class _OneFileOneProcess(LoadScopeScheduling):
    """Each file's tests run in one process, and so do all whole stories: they share one server."""

    def _split_scope(self, nodeid: str) -> str:
        return _STORIES if nodeid.startswith(_STORIES) else nodeid.partition("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    # In the order above, not by the number of tests.
    config.option.loadscopereorder = False
    return _OneFileOneProcess(config, log)


@pytest.fixture(scope="session")
def parts() -> Path:
    """The state folder with Postgres and Valkey up; tests with a database get them unasked."""
    if _STARTED_BY_CONTROLLER not in os.environ:
        _parts.start()
    return STATE_DIR


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    parts: Path, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """pytest-django's hook before it makes the test database."""


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """Tests of many transactions empty the tables after them, which the audit log refuses."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER audit_no_truncate")
