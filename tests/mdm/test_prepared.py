"""Statements of the device path go to libpq: what goes in comes out, and errors are Django's."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import DataError, IntegrityError, OperationalError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from mdm import prepared
from mdm.models import Enrollment

pytestmark = pytest.mark.django_db(transaction=True)

ECHO = """
SELECT %(text)s::text AS text, %(data)s::bytea AS data, %(number)s::bigint AS number,
       %(flag)s::boolean AS flag, %(at)s::timestamptz AS at, (%(uuid)s::uuid)::text AS uuid,
       %(text)s::text AS again
"""


def backend() -> int:
    return prepared.run("SELECT pg_backend_pid()", {}).values[0][0]


@given(
    st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    st.none() | st.binary(),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.booleans(),
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.none() | st.uuids(),
)
def test_every_value_comes_back_as_it_went_out(text, data, number, flag, at, uuid):
    given = {"text": text, "data": data, "number": number, "flag": flag, "at": at, "uuid": uuid}
    expected = {**given, "uuid": uuid and str(uuid), "again": text}
    names, rows = prepared.run(ECHO, {**given, "not used": object()})
    assert [dict(zip(names, row, strict=True)) for row in rows] == [expected]
    with transaction.atomic():  # Django's own cursor
        names, rows = prepared.run(ECHO, given)
    read = dict(zip(names, rows[0], strict=True))
    assert {**read, "data": read["data"] and bytes(read["data"])} == {**expected, "data": data}


def test_a_time_of_another_zone_is_the_same_moment():
    there = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=-7)))
    assert prepared.run("SELECT %(at)s::timestamptz", {"at": there}).values == [(there,)]


def test_a_word_of_a_choice_is_text():
    word = Enrollment.State.ENROLLED
    assert prepared.run("SELECT %(word)s::text", {"word": word}).values == [("Enrolled",)]


def test_a_zero_byte_in_a_text_is_refused_and_ends_nothing_early():
    with pytest.raises(DataError):
        prepared.run("SELECT %(text)s::text", {"text": "before\0after"})
    assert prepared.run("SELECT 1::bigint", {}).values == [(1,)]


def test_what_the_database_refuses_is_an_error_of_django():
    statement = """
    INSERT INTO mdm_enrollmentperiod (enrollment_id, began_at, ended_by)
    VALUES (%(of)s, now(), NULL)
    """
    with pytest.raises(IntegrityError):
        prepared.run(statement, {"of": 1})


def test_a_value_of_no_known_type_is_refused_before_anything_is_sent():
    with pytest.raises(TypeError, match="float"):
        prepared.run("SELECT %(number)s", {"number": 1.5})


def test_a_connection_that_died_is_an_operational_error_and_the_next_one_serves():
    victim = backend()
    with connection.copy().cursor() as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [victim])
        other.connection.close()
    with pytest.raises(OperationalError):
        backend()
    connection.close()
    assert backend() != victim


def test_what_psycopg_deallocates_is_prepared_again():
    before = backend()
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    assert backend() == before


def test_a_statement_of_a_transaction_goes_when_that_is_rolled_back():
    named = {"name": str(uuid.uuid4())}
    insert = """
    INSERT INTO webhooks_event (at, kind, subject, data) VALUES (now(), 'test', %(name)s, '{}')
    RETURNING id
    """
    count = "SELECT count(*) FROM webhooks_event WHERE subject = %(name)s"
    with transaction.atomic():
        prepared.run(insert, named)
        transaction.set_rollback(True)
    assert prepared.run(count, named).values == [(0,)]
    prepared.run(insert, named)
    assert prepared.run(count, named).values == [(1,)]


@pytest.fixture(autouse=True)
def _fresh_connection(transactional_db: None) -> Iterator[None]:
    yield
    connection.close()
