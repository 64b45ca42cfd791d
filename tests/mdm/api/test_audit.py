"""The audit log through the API: read, filtered, never changed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from mdm.audit import refused, seal
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import record

pytestmark = pytest.mark.django_db

EVENTS = "/api/v1/audit-events/"
REFUSED = "/api/v1/refused-requests/"


def test_events_are_listed_newest_first_with_their_seal(api):
    for number in range(3):
        record(
            Actor.system("x"), "thing.make", subject_kind="thing", subject_id=number, after={"n": 1}
        )
    seal.seal()

    page = api.get(EVENTS, {"subject_kind": "thing", "page_size": 2}).json()

    assert [row["subject_id"] for row in page["results"]] == ["2", "1"]
    assert page["results"][0]["after"] == {"n": 1}
    head = seal.head()
    assert page["results"][0]["sealed_as"] == head.number
    assert page["results"][0]["sealed_hash"] == head.hash.hex()
    assert [row["subject_id"] for row in api.get(page["next"]).json()["results"]] == ["0"]
    one = page["results"][0]
    assert api.get(f"{EVENTS}{one['id']}/").json() == one


def test_events_are_filtered_by_every_column_that_one_asks_by(api):
    row = {
        "actor_kind": "device",
        "actor_id": "K1",
        "address": "192.0.2.9",
        "request_id": "c0ffee",
        "action": "thing.read",
        "subject_kind": "thing",
        "subject_id": "7",
    }
    other = dict.fromkeys(row, "other") | {"actor_kind": "system"}
    for at, columns in (("2026-03-05T12:00:00Z", row), ("2026-03-06T12:00:00Z", other)):
        AuditEvent.objects.create(at=at, actor_name="x", **columns)
    period = {"since": "2026-03-05T00:00:00Z", "until": "2026-03-07T00:00:00Z"}
    assert len(api.get(EVENTS, period).json()["results"]) == 2

    narrower = [{name: value} for name, value in row.items()]
    narrower += [{"until": "2026-03-06T12:00:00Z"}, {"search": "c0ffee"}, {"search": "thing"}]
    for query in narrower:
        found = api.get(EVENTS, {**period, **query}).json()["results"]
        assert [each["action"] for each in found] == ["thing.read"], query


@pytest.mark.parametrize(("address", "what"), [(EVENTS, "events"), (REFUSED, "refused requests")])
def test_taking_it_out_is_recorded_once_an_hour(api, address, what, monkeypatch):
    api.get(address, {"action": "thing.make"})
    api.get(address)

    noted = AuditEvent.objects.get(action="audit.export")
    assert (noted.subject_id, noted.after) == (what, {"format": "api", "action": "thing.make"})
    monkeypatch.setattr(timezone, "now", lambda: noted.at + timedelta(hours=1))
    api.get(address)
    assert AuditEvent.objects.filter(action="audit.export").count() == 2


def test_refused_requests_are_listed(api):
    for address in ("192.0.2.9", "192.0.2.9", "192.0.2.1"):
        who = Actor(kind=None, id="", name="someone unknown", address=address)
        refused.count(who, "token.use", "Invalid token.")

    for query in ({"address": "192.0.2.9"}, {"address": "192.0.2.9", "action": "token.use"}):
        [row] = api.get(REFUSED, query).json()["results"]
        assert (row["actor_kind"], row["count"], row["detail"]) == ("", 2, "Invalid token.")
    assert api.get(REFUSED, {"since": "2999-01-01T00:00:00Z"}).json()["results"] == []
    assert len(api.get(REFUSED, {"until": "2999-01-01T00:00:00Z"}).json()["results"]) == 2


def test_nobody_changes_either(api):
    event = AuditEvent.objects.latest("pk")
    for address in (EVENTS, f"{EVENTS}{event.pk}/", REFUSED):
        for method in ("post", "put", "patch", "delete"):
            assert getattr(api, method)(address, {}).status_code == 405
