"""The audit log's pages: finding an event, one event with its seal, taking them out."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.utils import timezone

from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit import refused, seal
from mdm.audit.actor import Actor, Kind
from mdm.audit.models import AuditEvent, RefusedRequest
from mdm.audit.record import record
from mdm.models import Identity
from mdm.pages import panels
from tests import steps
from tests.mdm.dashboard.conftest import Enroll
from tests.people import signed_in as as_user
from tests.people import someone

pytestmark = pytest.mark.django_db

ADDRESS = "/settings/audit/"


def event(action: str, name: str = "Ben", **columns: object) -> AuditEvent:
    return AuditEvent.objects.create(
        **{
            "at": datetime(2026, 3, 5, 12, tzinfo=UTC),
            "actor_kind": "person",
            "actor_id": "7",
            "actor_name": name,
            "action": action,
            "subject_kind": "device",
            "subject_id": "12",
            **columns,
        }
    )


@pytest.fixture
def _events(db: None) -> None:
    event("first.one", at=datetime(2026, 3, 1, tzinfo=UTC), subject_id="123")
    event("second.one", "Zoë", actor_id="8", address="192.0.2.9")
    event("third.one", request_id="c0ffee", actor_kind="token", subject_kind="a thing")
    ada = User.objects.create_user("ada2", "x@example.com", first_name="Ada", last_name="Lovelace")
    late = datetime(2026, 3, 9, 23, 59, tzinfo=UTC)
    event("fourth.one", "?", at=late, subject_id="C02 X", actor_id=str(ada.pk))


def test_a_device_has_what_was_done_about_it_and_its_enrollments_and_identities(
    signed_in: Client, enroll: Enroll
) -> None:
    device, other = enroll("C02X"), enroll("C03X")
    identity = Identity.objects.create(
        sha256=b"\1" * 32, expires_at=timezone.now(), enrollment=device.enrollment
    )
    key = device.enrollment.key
    event("a.pk", subject_id=str(device.pk))
    event("b.serial", subject_id="C02X", before={"name": "Old"}, after={"name": "New"})
    event("c.enrollment", subject_kind="enrollment", subject_id=key)
    event("d.identity", subject_kind="identity", subject_id=str(identity))
    event("e.kind", subject_kind="profile", subject_id=str(device.pk))
    event("f.other", subject_id=str(other.pk))
    event("g.other", subject_kind="enrollment", subject_id=other.enrollment.key)

    tab = signed_in.get(f"/devices/{device.pk}/audit/").text
    full = f"{ADDRESS}?device={device.pk}"

    assert f'href="{full}"' in tab
    assert "name: Old → New" in tab
    for page in (tab, signed_in.get(full).text):
        shown = list(re.findall(r">(\w\.\w+)</a>", page))
        assert shown == ["d.identity", "c.enrollment", "b.serial", "a.pk"]
    # One that was deleted is known by its number alone.
    for query, count in ((f"device={other.pk}", 2), ("device=99", 0), ("device=x", 0)):
        found = signed_in.get(f"{ADDRESS}?{query}").text
        assert found.count(".other</a>") == count


def test_the_tab_is_for_who_may_read_the_audit_log(enroll: Enroll) -> None:
    device = enroll()
    for role, shown in ((Role.APPROVER, True), (Role.HELPER, False)):
        client = as_user(someone(role))
        tab = f"/devices/{device.pk}/audit/"
        assert (tab in client.get(f"/devices/{device.pk}/").text) == shown
        assert client.get(tab).status_code == (200 if shown else 404)


def test_the_events_of_a_device_are_found_by_its_subjects(enroll: Enroll) -> None:
    device = enroll()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO audit_auditevent (at, actor_kind, actor_id, actor_name, address, request_id,
                                          action, subject_kind, subject_id)
            SELECT now() - n * interval '1 minute', 'person', '1', 'x', '', '', 'device.retire',
                   'device', 'n' || n FROM generate_series(1, 20000) n
            """
        )
        cursor.execute("ANALYZE audit_auditevent")

    with steps.plans("audit_auditevent") as found:
        panels.audit(device, QueryDict())

    assert len(found) == 1
    assert "audit_at" not in found[0]
    assert "Seq Scan" not in found[0]


@pytest.mark.usefixtures("_events")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=zoë", "second"),
        ("q=Zo", "second"),
        ("q=IRST", "first"),
        ("q=192.0.2.9", "second"),
        ("q=192.0.2", ""),
        ("q=c0ffee", "third"),
        ("q=C02+", "fourth"),
        ("q=12", "first second third"),
        ("q=ovela", "fourth"),
        ("q=%00", "first second third fourth"),
        ("action=third.one", "third"),
        ("by=token", "third"),
        ("since=2026-03-05&until=2026-03-05", "second third"),
        ("since=2026-03-09", "fourth"),
        ("until=2026-03-09", "first second third fourth"),
        ("since=soon", ""),
        ("until=soon", ""),
        ("until=9999-12-31", "first second third fourth"),
        ("who=person+8", "second"),
        ("who=token+7", "third"),
        ("subject=device+12", "second"),
        ("subject=device+C02+X", "fourth"),
        ("q=one&by=person&since=2026-03-02&who=person+8", "second"),
    ],
)
def test_events_are_found_by_who_what_where_and_when(
    signed_in: Client, query: str, found: str
) -> None:
    page = signed_in.get(f"{ADDRESS}?{query}").content.decode()

    for name in ("first", "second", "third", "fourth"):
        assert (f">{name}.one</a>" in page) == (name in found.split()), name


def test_an_event_tells_what_changed_and_whether_it_is_as_it_was_written(
    signed_in: Client,
) -> None:
    event("thing.make")
    one = event("thing.change", before={"a": 1, "b": [2]}, after={"a": "<b>", "b": [2], "c": None})
    path = f"{ADDRESS}{one.pk}/"

    page = signed_in.get(path).content.decode()
    assert "<del>1</del>" in page
    assert "<ins>&lt;b&gt;</ins>" in page
    assert "the same" in page
    assert "Not sealed yet" in page
    seal.seal()
    page = signed_in.get(path).content.decode()
    assert "Sealed as number 2" in page
    assert "follows number 1 in the chain" in page
    assert str(seal.head()) in page
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent DISABLE TRIGGER USER")
    AuditEvent.objects.filter(pk=one.pk).update(action="thing.keep")
    assert "Does not fit its seal" in signed_in.get(path).content.decode()
    assert signed_in.get(f"{ADDRESS}999999999/").status_code == 404


def test_the_list_says_how_far_it_is_sealed_and_when_that_stopped(signed_in: Client) -> None:
    record(Actor.system("x"), "thing.make", subject_kind="x", subject_id=1)
    page = signed_in.get(ADDRESS).content.decode()
    assert "Nothing is sealed yet" in page
    assert "not sealed, so" not in page
    assert "seal_audit" not in signed_in.get("/").content.decode()

    seal.seal()
    event("late.one", at=timezone.now() - timedelta(minutes=6))

    page = signed_in.get(ADDRESS).content.decode()
    assert "Sealed up to number 1" in page
    assert "not sealed, so a change of them could not be proven" in page
    for path in ("/", "/settings/health/", "/api/v1/health/"):
        assert "seal_audit" in signed_in.get(path).content.decode(), path
    assert "Audit log: not sealed since" in signed_in.get("/").content.decode()
    with pytest.raises(CommandError, match="are not sealed, so"):
        call_command("audit", "verify", stdout=StringIO())


@pytest.mark.usefixtures("_events")
def test_what_is_filtered_is_taken_out_and_that_is_recorded(signed_in: Client) -> None:
    event("fifth.one", "=1+1", before={"x": 1}, address="192.0.2.10")

    answer = signed_in.get(f"{ADDRESS}export.csv?q=one&by=person&since=2026-03-02&no=1")

    rows = list(csv.DictReader(answer.getvalue().decode().splitlines()))
    assert [(row["Who"], row["Did"], row["Before"]) for row in rows] == [
        ("?", "fourth.one", ""),
        ("'=1+1", "fifth.one", '{"x": 1}'),
        ("Zoë", "second.one", ""),
    ]
    told = AuditEvent.objects.get(action="audit.export")
    assert (told.subject_id, told.after) == (
        "events",
        {"format": "csv", "q": "one", "by": "person", "since": "2026-03-02"},
    )


@pytest.mark.parametrize(
    "address", [f"{ADDRESS}export.csv?q=%00a", "/api/v1/audit-events/?%00=%00"]
)
def test_what_postgres_cannot_store_is_no_reason_to_take_nothing_out(
    signed_in: Client, address: str
) -> None:
    assert signed_in.get(address).status_code == 200
    assert AuditEvent.objects.filter(action="audit.export").exists()


def test_what_was_refused_has_a_list_of_its_own(signed_in: Client) -> None:
    stranger = Actor(kind=None, id="", name="someone unknown", address="192.0.2.9")
    person = Actor(kind=Kind.PERSON, id="7", name="Ben")
    for actor, action in ((stranger, "token.use"), (person, "people.read")):
        refused.count(actor, action, "Because.")
    RefusedRequest.objects.filter(action="people.read").update(hour="2026-03-05T12:00:00Z")
    path = f"{ADDRESS}refused/"

    for query, found in {
        "": {"token.use", "people.read"},
        "?by=stranger": {"token.use"},
        "?q=ben": {"people.read"},
        "?q=192.0.2.9": {"token.use"},
        "?action=token.use": {"token.use"},
        "?until=2026-03-05": {"people.read"},
        "?since=2026-03-06": {"token.use"},
    }.items():
        page = signed_in.get(f"{path}{query}").content.decode()
        assert {name for name in ("token.use", "people.read") if f">{name}</td>" in page} == found
    lines = signed_in.get(f"{path}export.csv?by=person").getvalue().decode().splitlines()
    assert len(lines) == 2
    assert AuditEvent.objects.get(action="audit.export").after == {"format": "csv", "by": "person"}
