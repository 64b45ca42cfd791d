"""Devices that come by Automated Device Enrollment, through the whole WSGI application."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp_auth
from django.contrib.sessions.models import Session
from django.test import Client as Browser
from django.utils import timezone
from pytest_django import Settings

from abm.models import AbmDevice, Server
from enrollment import ade, minimum
from enrollment.models import Arrival, Challenge, RefusedArrival
from enrollment.pages import overview
from enrollment.wire.profile import MIME_TYPE
from lab.devices.profile import read_profile
from mdm import refusals, tasks
from mdm.accounts.models import User
from mdm.audit.models import AuditEvent
from mdm.models import Enrollment, Refusal
from mdm.wsgi import application
from profiles import editing, following
from profiles.models import Profile, Version
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
    path_of,
    refused,
)
from tests.machines import Machine

# --- Let in --------------------------------------------------------------------------------------


def test_a_listed_device_enrolls_and_is_the_one_that_abm_lists(ca: Any, office: Profile) -> None:
    profile = let_in(come(office))
    certificate = identity(ca, profile)
    assert certificate is not None
    machine = Machine(certificate=certificate, serial_number=SERIAL)
    assert machine.authenticate().status == 200
    assert machine.token_update().status == 200

    enrollment = machine.enrollment
    assert enrollment.state == Enrollment.State.ENROLLED
    assert enrollment.device == AbmDevice.objects.get(serial_number=SERIAL).device
    [arrival] = Arrival.objects.all()
    assert (arrival.serial_number, arrival.version, arrival.flags) == (SERIAL, office.current, [])
    assert (arrival.product, arrival.os_version) == ("iPhone15,2", "26.1")
    assert not RefusedArrival.objects.exists()


def test_the_identity_is_bound_to_that_serial_number(ca: Any, office: Profile) -> None:
    certificate = identity(ca, let_in(come(office)))
    assert certificate is not None
    other = Machine(certificate=certificate, serial_number="SOMEOTHER1")
    assert other.authenticate().status == 403


def test_a_challenge_works_once(ca: Any, office: Profile) -> None:
    profile = let_in(come(office))
    assert identity(ca, profile) is not None
    assert identity(ca, profile, number=1) is None


def test_it_may_ask_again_and_the_newest_challenge_alone_counts(ca: Any, office: Profile) -> None:
    first = let_in(come(office))
    unused = identity(ca, first)
    second = let_in(come(office))
    third = let_in(come(office))

    assert unused is not None
    assert Machine(certificate=unused, serial_number=SERIAL).authenticate().status == 403
    assert identity(ca, second, number=1) is None
    certificate = identity(ca, third, number=2)
    assert certificate is not None
    machine = Machine(certificate=certificate, serial_number=SERIAL, key_number=2)
    assert machine.authenticate().status == 200
    assert Arrival.objects.count() == 3


def test_an_enrolled_device_that_was_erased_unseen_comes_back(ca: Any, office: Profile) -> None:
    certificate = identity(ca, let_in(come(office)))
    assert certificate is not None
    machine = Machine(certificate=certificate, serial_number=SERIAL)
    assert machine.authenticate().status == 200
    assert machine.token_update().status == 200

    again = identity(ca, let_in(come(office)), number=1)
    assert again is not None
    # The identity in use stays in use until the new one takes over.
    assert machine.idle().status == 200
    returned = dataclasses.replace(machine, certificate=again, key_number=1)
    assert returned.authenticate().status == 200
    assert machine.idle().status == 403


def test_a_challenge_is_over_after_an_hour(ca: Any, office: Profile) -> None:
    profile = let_in(come(office))
    Challenge.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert identity(ca, profile) is None


# --- Turned away ---------------------------------------------------------------------------------


def test_an_address_that_was_guessed_is_none(office: Profile) -> None:
    answered = machines.call(application, "POST", "/ade/guessed", factory.machine_info(SERIAL))
    assert (answered.status, answered.body) == (404, b"")
    # Whoever guesses leaves no row of their own: it is counted with other refused requests.
    refusals.tally.write()
    assert Refusal.objects.get(reason="unknown_profile_address").count == 1
    assert not RefusedArrival.objects.exists()


def test_the_address_of_a_draft_is_none_yet(office: Profile) -> None:
    draft = editing.draft(ADMIN, office, {**new_content(), "department": "IT"})
    path = f"/ade/{editing.secret_of(draft)}"
    assert machines.call(application, "POST", path, factory.machine_info(SERIAL)).status == 404
    editing.apply(ADMIN, draft)
    let_in(machines.call(application, "POST", path, factory.machine_info(SERIAL)))


@pytest.mark.parametrize(
    ("message", "status", "reason", "claimed"),
    [
        (factory.content(SERIAL), 403, "unsigned", SERIAL),
        (b"\x30\x03\x02\x01\x01", 400, "unreadable", ""),
        (b"", 400, "unreadable", ""),
    ],
)
def test_what_proves_nothing_is_refused(
    office: Profile, message: bytes, status: int, reason: str, claimed: str
) -> None:
    assert come(office, message).status == status
    assert refused(reason).serial_number == claimed


def test_a_device_of_somebody_elses_is_refused(office: Profile) -> None:
    assert come(office, factory.machine_info(SERIAL, foreign=True)).status == 403
    row = refused("foreign")
    assert row.serial_number == SERIAL
    assert "not by a device of Apple" in row.sentence


def test_a_changed_message_is_refused(office: Profile) -> None:
    message = factory.machine_info(SERIAL).replace(SERIAL.encode(), b"F2LXK0ABCE")
    assert come(office, message).status == 403
    assert refused("bad_signature").serial_number == "F2LXK0ABCE"


def test_a_serial_number_that_abm_does_not_list_is_not_recognized(office: Profile) -> None:
    answered = come(office, factory.machine_info("STRANGER01"))
    assert (answered.status, answered.headers["Content-Type"]) == (403, "application/json")
    assert json.loads(answered.body)["code"] == "com.apple.unrecognized.device"
    assert refused("not_listed").serial_number == "STRANGER01"
    assert not Arrival.objects.exists()


def test_one_that_left_the_list_is_not_recognized_either(office: Profile) -> None:
    AbmDevice.objects.update(removed_at=timezone.now(), current=False)
    assert come(office).status == 403
    refused("not_listed")


def test_while_the_list_is_old_a_device_with_our_profile_is_let_in_and_flagged(
    office: Profile,
) -> None:
    defined(Server.objects.get(), office)
    expire(Server.objects.get())
    let_in(come(office, factory.machine_info("STRANGER01")))
    [arrival] = Arrival.objects.all()
    assert arrival.flags == ["unchecked"]


def test_a_list_that_is_old_lost_whom_it_lost_before(office: Profile) -> None:
    defined(Server.objects.get(), office)
    AbmDevice.objects.update(removed_at=timezone.now(), current=False)
    expire(Server.objects.get())
    assert come(office).status == 403
    refused("not_listed")


def test_a_list_that_is_old_counts_for_the_profiles_that_it_gave(office: Profile) -> None:
    branch = connect("Branch")
    expire(branch)
    assert come(office, factory.machine_info("STRANGER01")).status == 403
    defined(branch, office)
    let_in(come(office, factory.machine_info("STRANGER01")))


def test_a_server_that_awaits_its_first_token_makes_no_list_old(office: Profile) -> None:
    connect("Branch")
    Server.objects.filter(name="Branch").update(sealed_token=None, token_expires_at=None)
    assert come(office, factory.machine_info("STRANGER01")).status == 403


def test_cases_are_counted_and_there_is_an_end_to_them(
    office: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ade, "MOST_UNPROVEN", 3)
    for number in (1, 1, 2, 3, 4, 5, 5):
        come(office, factory.content(f"MADEUP{number}"))
    counts = dict(RefusedArrival.objects.values_list("serial_number", "count"))
    assert counts == {"MADEUP1": 2, "MADEUP2": 1, "MADEUP3": 1, "": 3}


def test_whoever_makes_up_serial_numbers_hides_no_device(
    office: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ade, "MOST_UNPROVEN", 1)
    monkeypatch.setattr(ade, "MOST_PROVEN", 2)
    for number in range(4):
        come(office, factory.content(f"MADEUP{number}"))
    for number in range(4):
        come(office, factory.machine_info(f"STRANGER{number}"))
    counts = dict(RefusedArrival.objects.values_list("serial_number", "count"))
    rows = RefusedArrival.objects.order_by("pk").values_list("reason", "serial_number", "count")
    assert counts.keys() >= {"MADEUP0", "STRANGER0", "STRANGER1"}
    assert ("unsigned", "", 3) in rows
    assert ("not_listed", "", 2) in rows
    # Each of them needs someone, those without a row of their own too.
    [attention] = overview.refused_attention()
    assert attention.what == "4 devices were refused at enrollment within a day."


def test_there_is_an_end_to_how_often_a_device_is_let_in(
    office: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ade, "MOST_AN_HOUR", 2)
    let_in(come(office))
    let_in(come(office))
    answered = come(office)
    assert (answered.status, answered.headers["Retry-After"]) == (429, "3600")
    assert refused("too_often").serial_number == SERIAL
    assert Arrival.objects.count() == 2
    Arrival.objects.update(at=timezone.now() - timedelta(hours=1))
    let_in(come(office))


def test_without_apples_certificates_nobody_is_believed(
    office: Profile, settings: Settings
) -> None:
    settings.ENV = dataclasses.replace(settings.ENV, device_ca=None)
    assert come(office).status == 403
    assert "trust_apple" in refused("no_trust").sentence


def test_without_a_push_certificate_it_comes_later(office: Profile, push_certificate: Any) -> None:
    push_certificate.delete()
    answered = come(office)
    assert (answered.status, answered.headers["Retry-After"]) == (503, "60")


def test_only_a_post_of_its_size_is_read(office: Profile) -> None:
    answered = machines.call(application, "GET", path_of(office))
    assert (answered.status, answered.headers["Allow"]) == (405, "POST")
    assert come(office, b"x" * 70_000).status == 413


# --- Which profile, which OS ---------------------------------------------------------------------


def test_an_older_version_and_another_profile_are_flagged(office: Profile) -> None:
    first = Version.objects.get(profile=office)
    editing.apply(ADMIN, editing.draft(ADMIN, office, {**new_content(), "department": "IT"}))
    following.follow()
    path = f"/ade/{editing.secret_of(first)}"
    let_in(machines.call(application, "POST", path, factory.machine_info(SERIAL)))
    other = editing.create(ADMIN, "Other", new_content())
    let_in(come(other))
    flags = [row.flags for row in Arrival.objects.order_by("pk")]
    assert flags == [["older_profile"], ["other_profile"]]


def test_the_address_of_another_profile_is_no_way_round_the_sign_in(office: Profile) -> None:
    first = Version.objects.get(profile=office)
    path = f"/ade/{editing.secret_of(first)}"
    editing.apply(ADMIN, editing.draft(ADMIN, office, new_content(), signs_in=True))
    following.follow()
    given = defined(Server.objects.get(), first)
    AbmDevice.objects.update(profile_uuid="ANOTHER")
    message = factory.machine_info(SERIAL)
    assert machines.call(application, "POST", path, message).status == 403
    assert "Apple says it does not have" in refused("signs_in").sentence

    # One that was given it before, and has not been erased since, has nothing else.
    AbmDevice.objects.update(profile_uuid=given.profile_uuid)
    let_in(machines.call(application, "POST", path, message))
    assert Arrival.objects.get().flags == ["older_profile"]


def test_below_the_minimum_it_updates_first_if_it_can(office: Profile) -> None:
    minimum.set_minimum(ADMIN, "iOS", "26.2")
    able = factory.machine_info(SERIAL, MDM_CAN_REQUEST_SOFTWARE_UPDATE=True)
    answered = come(office, able)
    assert answered.status == 403
    said = json.loads(answered.body)
    assert said["code"] == "com.apple.softwareupdate.required"
    assert said["details"] == {"OSVersion": "26.2"}
    assert refused("below_minimum").serial_number == SERIAL

    let_in(come(office))
    assert Arrival.objects.get().flags == ["below_minimum"]

    updated = factory.machine_info(SERIAL, MDM_CAN_REQUEST_SOFTWARE_UPDATE=True, OS_VERSION="26.10")
    let_in(come(office, updated))
    assert Arrival.objects.latest("pk").flags == []


def test_one_that_does_not_say_its_version_is_below_any_minimum(office: Profile) -> None:
    minimum.set_minimum(ADMIN, "iOS", "15")
    let_in(come(office, factory.machine_info(SERIAL, OS_VERSION=None)))
    assert Arrival.objects.get().flags == ["below_minimum"]


# --- Signing in first ----------------------------------------------------------------------------


@pytest.fixture
def person(db: None) -> User:
    return User.objects.create_superuser("ada", "ada@example.com", "correct horse battery")


@pytest.fixture
def with_sign_in(office: Profile) -> Profile:
    version = editing.draft(ADMIN, office, new_content(), signs_in=True)
    return editing.apply(ADMIN, version)


def browse(profile: Profile) -> tuple[Browser, str]:
    """Setup Assistant's window, on the page that the profile names."""
    assert profile.current is not None
    path = f"/ade/sign-in/{editing.secret_of(profile.current)}/"
    browser = Browser(enforce_csrf_checks=True)
    header = base64.b64encode(factory.machine_info(SERIAL)).decode()
    answer = browser.get(path, headers={"x-apple-aspen-deviceinfo": header})
    assert answer.status_code == 200
    assert SERIAL in answer.text
    return browser, path


def fill_in(browser: Browser, path: str, name: str, password: str, code: str = "") -> Any:
    page = browser.get(path).text
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token is not None
    form = {"username": name, "password": password, "code": code}
    form["csrfmiddlewaretoken"] = token[1]
    return browser.post(path, form)


def test_a_profile_that_wants_it_lets_nobody_in_who_did_not_sign_in(with_sign_in: Profile) -> None:
    assert come(with_sign_in).status == 403
    assert "sign in" in refused("signs_in").sentence


@pytest.mark.parametrize("name", ["ada", "ada@example.com"])
def test_whoever_signs_in_gets_the_profile_for_that_device(
    with_sign_in: Profile, person: User, name: str
) -> None:
    browser, path = browse(with_sign_in)
    wrong = fill_in(browser, path, name, "wrong")
    assert wrong.status_code == 422
    assert "do not go together" in wrong.text
    assert not Arrival.objects.exists()

    answer = fill_in(browser, path, name, "correct horse battery")
    assert answer["Content-Type"] == MIME_TYPE
    assert read_profile(answer.content).identity().challenge
    [arrival] = Arrival.objects.all()
    assert (arrival.serial_number, arrival.person) == (SERIAL, str(person))
    event = AuditEvent.objects.get(action="enrollment.sign_in")
    assert (event.actor_name, event.subject_id) == (str(person), SERIAL)
    # What was proven is used up with it, and nobody is signed in to the dashboard.
    assert browser.get(path).status_code != 200
    assert browser.get("/").status_code == 302


def test_whoever_has_a_second_factor_needs_it(with_sign_in: Profile, person: User) -> None:
    secret = totp_auth.generate_totp_secret()
    totp_auth.TOTP.activate(person, secret)
    spare = RecoveryCodes.activate(person).get_unused_codes()[0]
    browser, path = browse(with_sign_in)
    password = "correct horse battery"

    assert "second factor" in fill_in(browser, path, "ada", password).text
    assert "Incorrect code" in fill_in(browser, path, "ada", password, "000000").text
    # A right code does not make up for a wrong password, and does not tell that it is wrong.
    assert "do not go together" in fill_in(browser, path, "ada", "wrong", spare).text
    assert not Arrival.objects.exists()
    answer = fill_in(browser, path, "ada", password, spare)
    assert answer["Content-Type"] == MIME_TYPE

    browser, path = browse(with_sign_in)
    assert "Incorrect code" in fill_in(browser, path, "ada", password, spare).text
    counter = next(totp_auth.yield_hotp_counters_from_time())
    code = totp_auth.format_hotp_value(totp_auth.hotp_value(secret, counter))
    assert fill_in(browser, path, "ada", password, code)["Content-Type"] == MIME_TYPE


def test_guessing_codes_there_ends_soon(with_sign_in: Profile, person: User) -> None:
    totp_auth.TOTP.activate(person, totp_auth.generate_totp_secret())
    browser, path = browse(with_sign_in)
    answers = [
        fill_in(browser, path, "ada", "correct horse battery", f"{number:06}")
        for number in range(7)
    ]
    assert "Too many failed" in answers[-1].text


def test_what_is_kept_of_a_device_until_someone_signs_in_is_small_and_ends_soon(
    with_sign_in: Profile,
) -> None:
    browser, _ = browse(with_sign_in)
    session = Session.objects.get()
    assert len(session.session_data) < 1_000
    assert session.expire_date < timezone.now() + timedelta(minutes=31)
    assert browser.session["ade-device"]["serial_number"] == SERIAL

    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    tasks.remove_old()
    assert not Session.objects.exists()


def test_guessing_passwords_there_ends_soon(with_sign_in: Profile, person: User) -> None:
    browser, path = browse(with_sign_in)
    answers = [fill_in(browser, path, "ada", "wrong") for _ in range(7)]
    assert "Too many attempts" in answers[-1].text
    assert "Too many" in fill_in(browser, path, "ada", "correct horse battery").text


def test_the_page_is_for_devices_alone(with_sign_in: Profile) -> None:
    assert with_sign_in.current is not None
    path = f"/ade/sign-in/{editing.secret_of(with_sign_in.current)}/"
    answer = Browser().get(path)
    assert answer.status_code == 400
    assert "cannot enroll" in answer.text
    foreign = base64.b64encode(factory.machine_info(SERIAL, foreign=True)).decode()
    answer = Browser().get(path, headers={"x-apple-aspen-deviceinfo": foreign})
    assert answer.status_code == 403


def test_a_device_that_is_not_recognized_hears_apples_word_there_too(
    with_sign_in: Profile,
) -> None:
    assert with_sign_in.current is not None
    path = f"/ade/sign-in/{editing.secret_of(with_sign_in.current)}/"
    header = base64.b64encode(factory.machine_info("STRANGER01")).decode()
    answer = Browser().get(path, headers={"x-apple-aspen-deviceinfo": header})
    assert answer.status_code == 403
    assert answer.json()["code"] == "com.apple.unrecognized.device"
