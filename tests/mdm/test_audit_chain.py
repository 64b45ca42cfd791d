"""The chain over the audit log: how rows get into it, and that nothing can be done to them after
that which `manage.py audit verify` does not find.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from mdm import rotation
from mdm.audit import seal
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent, ChainKey
from mdm.audit.record import record
from tests import steps

SYSTEM = Actor.system("test")


def write(count: int = 1, **columns: object) -> None:
    for number in range(count):
        event = record(
            SYSTEM,
            "thing.change",
            subject_kind="thing",
            subject_id=number,
            before={"a": 0.1, "z": None},
            after={"ü": [1, {"b": True}]},
        )
        if columns:
            AuditEvent.objects.filter(pk=event.pk).update(**columns)


def numbers() -> list[int | None]:
    return list(AuditEvent.objects.order_by("pk").values_list("sealed_as", flat=True))


def breaks(known: seal.Head | None = None) -> list[tuple[int, str]]:
    """What is broken: the numbers, and the beginning of what is said of them."""
    report = seal.verify(SYSTEM, known)
    assert report.broken == len(report.breaks)
    return [(each.number, each.what) for each in report.breaks]


@contextmanager
def tampering() -> Iterator[None]:
    """As whoever owns the database could."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")
        cursor.execute("DROP INDEX IF EXISTS audit_chain")
        yield


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


# --- Sealing --------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_rows_are_sealed_in_steps_and_each_follows_the_one_before() -> None:
    write(7)
    assert seal.seal(rows=3) == 7
    write(2)
    assert (seal.seal(rows=3), seal.seal()) == (2, 0)

    assert numbers() == list(range(1, 10))
    assert breaks() == []
    assert seal.head().number == 9
    assert all(seal.holds(event) for event in AuditEvent.objects.all())


@pytest.mark.django_db(transaction=True)
def test_a_row_that_is_committed_late_comes_at_the_end_and_nobody_waits() -> None:
    with transaction.atomic():
        write()
        late = AuditEvent.objects.get()
        # Others write and seal while this one is not committed, and wait for nothing.
        others = steps.Meanwhile(lambda: (write(3), seal.seal()))
        assert not others.waits
        assert others.returned() == (None, 3)
    assert seal.seal() == 1

    late.refresh_from_db()
    assert late.pk < AuditEvent.objects.latest("pk").pk
    assert numbers() == [4, 1, 2, 3]
    assert breaks() == []


@pytest.mark.django_db(transaction=True)
def test_many_who_seal_at_once_make_one_chain() -> None:
    write(30)

    def work() -> None:
        while AuditEvent.objects.filter(sealed_as=None).exists():
            seal.seal(rows=2)

    threads = [steps.in_thread(work) for _ in range(3)]
    for thread in threads:
        thread.join()

    assert sorted(numbers()) == list(range(1, 31))
    assert breaks() == []
    assert ChainKey.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_sealer_that_is_killed_leaves_a_chain_that_the_next_one_goes_on_with() -> None:
    write(6)
    with (
        steps.killed_before("UPDATE audit_auditevent", after=1),
        pytest.raises(steps.Killed),
    ):
        seal.seal(rows=2)
    assert numbers() == [1, 2, None, None, None, None]
    assert breaks() == []

    assert seal.seal(rows=2) == 4
    assert breaks() == []


# --- Append-only ----------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_auditevent",
        "TRUNCATE audit_auditevent",
        "UPDATE audit_auditevent SET action = 'x' WHERE sealed_as IS NULL",
        "UPDATE audit_auditevent SET before = NULL WHERE sealed_as IS NULL",
        "UPDATE audit_auditevent SET sealed_as = 7, sealed_hash = '', address = 'x'"
        " WHERE sealed_as IS NULL",
        "UPDATE audit_auditevent SET sealed_as = NULL, sealed_hash = NULL",
        "UPDATE audit_auditevent SET sealed_hash = '' WHERE sealed_as = 1",
        "INSERT INTO audit_auditevent (at, actor_kind, actor_id, actor_name, address, request_id,"
        " action, subject_kind, subject_id, sealed_as, sealed_hash)"
        " VALUES (now(), '', '', '', '', '', '', '', '', 3, '')",
    ],
)
def test_postgres_itself_refuses_what_is_not_adding(statement: str) -> None:
    write()
    seal.seal()
    write()
    execute("ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER audit_no_truncate")

    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        execute(statement)
    if not statement.startswith("INSERT"):
        execute("SET LOCAL session_replication_role = replica")
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            execute(statement)

    assert breaks() == []


# --- Tampering ------------------------------------------------------------------------------------

_OTHER = {
    "id": 10**9,
    "at": timezone.now() - timedelta(microseconds=1),
    "before": {"a": 0.10000000000000002, "z": None},
    "after": None,
}
_SEALED = [
    field.name
    for field in AuditEvent._meta.concrete_fields
    if field.name not in {"sealed_as", "sealed_hash"}
]


@pytest.mark.django_db
def test_a_change_of_any_column_is_found_at_its_row() -> None:
    write(5)
    seal.seal()

    for column in _SEALED:
        for number in (1, 3, 5):
            before = transaction.savepoint()
            with tampering():
                changed = AuditEvent.objects.filter(sealed_as=number)
                changed.update(**{column: _OTHER.get(column, "other")})

            [(found, what)] = breaks()
            assert found == number, column
            assert "is not what was sealed" in what
            held = {event.sealed_as for event in AuditEvent.objects.all() if seal.holds(event)}
            assert held == {1, 2, 3, 4, 5} - {number}
            transaction.savepoint_rollback(before)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("done", "found"),
    [
        ("DELETE FROM audit_auditevent WHERE sealed_as = 3", [(3, "is missing")]),
        ("DELETE FROM audit_auditevent WHERE sealed_as < 3", [(1, "is missing, and so are all")]),
        (
            "DELETE FROM audit_auditevent WHERE sealed_as = 3;"
            "UPDATE audit_auditevent SET sealed_as = sealed_as - 1 WHERE sealed_as > 3",
            [(3, "is not what was sealed: it was changed, or rows before it were taken out")],
        ),
        (
            "UPDATE audit_auditevent SET sealed_as = sealed_as + 1 WHERE sealed_as > 2;"
            "INSERT INTO audit_auditevent (at, actor_kind, actor_id, actor_name, address,"
            " request_id, action, subject_kind, subject_id, sealed_as, sealed_hash)"
            " VALUES (now(), '', '', '', '', '', '', '', '', 3, '\\x00')",
            [(3, "was put in")],
        ),
        ("UPDATE audit_auditevent SET sealed_as = 3 WHERE sealed_as = 4", [(3, "has the number")]),
        (
            "UPDATE audit_auditevent SET sealed_hash = '\\x00' WHERE sealed_as = 3",
            [(3, "is as it was, but its hash was changed")],
        ),
        (
            "UPDATE audit_auditevent SET sealed_as = 7 - sealed_as WHERE sealed_as IN (3, 4)",
            [(3, "was put in"), (5, "is not what was sealed: it was changed, or rows before it")],
        ),
        ("DELETE FROM audit_auditevent WHERE sealed_as > 4", []),
    ],
)
def test_what_was_taken_out_or_put_in_is_found(done: str, found: list[tuple[int, str]]) -> None:
    write(6)
    seal.seal()
    head = seal.head()

    with tampering():
        for statement in done.split(";"):
            execute(statement)

    told = breaks()
    assert [number for number, _ in told][: len(found)] == [number for number, _ in found]
    assert all(what.startswith(words) for (_, what), (_, words) in zip(told, found, strict=False))
    # That the end was cut off only a head tells that was kept elsewhere.
    if not found:
        assert told == []
        assert breaks(head) == [(6, "is missing: the end of the chain was cut off")]


@pytest.mark.django_db
def test_an_end_that_was_made_anew_does_not_have_the_head_of_before() -> None:
    write(3)
    seal.seal()
    head = seal.head()
    with tampering():
        execute(
            "UPDATE audit_auditevent SET sealed_as = NULL, sealed_hash = NULL, action = 'x'"
            " WHERE sealed_as = 3"
        )
    seal.seal()

    assert breaks() == []
    assert breaks(head) == [(3, "has another hash than was written down elsewhere")]
    assert breaks(dataclasses.replace(head, number=2))[0][0] == 2


@pytest.mark.django_db
def test_another_key_makes_no_chain_that_holds() -> None:
    write(2)
    seal.seal()
    with tampering():
        execute("UPDATE audit_auditevent SET sealed_as = NULL, sealed_hash = NULL")
        ChainKey.objects.all().delete()
        AuditEvent.objects.filter(sealed_as=None).update(actor_name="somebody else")
        seal.seal()
    head = seal.head()
    execute("ALTER TABLE audit_auditevent ENABLE TRIGGER USER")

    # Whoever takes the key away with the whole chain is found by a head alone.
    assert breaks() == []
    ChainKey.objects.all().delete()
    with pytest.raises(seal.ChainError, match="gone"):
        seal.verify(SYSTEM)
    write()
    with pytest.raises(seal.ChainError, match="gone"):
        seal.seal()
    assert seal.head() == head


# --- The commands ---------------------------------------------------------------------------------


def told(*command: str) -> str:
    out = StringIO()
    call_command("audit", *command, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_verify_says_what_it_found_and_fails_where_the_chain_is_broken() -> None:
    assert "0 rows are sealed" in told("verify")
    write(4)
    seal.seal()
    write()
    head = str(seal.head())

    said = told("verify", "--head", head)
    assert "4 rows are sealed, 1 are not sealed yet." in said
    assert f"Head: {head}" in said
    assert "unbroken" in said

    with tampering():
        AuditEvent.objects.filter(sealed_as=2).update(subject_id="9")
    event = AuditEvent.objects.get(sealed_as=2)
    out = StringIO()
    with pytest.raises(CommandError, match="broken") as failed:
        call_command("audit", "verify", stdout=out)
    assert failed.value.returncode == 1
    assert f"Number 2 (event {event.pk}) is not what was sealed" in out.getvalue()
    for wrong in ("x", "0:00", "4:zz", head[:-1]):
        with pytest.raises(CommandError, match=r"verify. prints it"):
            call_command("audit", "verify", "--head", wrong)


@pytest.mark.django_db
def test_the_chain_outlives_a_rotation_of_keys(settings) -> None:
    write(3)
    seal.seal()
    settings.ENCRYPTION_KEYS = (os.urandom(32), *settings.ENCRYPTION_KEYS)
    rotation.rotate(SYSTEM)
    settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS[:1]
    seal.seal()

    assert breaks() == []
    settings.ENCRYPTION_KEYS = (os.urandom(32),)
    with pytest.raises(CommandError, match="cannot be opened"):
        told("verify")


@pytest.mark.django_db
def test_export_prints_what_is_between_two_moments_and_is_recorded() -> None:
    write(3)
    seal.seal()
    with tampering():
        AuditEvent.objects.filter(sealed_as=1).update(at="2026-01-01T00:00:00Z")
        AuditEvent.objects.filter(sealed_as=2).update(at="2026-01-02T00:00:00Z", actor_name="=1+1")

    [line] = told("export", "--since", "2026-01-02", "--until", "2026-01-02T00:01").splitlines()
    assert json.loads(line)["before"] == {"a": 0.1, "z": None}
    assert json.loads(line)["sealed_as"] == 2
    heads, row = told("export", "--format", "csv", "--until", "2026-01-02T00:00:01").splitlines()[
        ::2
    ]
    assert heads.startswith("id,at,actor_kind")
    assert "'=1+1" in row
    event = AuditEvent.objects.filter(action="audit.export").earliest("pk")
    assert event.after["since"] == "2026-01-02T00:00:00+00:00"
    with pytest.raises(CommandError, match="give a date"):
        told("export", "--since", "yesterday")
