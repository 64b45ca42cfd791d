"""Enrollment links through the API."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from enrollment import links
from enrollment.models import EnrollmentLink
from mdm.audit.models import AuditEvent

pytestmark = pytest.mark.django_db


def make(api, **wanted):
    return api.post("/api/v1/links/", {"name": "Office", **wanted}, format="json")


def test_a_links_address_is_shown_when_it_is_made_and_not_in_lists(api):
    made = make(api, max_uses=5).json()

    token = made["url"].rstrip("/").rsplit("/", 1)[1]
    assert links.follow(token).pk == made["id"]
    assert made["max_uses"] == 5
    for address in ("/api/v1/links/", f"/api/v1/links/{made['id']}/"):
        text = api.get(address).text
        assert token not in text
        assert "sealed" not in text


def test_the_address_of_an_open_link_is_shown_to_who_says_what_for(api):
    made = make(api).json()
    address = f"/api/v1/links/{made['id']}/address/"

    refused = api.post(address, {}, format="json")
    assert (refused.status_code, refused.json()["errors"][0]["attr"]) == (400, "reason")
    assert api.post(address, {"reason": "a\nb"}, format="json").status_code == 400
    shown = api.post(address, {"reason": "the poster"}, format="json")
    assert shown.json() == {"url": made["url"]}
    assert shown["Cache-Control"] == "no-store"
    event = AuditEvent.objects.get(action="link.read_address")
    assert (event.actor_kind, event.after) == ("token", {"reason": "the poster"})

    # An answer that is kept would be a reading without a row.
    kept = api.post(address, {"reason": "x"}, format="json", headers={"Idempotency-Key": "1"})
    assert (kept.status_code, kept.json()["errors"][0]["attr"]) == (400, "Idempotency-Key")

    api.post(f"/api/v1/links/{made['id']}/revoke/")
    assert api.post(address, {"reason": "x"}, format="json").status_code == 409


@pytest.mark.parametrize(
    ("wanted", "attr"),
    [
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"max_uses": 0}, "max_uses"),
        ({"max_uses": 10**9}, "max_uses"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
        ({"serial_number": "no serial!"}, "serial_number"),
    ],
)
def test_a_link_that_cannot_be_is_told_of_by_field(api, wanted, attr):
    refused = make(api, **wanted)

    assert refused.status_code == 400
    assert refused.json()["errors"][0]["attr"] == attr
    assert not EnrollmentLink.objects.exists()


def test_what_a_client_may_not_say_of_a_link_is_ignored(api):
    made = make(api, uses=-5, access_rights=1, created_by="nobody", revoked_at=None, id=77).json()

    link = EnrollmentLink.objects.get()
    assert (link.pk, link.uses, link.access_rights) == (made["id"], 0, 8191)
    assert link.created_by == "tests (ada)"


def test_a_revoked_link_is_closed(api):
    made = make(api, expires_at=(timezone.now() + timedelta(days=1)).isoformat()).json()
    assert made["open"]

    revoked = api.post(f"/api/v1/links/{made['id']}/revoke/").json()

    assert not revoked["open"]
    assert revoked["revoked_by"] == "tests (ada)"
    assert not api.get("/api/v1/links/").json()["results"][0]["open"]


def test_a_link_is_not_changed_afterwards(api):
    made = make(api).json()

    assert api.patch(f"/api/v1/links/{made['id']}/", {"max_uses": 99}).status_code == 405
    assert api.delete(f"/api/v1/links/{made['id']}/").status_code == 405
