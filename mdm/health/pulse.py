"""Heartbeats: workers, the beat and queues say in Redis that they are there; pages read it all in
one round trip. Nothing here waits longer than half a second for Redis, and what it forgets comes
back by itself.

A worker's main process says that it takes tasks, also while all its children are busy; that a
queue is worked on shows a task that goes through it (`tasks.answer`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import structlog
from celery import signals
from django.conf import settings
from django.utils import timezone
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

__all__ = ["Pulse", "RedisError", "Worker", "queues", "read"]

DEFAULT_QUEUE = "celery"
# Silent for longer, and something is wrong.
LATE = timedelta(minutes=2)
# Of a worker that has not been heard of for so long nobody wants to hear any more.
_FORGOTTEN = timedelta(days=1)
_EVERY = 10.0
_SECONDS = 0.5
_KEY = "guard:pulse"
_BEGAN = time.time()

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process, by Celery's name for it, since when it is there, and the queues that it
    takes tasks from."""

    node: str
    queues: tuple[str, ...]
    at: datetime
    began: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What Redis holds of it all; `waiting` is how many tasks lie in each queue, `milliseconds` how
    long Redis took to say so."""

    milliseconds: float
    memory: int
    largest: int
    beat: datetime | None = None
    workers: list[Worker] = field(default_factory=list)
    answers: dict[str, datetime] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)

    def workers_of(self, queue: str) -> list[Worker]:
        """Those that take tasks of this queue, heard of last first."""
        found = (worker for worker in self.workers if queue in worker.queues)
        return sorted(found, key=lambda worker: worker.at, reverse=True)


def queues() -> list[str]:
    """Every queue that tasks are sent to."""
    routed = {route["queue"] for route in settings.CELERY_TASK_ROUTES.values()}
    return sorted({DEFAULT_QUEUE, *routed}, key=lambda name: (name != DEFAULT_QUEUE, name))


def read() -> Pulse:
    """All heartbeats. Raises RedisError."""
    names = queues()
    began = time.monotonic()
    with _redis().pipeline(transaction=False) as pipe:
        pipe.hgetall(_KEY)
        pipe.info("memory")
        for name in names:
            pipe.llen(name)
        kept, memory, *lengths = pipe.execute()
    took = (time.monotonic() - began) * 1000
    said = {key.decode(): json.loads(value) for key, value in kept.items()}
    oldest = timezone.now() - _FORGOTTEN
    workers = [
        Worker(
            key.removeprefix("worker:"),
            tuple(value["queues"]),
            _at(value),
            datetime.fromtimestamp(value["began"], UTC),
        )
        for key, value in said.items()
        if key.startswith("worker:")
    ]
    return Pulse(
        milliseconds=took,
        memory=int(memory.get("used_memory", 0)),
        largest=int(memory.get("maxmemory", 0)),
        beat=_at(said["beat"]) if "beat" in said else None,
        workers=[worker for worker in workers if worker.at > oldest],
        answers={name: _at(said[f"queue:{name}"]) for name in names if f"queue:{name}" in said},
        waiting=dict(zip(names, lengths, strict=True)),
    )


def answered(queue: str) -> None:
    """A task came through this queue. Raises RedisError."""
    _say(f"queue:{queue}")
    gone = [
        key
        for key, value in _redis().hgetall(_KEY).items()
        if _at(json.loads(value)) < timezone.now() - _FORGOTTEN
    ]
    if gone:
        _redis().hdel(_KEY, *gone)


def worker_lives(node: str, taken: list[str]) -> None:
    """A worker's main process, which is this one, is there. Raises RedisError."""
    _say(f"worker:{node}", queues=taken, began=_BEGAN)


def beat_ticks() -> None:
    """The beat sends tasks. Raises RedisError."""
    _say("beat")


def listen() -> None:
    """Have this process say that it is there, if it is a worker or the beat: Celery's signals."""
    signals.heartbeat_sent.connect(_heartbeat, weak=False)
    signals.beat_init.connect(_follow_beat, weak=False)


def _heartbeat(sender: Any, **_: Any) -> None:
    eventer = sender.eventer
    taken = list(eventer.app.amqp.queues.consume_from)
    _now_and_then("worker", lambda: worker_lives(eventer.hostname, taken))


def _follow_beat(**_: Any) -> None:
    signals.before_task_publish.connect(_published, weak=False)


def _published(**_: Any) -> None:
    _now_and_then("beat", beat_ticks)


_said_at: dict[str, float] = {}


def _now_and_then(what: str, say: Callable[[], None]) -> None:
    """Redis that is away must not stop a worker or the beat."""
    now = time.monotonic()
    if now - _said_at.get(what, -_EVERY) < _EVERY:
        return
    _said_at[what] = now
    try:
        say()
    except RedisError as error:
        _log.warning("No heartbeat could be left", what=what, error=str(error))


def _say(key: str, **more: object) -> None:
    _redis().hset(_KEY, key, json.dumps({"at": time.time(), **more}))


def _at(value: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(value["at"], UTC)


@cache
def _redis() -> Any:
    return Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=_SECONDS,
        socket_connect_timeout=_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
