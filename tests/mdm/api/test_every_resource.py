"""Every resource of the router answers with the `fields` that are asked for, and with an ETag."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from mdm.accounts.models import User
from mdm.api.resources import Resource
from mdm.api_urls import router
from tests.abm.pages.conftest import connect, listed, noted
from tests.mdm.api.test_access import signed_in
from tests.mdm.dashboard.conftest import enroll, machine
from tests.mdm.dashboard.test_offers import world

__all__ = ["connect", "enroll", "listed", "machine", "noted", "world"]

pytestmark = pytest.mark.django_db


def _listed(prefix: str, client: APIClient, **asked: str) -> Any:
    body = client.get(f"/api/v1/{prefix}/", asked).json()
    return body["results"] if isinstance(body, dict) else body


def test_every_resource_has_fields_and_validators(api: APIClient, admin: User, world: Any) -> None:
    client = signed_in(admin)
    retrieved = 0

    for prefix, view, _ in router.registry:
        assert issubclass(view, Resource), prefix
        rows = _listed(prefix, client)
        address = f"/api/v1/{prefix}/"

        unknown = client.get(address, {"fields": "nonsense"})
        (error,) = unknown.json()["errors"]
        known = error["detail"].partition(" There are ")[2].removesuffix(".").split(", ")
        name = known[-1]
        sparse = client.get(address, {"fields": name})
        etag = client.get(address)["ETag"]

        assert not rows or set(_listed(prefix, client, fields=name)[0]) == {name}, prefix
        assert (sparse["ETag"] != etag) == (bool(rows) and len(known) > 1), prefix
        assert unknown.status_code == 400, prefix
        assert error["attr"] == "fields", prefix
        assert not rows or known == list(rows[0]), prefix
        assert client.get(address, headers={"If-None-Match": etag}).status_code == 304, prefix
        assert client.get(address, headers={"If-None-Match": '"x"'}).status_code == 200, prefix
        if rows and hasattr(view, "retrieve"):
            one = f"{address}{rows[0]['id' if view.lookup_field == 'pk' else view.lookup_field]}/"
            etag = client.get(one)["ETag"]
            assert client.get(one, headers={"If-None-Match": f"W/{etag}"}).status_code == 304, one
            assert set(client.get(one, {"fields": name}).json()) == {name}, one
            retrieved += 1
    assert retrieved > 12


def test_what_is_not_asked_for_is_not_worked_out(api: APIClient, world: Any) -> None:
    with CaptureQueriesContext(connection) as all_of_it:
        api.get("/api/v1/commands/")
    with CaptureQueriesContext(connection) as less:
        api.get("/api/v1/commands/", {"fields": "uuid,request_type"})

    assert len(less) < len(all_of_it)
