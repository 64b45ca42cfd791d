"""What devices that come by ADE say is bounded, and what is kept of them says what happened last.

Who gets in is `test_arrivals.py`.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from abm.models import AbmDevice, Server
from enrollment import challenges, links, minimum
from enrollment.errors import BadMinimum
from enrollment.models import Arrival, Challenge, MinimumOS, RefusedArrival
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed
from mdm.wsgi import application
from profiles import editing, following, giving
from profiles.models import Profile
from profiles.wire.content import new_content
from tests import machines
from tests.abm.connected import connect
from tests.enrollment import factory
from tests.enrollment.arriving import (
    ADMIN,
    SERIAL,
    come,
    defined,
    expire,
    identity,
    let_in,
    listed,
    path_of,
    refused,
)
from tests.machines import Answered

pytestmark = pytest.mark.django_db


def come_from(address: str, profile: Profile, message: bytes) -> Answered:
    return machines.call(
        application,
        "POST",
        path_of(profile),
        message,
        "application/pkcs7-signature",
        REMOTE_ADDR=address,
    )


# --- Bounds --------------------------------------------------------------------------------------


def test_however_much_a_device_says_of_itself_as_much_as_fits_is_kept(office: Profile) -> None:
    names = ("UDID", "PRODUCT", "OS_VERSION", "VERSION", "LANGUAGE")
    said: dict[str, Any] = dict.fromkeys(names, "9" * 5_000)
    let_in(come(office, factory.machine_info(SERIAL, **said)))
    [row] = Arrival.objects.all()
    assert (row.udid, row.product) == ("9" * 100, "9" * 100)
    assert (row.os_version, row.build, row.language) == ("9" * 64, "9" * 64, "9" * 64)


def test_a_large_message_is_read_and_one_byte_above_the_bound_is_not(office: Profile) -> None:
    large = factory.machine_info(SERIAL, PAIRING_TOKEN=b"x" * 40_000)
    assert 50_000 < len(large) <= 65_536
    let_in(come(office, large))
    assert come(office, b"x" * 65_536).status == 400
    assert come(office, b"x" * 65_537).status == 413


def test_a_serial_number_that_is_none_is_not_kept(office: Profile) -> None:
    come(office, factory.content("x" * 65))
    assert refused("unsigned").serial_number == ""


# --- What is kept --------------------------------------------------------------------------------


def test_a_repeated_case_keeps_its_beginning_and_says_what_came_last(office: Profile) -> None:
    come_from("192.0.2.1", office, factory.content(SERIAL))
    long_ago = timezone.now() - timedelta(days=3)
    RefusedArrival.objects.update(first_at=long_ago, last_at=long_ago, sentence="Earlier words.")
    come_from("192.0.2.2", office, factory.content(SERIAL))
    row = refused("unsigned")
    assert (row.count, row.address, row.first_at) == (2, "192.0.2.2", long_ago)
    assert row.last_at > long_ago
    assert row.sentence == "The message is not signed."


def test_where_it_came_from_is_kept(office: Profile) -> None:
    come_from("192.0.2.1", office, factory.content(SERIAL))
    assert refused("unsigned").address == "192.0.2.1"
    let_in(come_from("192.0.2.7", office, factory.machine_info(SERIAL)))
    assert Arrival.objects.get().address == "192.0.2.7"


def test_one_serial_number_has_a_row_for_each_reason(office: Profile) -> None:
    come(office, factory.content(SERIAL))
    come(office, factory.machine_info(SERIAL, foreign=True))
    rows = RefusedArrival.objects.order_by("reason").values_list("reason", "serial_number", "count")
    assert list(rows) == [("foreign", SERIAL, 1), ("unsigned", SERIAL, 1)]


def test_apples_word_stands_alone_where_there_are_no_details(office: Profile) -> None:
    said = json.loads(come(office, factory.machine_info("STRANGER01")).body)
    assert sorted(said) == ["code", "description"]


# --- The challenge -------------------------------------------------------------------------------


def test_whoever_asks_again_voids_nothing_of_others(ca: Any, office: Profile) -> None:
    listed(Server.objects.get(), "OTHERONE01")
    following.follow()
    other = let_in(come(office, factory.machine_info("OTHERONE01")))
    link = links.create(ADMIN, name="Own", max_uses=1, serial_number=SERIAL)
    challenges.for_link(link)
    let_in(come(office))
    let_in(come(office))

    kept = Challenge.objects.order_by("way", "serial_number").values_list("way", "serial_number")
    assert list(kept) == [("ade", SERIAL), ("ade", "OTHERONE01"), ("link", SERIAL)]
    assert identity(ca, other) is not None


def test_a_challenge_lasts_for_an_hour(office: Profile) -> None:
    before = timezone.now()
    let_in(come(office))
    until = Challenge.objects.get().expires_at
    assert before + timedelta(hours=1) <= until <= timezone.now() + timedelta(hours=1)


def test_nothing_is_noted_of_one_that_comes_too_early(
    office: Profile, push_certificate: Any
) -> None:
    push_certificate.delete()
    assert come(office).status == 503
    assert not Arrival.objects.exists()
    assert not Challenge.objects.exists()
    assert not RefusedArrival.objects.exists()


# --- Several servers -----------------------------------------------------------------------------


def test_the_server_that_has_it_now_says_which_profile_it_should_have(office: Profile) -> None:
    AbmDevice.objects.update(current=False)
    other = editing.create(ADMIN, "Branch", new_content())
    branch = connect("Branch")
    giving.set_default(ADMIN, "iOS", branch, other)
    listed(branch, SERIAL)
    following.follow()
    let_in(come(other))
    let_in(come(office))
    assert [row.flags for row in Arrival.objects.order_by("pk")] == [[], ["other_profile"]]


def test_one_list_that_is_old_is_enough_to_let_it_in(office: Profile) -> None:
    branch = connect("Branch")
    defined(branch, office)
    expire(branch)
    minimum.set_minimum(ADMIN, "iOS", "27")
    let_in(come(office, factory.machine_info("STRANGER01")))
    assert Arrival.objects.get().flags == ["unchecked", "below_minimum"]


def test_a_listed_device_that_should_have_no_profile_is_flagged(office: Profile) -> None:
    listed(Server.objects.get(), "NOWISH0001")
    let_in(come(office, factory.machine_info("NOWISH0001")))
    assert Arrival.objects.get().flags == ["other_profile"]


# --- The minimum OS ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("product", "has", "flags"),
    [
        ("iPhone15,2", "26", ["below_minimum"]),
        ("iPhone15,2", "26.1", []),
        ("iPhone15,2", "26.1.0", []),
        ("iPhone15,2", "26.10", []),
        ("iPhone15,2", "somewhere in 27", ["below_minimum"]),
        ("iPad16,1", "18.0", []),
        ("Mac15,3", "14.0", []),
    ],
)
def test_a_minimum_is_for_its_platform_and_compares_numbers(
    office: Profile, product: str, has: str, flags: list[str]
) -> None:
    minimum.set_minimum(ADMIN, "iOS", " 26.1.0 ")
    let_in(come(office, factory.machine_info(SERIAL, PRODUCT=product, OS_VERSION=has)))
    assert Arrival.objects.get().flags == flags


def test_a_minimum_is_set_taken_away_and_audited() -> None:
    for version in ("26.1", "26.1", "26.2", ""):
        minimum.set_minimum(ADMIN, "iOS", version)
    assert not MinimumOS.objects.exists()
    rows = AuditEvent.objects.filter(action="minimum_os.set").order_by("pk")
    assert [(row.before, row.after) for row in rows] == [
        ({"version": ""}, {"version": "26.1"}),
        ({"version": "26.1"}, {"version": "26.2"}),
        ({"version": "26.2"}, {"version": ""}),
    ]


@pytest.mark.parametrize(
    ("platform", "version"),
    [
        ("iOS", "26,1"),
        ("iOS", "26."),
        ("iOS", "26.1b"),
        ("iOS", "٢٦"),
        ("iOS", "1" * 31),
        ("BeOS", "5"),
    ],
)
def test_what_is_no_version_or_no_platform_is_not_set(platform: str, version: str) -> None:
    with pytest.raises(BadMinimum):
        minimum.set_minimum(ADMIN, platform, version)
    assert not MinimumOS.objects.exists()


def test_whoever_is_switched_off_sets_none() -> None:
    former = Actor(kind=ADMIN.kind, id="1", name="Former", active=False)
    with pytest.raises(NotAllowed):
        minimum.set_minimum(former, "iOS", "26.1")
