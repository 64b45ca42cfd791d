"""Enrollment links as admins make and close them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from enrollment import links
from enrollment.errors import BadLink, ExpiredLink, RevokedLink, UnknownLink, UsedUpLink
from enrollment.models import EnrollmentLink
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed

pytestmark = pytest.mark.django_db


def token_of(link: EnrollmentLink) -> str:
    return links.url(link).rstrip("/").rsplit("/", 1)[1]


def test_a_link_leads_to_its_page_on_the_public_address(link: EnrollmentLink) -> None:
    assert links.url(link).startswith("https://localhost:8443/enroll/")
    assert links.follow(token_of(link)) == link


def test_the_table_does_not_hold_the_address(link: EnrollmentLink) -> None:
    row = EnrollmentLink.objects.values().get()
    assert token_of(link).encode() not in bytes(row["sealed_token"]) + bytes(row["token_sha256"])


def test_two_links_have_two_addresses(admin: Actor) -> None:
    first, second = (links.create(admin, name="Same") for _ in range(2))
    assert links.url(first) != links.url(second)


@pytest.mark.parametrize("token", ["", "unknown", "nul\0", "\ud800", "x" * 10_000])
def test_an_unknown_address_leads_nowhere(token: str) -> None:
    with pytest.raises(UnknownLink):
        links.follow(token)


def test_an_expired_link_is_closed(link: EnrollmentLink) -> None:
    EnrollmentLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(ExpiredLink):
        links.follow(token_of(link))


def test_a_used_up_link_is_closed(link: EnrollmentLink) -> None:
    EnrollmentLink.objects.update(uses=3)
    with pytest.raises(UsedUpLink):
        links.follow(token_of(link))


def test_a_revoked_link_is_closed_and_says_by_whom(admin: Actor, link: EnrollmentLink) -> None:
    links.revoke(admin, link)
    assert EnrollmentLink.objects.get().revoked_by == "test"
    with pytest.raises(RevokedLink):
        links.follow(token_of(link))


def test_revoking_twice_keeps_the_first_time(admin: Actor, link: EnrollmentLink) -> None:
    first = links.revoke(admin, link).revoked_at
    assert links.revoke(admin, link).revoked_at == first
    assert AuditEvent.objects.filter(action="link.revoke").count() == 1


def test_making_a_link_is_on_record_without_its_address(link: EnrollmentLink) -> None:
    event = AuditEvent.objects.get(action="link.create")
    assert (event.actor_name, event.subject_id) == ("test", str(link.pk))
    assert token_of(link) not in str(event.after)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"name": "line\nbreak"}, "name"),
        ({"max_uses": 0}, "max_uses"),
        ({"max_uses": 100_001}, "max_uses"),
        ({"expires_at": timezone.now() - timedelta(days=1)}, "expires_at"),
        ({"serial_number": "C02 OR 1=1"}, "serial_number"),
        ({"serial_number": "C" * 65}, "serial_number"),
    ],
)
def test_a_link_that_makes_no_sense_is_refused(
    admin: Actor, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadLink) as refused:
        links.create(admin, **{"name": "Sales"} | changes)
    assert refused.value.field == field
    assert not EnrollmentLink.objects.exists()


def test_who_is_switched_off_makes_and_closes_no_links(link: EnrollmentLink) -> None:
    former = Actor(kind=Actor.system("").kind, id="1", name="Former", active=False)
    with pytest.raises(NotAllowed):
        links.create(former, name="Mine")
    with pytest.raises(NotAllowed):
        links.revoke(former, link)
    assert EnrollmentLink.objects.get().revoked_at is None
