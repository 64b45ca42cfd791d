"""The embedded Postgres and Valkey keep what they have confirmed, and are reached by no network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from mdm.local import postgres, sockets, valkey
from mdm.local.environment import ROOT
from mdm.local.errors import StateError
from mdm.local.parts import Parts
from mdm.local.postgres import Postgres
from mdm.local.processes import Supervisor
from mdm.local.valkey import Valkey


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Parts]:
    running = Parts(tmp_path)
    running.start()
    yield running
    running.stop()


def test_the_database_is_made_as_the_server_needs_it(parts: Path) -> None:
    with psycopg.connect(postgres.url(parts, "postgres")) as connection:
        row = connection.execute(
            "SELECT current_setting('listen_addresses'), current_setting('server_encoding'),"
            " current_setting('data_checksums'), datlocale, datlocprovider"
            " FROM pg_database WHERE datname = 'guardmdm'"
        ).fetchone()
    assert row == ("", "UTF8", "on", "C.UTF-8", "b")


def test_nobody_else_can_reach_the_sockets(parts: Path) -> None:
    assert sockets.folder(parts).stat().st_mode & 0o777 == 0o700


def test_what_was_committed_survives_a_kill(own: Parts, tmp_path: Path) -> None:
    with psycopg.connect(postgres.url(tmp_path)) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('here')")
        durable = connection.execute(
            "SELECT current_setting('fsync'), current_setting('synchronous_commit')"
        ).fetchone()
    assert durable == ("on", "on")
    os.kill(int((tmp_path / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    own.stop()
    own.start()
    with psycopg.connect(postgres.url(tmp_path)) as connection:
        assert connection.execute("SELECT word FROM kept").fetchone() == ("here",)


def test_what_valkey_confirmed_is_there_after_a_restart(own: Parts, tmp_path: Path) -> None:
    with redis.Redis.from_url(valkey.url(tmp_path)) as client:
        client.set("word", "here")
    own.stop()
    own.start()
    with redis.Redis.from_url(valkey.url(tmp_path)) as client:
        assert client.get("word") == b"here"


def test_servers_that_an_earlier_run_left_behind_are_ended_first(tmp_path: Path) -> None:
    cluster, cache = Postgres(tmp_path), Valkey(tmp_path)
    left = Supervisor(tmp_path / "log")
    left.start(cluster.child(), cache.child())
    pids = [left.pid("postgres"), left.pid("valkey")]
    cluster.prepare()
    cache.prepare()
    assert not cluster.ready()
    assert not cache.ready()
    left.stop()
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_making_that_was_broken_off_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18\n")
    Postgres(tmp_path).prepare()
    assert (tmp_path / "postgres" / "global" / "pg_control").exists()


def test_a_cluster_of_another_postgres_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StateError, match="made by Postgres 12"):
        Postgres(tmp_path).prepare()


def test_a_path_too_long_for_a_socket_gets_a_short_folder(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    folder = sockets.make_folder(deep)
    try:
        assert not folder.is_relative_to(tmp_path)
        assert len(str(folder / ".s.PGSQL.5432")) <= sockets.LONGEST_SOCKET_PATH
        assert folder == sockets.folder(deep)
    finally:
        folder.rmdir()


def test_a_socket_folder_laid_by_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="belongs to someone else"):
        sockets.make_folder(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="shows how root runs Postgres")
def test_root_runs_postgres_where_user_namespaces_are_refused(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from mdm.local import postgres
from mdm.local.parts import Parts
postgres._UNSHARE = ("/bin/false",)
parts = Parts(Path({str(tmp_path)!r}))
parts.start()
parts.stop()
print((Path({str(tmp_path)!r}) / "postgres").stat().st_uid)
"""
    tmp_path.chmod(0o700)
    done = subprocess.run(
        (sys.executable, "-c", script),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=ROOT,
    )
    assert done.stdout == "65534\n"
