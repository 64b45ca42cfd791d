"""Killing parts of a running server with SIGKILL, and what a service manager does afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import redis

from mdm.local import postgres as cluster
from mdm.local import valkey
from mdm.local.server import BEAT, DEVICES, WORKER
from tests.e2e.waiting import until
from tests.e2e.world import World

# What Celery logs when it has closed its connection and tries to have another.
_GIVEN_UP = "Cannot connect to redis"
_WAITING = "SELECT FROM pg_locks WHERE relation = 'commands_reply'::regclass AND NOT granted"


def children(pid: int) -> list[int]:
    """The processes whose parent is `pid`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name in parentheses may hold anything; the parent is the second word after it.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return sorted(found)


def _kill(pid: int, *others: int) -> None:
    """End `pid`, and the others where they are still there."""
    os.kill(pid, signal.SIGKILL)
    for other in others:
        with suppress(ProcessLookupError):
            os.kill(other, signal.SIGKILL)


@contextmanager
def a_web_worker(world: World) -> Iterator[None]:
    """One of the processes that answer devices; its parent starts another by itself."""
    parent = world.server.pid(DEVICES)
    one, *others = children(parent)
    _kill(one)
    yield
    until(lambda: one not in children(parent) and len(children(parent)) == 1 + len(others))


@contextmanager
def a_child_of_the_celery_worker(world: World) -> Iterator[None]:
    parent = world.server.pid(WORKER)
    one, *others = children(parent)
    _kill(one)
    yield
    until(lambda: one not in children(parent) and len(children(parent)) == 1 + len(others))


@contextmanager
def the_celery_worker(world: World) -> Iterator[None]:
    _kill(world.server.pid(WORKER))
    yield
    world.server.restart(WORKER)


@contextmanager
def the_beat(world: World) -> Iterator[None]:
    _kill(world.server.pid(BEAT))
    yield
    world.server.restart(BEAT)


@contextmanager
def postgres(world: World) -> Iterator[None]:
    """The postmaster first, so that it starts no other child, and every session with it."""
    postmaster = world.server.pid("postgres")
    sessions = children(postmaster)
    _kill(postmaster, *sessions)
    yield
    world.server.restart("postgres")


@contextmanager
def the_broker(world: World) -> Iterator[None]:
    _kill(world.server.pid("valkey"))
    yield
    world.server.restart("valkey")


@contextmanager
def the_broker_under_running_tasks(world: World) -> Iterator[None]:
    """Tasks that were running when the broker went end when the worker has given up on it."""
    log = world.logs / f"{WORKER}.log"
    with _held_tasks(world):
        given_up = log.read_text().count(_GIVEN_UP)
        _kill(world.server.pid("valkey"))
        until(lambda: log.read_text().count(_GIVEN_UP) > given_up)
    yield
    world.server.restart("valkey")


@contextmanager
def _held_tasks(world: World) -> Iterator[None]:
    """Every task that reads replies waits until this ends, and at least one does."""
    with psycopg.connect(cluster.url(world.server.state_dir)) as connection:
        connection.execute("LOCK TABLE commands_reply IN ACCESS EXCLUSIVE MODE")
        until(lambda: world.rows(_WAITING))
        yield


@contextmanager
def all_that_the_broker_holds(world: World) -> Iterator[None]:
    with redis.Redis.from_url(valkey.url(world.server.state_dir)) as broker:
        broker.flushall()
    yield
