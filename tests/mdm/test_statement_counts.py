"""How many SQL statements a device costs, BEGIN and COMMIT included; the baseline is data."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from commands import queue
from mdm import identity
from mdm.audit.actor import Actor
from mdm.models import Enrollment
from tests import machines
from tests.machines import Answered, Machine

BASELINE = json.loads((Path(__file__).parent / "statements.json").read_text())
LIMITS = {
    "Idle, nothing to do, seen just now": 1,
    "Idle, nothing to do, not seen for a while": 1,
    "Acknowledged, the next command waits": 4,
    "Authenticate of a new device": 5,
    "Authenticate of a device that comes back": 5,
    "TokenUpdate, the first": 5,
    "TokenUpdate, a later one": 5,
}

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def server(transactional_db):
    machines.install_authority()
    machines.install_push_certificate()
    # What a process reads once is not a device's cost.
    identity._authorities()


def held(name: str, act: Callable[[], Answered]) -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        answered = act()
    assert answered.status == 200
    statements = [query["sql"] for query in queries.captured_queries]
    assert len(statements) == BASELINE[name], "\n\n".join(statements)
    assert len(statements) <= LIMITS.get(name, 9)
    return statements


def ask(machine: Machine, request_type: str) -> uuid.UUID:
    made = queue.enqueue(
        Actor.system("test"),
        request_type=request_type,
        parameters={},
        enrollments=[machine.enrollment.pk],
    )
    return made.command.uuid


def written_rows() -> int:
    """How many rows this database has written so far, as Postgres counts them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables")
        return cursor.fetchone()[0]


def test_idle_with_nothing_to_do_is_one_statement_that_only_reads():
    machine = Machine.enrolled()
    machine.idle()
    before = written_rows()

    held("Idle, nothing to do, seen just now", machine.idle)

    assert written_rows() == before


def test_idle_after_a_while_is_one_statement_that_notes_the_contact():
    machine = Machine.enrolled()
    Enrollment.objects.update(last_seen_at=timezone.now() - timedelta(hours=1))

    held("Idle, nothing to do, not seen for a while", machine.idle)

    assert machine.enrollment.last_seen_at > timezone.now() - timedelta(minutes=1)


def test_commands_and_answers():
    machine = Machine.enrolled()
    first, second = ask(machine, "ProfileList"), ask(machine, "CertificateList")

    held("Idle, a command waits", machine.idle)
    held(
        "Acknowledged, the next command waits",
        lambda: machine.connect("Acknowledged", first, ProfileList=[]),
    )
    held("NotNow", lambda: machine.connect("NotNow", second))


def test_enrolling_and_coming_back():
    machine = Machine.new()

    held("Authenticate of a new device", machine.authenticate)
    held("TokenUpdate, the first", lambda: machine.token_update(UnlockToken=b"x" * 4000))
    held("TokenUpdate, a later one", machine.token_update)
    held("Authenticate of a device that comes back", machine.authenticate)
    machine.token_update()
    user = {"UserID": str(uuid.uuid4()), "UserShortName": "ada"}
    held("TokenUpdate of a user", lambda: machine.token_update(**user))
    held("CheckOut", lambda: machine.check_in("CheckOut", Topic=machine.topic, **user))
