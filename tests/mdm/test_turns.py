"""Turns: few connections to Postgres however many threads, and none is ever lost."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from django.core.signals import request_finished
from django.db import connection, connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from mdm import turns
from mdm.turns import TURNS, Turn
from mdm.wsgi import application
from tests.e2e.waiting import until

T = TypeVar("T")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_turns() -> Iterator[None]:
    yield
    # The database goes with the run, and nobody may be connected to it then.
    for one in [turns._take() for _ in range(TURNS)]:
        one.close()
        turns._give(one)


def in_a_thread(act: Callable[[], T]) -> T:
    """As a thread of the web server does it, without a connection of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(act).result()


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def count(query: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {query}")
        return cursor.fetchone()[0]


# pg_locks tells of every database of the cluster, so of other tests' too.
WAITING = (
    "pg_locks WHERE locktype = 'advisory' AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
OTHERS = (
    "pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    " AND pid <> pg_backend_pid()"
)


# --- Turns themselves


def test_more_threads_than_turns_have_no_more_connections():
    def work() -> int:
        with Turn(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock_shared(1)")
            return backend()

    with ThreadPoolExecutor(5 * TURNS) as pool, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(1)")
        done = [pool.submit(work) for _ in range(5 * TURNS)]
        until(lambda: count(WAITING) >= TURNS)
        cursor.execute("SELECT pg_advisory_unlock(1)")
        used = {each.result() for each in done}

    assert len(used) == count(OTHERS) == TURNS


def test_whoever_has_waited_longest_is_next():
    taken = [turns._take() for _ in range(TURNS)]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(turns._take)
        until(lambda: len(turns._waiting) == 1)
        second = pool.submit(turns._take)
        until(lambda: len(turns._waiting) == 2)

        turns._give(taken[0])
        # Nobody who comes now gets it, however fast.
        assert not turns._free
        assert first.result() is taken[0]
        assert len(turns._waiting) == 1
        turns._give(taken[1])
        assert second.result() is taken[1]
    for one in taken:
        turns._give(one)


def test_a_turn_is_given_back_after_an_exception():
    def fail() -> None:
        with Turn():
            backend()
            raise LookupError

    for _ in range(TURNS):
        with pytest.raises(LookupError):
            in_a_thread(fail)

    assert len(turns._free) == TURNS


def test_a_thread_is_left_without_a_connection():
    def work() -> list[object]:
        with Turn():
            backend()
        return connections.all(initialized_only=True)

    assert in_a_thread(work) == []


def test_a_thread_keeps_the_connection_that_is_its_own():
    own = backend()

    with Turn():
        assert backend() == own
        assert len(turns._free) == TURNS


# --- Through the application


def _rows() -> Iterator[str]:
    yield f"{backend()}"
    yield "," * 100_000


def _broken_rows() -> Iterator[str]:
    yield f"{backend()}"
    raise LookupError


def _plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{backend()},")


def _streamed(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(_rows())


def _broken(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(_broken_rows())


@pytest.fixture
def pages(settings) -> None:
    routes = [path("plain/", _plain), path("streamed/", _streamed), path("broken/", _broken)]
    settings.ROOT_URLCONF = tuple(routes)


def get(page: str):
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": page,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    return application(environ, lambda status, headers: None)


@pytest.mark.parametrize("page", ["/plain/", "/streamed/"])
def test_an_answer_that_nobody_takes_holds_no_turn(pages, page):
    finished = []
    request_finished.connect(
        lambda **given: finished.append(backend()), weak=False, dispatch_uid=page
    )
    try:
        answer = in_a_thread(lambda: get(page))
    finally:
        request_finished.disconnect(dispatch_uid=page)

    assert len(turns._free) == TURNS
    # The request ended while its turn was held.
    whole = b"".join(answer)
    assert finished == [int(whole.partition(b",")[0])]
    assert in_a_thread(lambda: connections.all(initialized_only=True)) == []


def test_an_answer_that_breaks_off_is_none_and_holds_no_turn(pages):
    with pytest.raises(LookupError):
        in_a_thread(lambda: get("/broken/"))

    assert len(turns._free) == TURNS
