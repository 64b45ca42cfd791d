"""What was refused is counted by the hour, in few rows whoever asks how often."""

from __future__ import annotations

import dataclasses

import pytest
from django.core.cache import cache
from django.db import Error, connection
from django.test import Client

from mdm.accounts.rights import Role
from mdm.audit import refused
from mdm.audit.actor import Actor, Kind
from mdm.audit.models import AuditEvent, RefusedRequest
from tests.people import signed_in, someone

pytestmark = pytest.mark.django_db


def rows() -> list[tuple[str | None, str, str, int]]:
    found = RefusedRequest.objects.order_by("pk")
    return list(found.values_list("actor_kind", "actor_name", "action", "count"))


def stranger(address: str) -> Actor:
    return Actor(kind=None, id="", name="someone unknown", active=False, address=address)


def test_refusals_on_pages_and_in_the_api_are_summed_up() -> None:
    viewer = signed_in(someone(Role.VIEWER))

    for _ in range(2):
        assert viewer.get("/settings/audit/").status_code == 403
    assert viewer.get("/api/v1/people/").status_code == 403
    assert viewer.post("/api/v1/links/", {"name": "x"}).status_code == 403
    for token in ("guard_wrong", "nonsense"):
        assert Client(HTTP_AUTHORIZATION=f"Bearer {token}").get("/api/v1/links/").status_code == 401
    assert Client().get("/api/v1/links/").status_code == 401

    assert rows() == [
        ("person", "Viewer", "audit.read", 2),
        ("person", "Viewer", "people.read", 1),
        ("person", "Viewer", "link.create", 1),
        ("", "someone unknown", "token.use", 2),
    ]
    row = RefusedRequest.objects.earliest("pk")
    assert (row.address, row.first_at < row.last_at) == ("127.0.0.1", True)
    assert "It takes the role operator" in row.detail
    assert len(row.request_id) == 36
    # They are no events.
    assert not AuditEvent.objects.exists()


def test_failed_sign_ins_are_counted_without_what_was_typed_as_a_name() -> None:
    cache.clear()
    someone(Role.ADMIN, name="ada")

    for login in ("ada", "ADA@example.com", "my secret password", *(["ada"] * 5)):
        Client().post("/accounts/login/", {"login": login, "password": "wrong password"})

    assert rows() == [
        ("", "someone as Ada", "sign_in", 7),
        ("", "someone unknown", "sign_in", 1),
    ]
    assert "too many" in RefusedRequest.objects.earliest("pk").detail


def test_a_flood_fills_so_many_rows_and_hides_nobody_who_is_known(monkeypatch) -> None:
    monkeypatch.setattr(refused, "MOST", 3)
    for number in range(10):
        refused.count(stranger(f"10.0.0.{number}"), "token.use")
    refused.count(stranger("10.0.0.1"), "token.use")
    refused.count(stranger("10.0.0.9"), "sign_in")
    refused.count(Actor.person(someone(Role.VIEWER)), "audit.read")

    counted = {
        (row.actor_name, row.address, row.action): row.count for row in RefusedRequest.objects.all()
    }
    assert counted == {
        ("someone unknown", "10.0.0.0", "token.use"): 1,
        ("someone unknown", "10.0.0.1", "token.use"): 2,
        ("someone unknown", "10.0.0.2", "token.use"): 1,
        ("", "", "token.use"): 7,
        ("", "", "sign_in"): 1,
        ("Viewer", "", "audit.read"): 1,
    }
    assert RefusedRequest.objects.get(actor_kind=Kind.PERSON).count == 1


def test_one_who_asks_from_everywhere_leaves_the_others_their_names(monkeypatch) -> None:
    monkeypatch.setattr(refused, "MOST", 5)
    monkeypatch.setattr(refused, "EACH", 2)
    one, other = (Actor.person(someone(role)) for role in (Role.VIEWER, Role.OPERATOR))
    for number in (*range(9), 1, 0):
        refused.count(dataclasses.replace(one, address=f"10.0.0.{number}"), "audit.read")
    for action in ("people.read", "audit.read", "people.read"):
        refused.count(dataclasses.replace(other, address="10.1.0.1"), action)
    refused.count(dataclasses.replace(one, address="10.0.0.1"), "people.read")

    counted = {
        (row.actor_name, row.address, row.action): row.count for row in RefusedRequest.objects.all()
    }
    assert counted == {
        ("Viewer", "10.0.0.0", "audit.read"): 2,
        ("Viewer", "10.0.0.1", "audit.read"): 2,
        ("Viewer", "", "audit.read"): 7,
        ("Operator", "10.1.0.1", "people.read"): 2,
        ("Operator", "10.1.0.1", "audit.read"): 1,
        ("", "", "people.read"): 1,
    }


def test_what_cannot_be_counted_is_refused_all_the_same() -> None:
    def fail(execute, sql, params, many, context):
        if "audit_refusedrequest" in sql:
            raise Error("the disk is full")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail):
        assert signed_in(someone(Role.VIEWER)).get("/settings/audit/").status_code == 403
