"""Nobody who is not signed in sees or does anything."""

from __future__ import annotations

import pytest
from django.test import Client

from commands.models import Command
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.models import Device
from tests.mdm.dashboard.conftest import PASSWORD, Enroll
from tests.people import VALUES, addresses, someone

OPEN = ("accounts/", "api/", "enroll/", "ade/", "setup/")
PAGES = addresses(lambda route: not route.startswith(OPEN))


@pytest.mark.django_db
@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("method", ["get", "post"])
def test_every_page_leads_strangers_to_the_sign_in(path: str, method: str) -> None:
    someone(Role.ADMIN)

    answer = getattr(Client(), method)(path)

    if method == "get" or answer.status_code != 405:
        assert answer.status_code == 302, path
        assert answer["Location"].startswith("/accounts/login/"), path


@pytest.mark.django_db
def test_a_fragment_is_no_place_to_sign_in() -> None:
    someone(Role.ADMIN)

    answer = Client().get(
        "/devices/1/live/timeline/",
        headers={
            "HX-Request": "true",
            "HX-Current-URL": "http://testserver/devices/1/timeline/?before=x",
        },
    )

    assert answer.status_code == 204
    assert answer["HX-Redirect"].startswith("/accounts/login/?next=%2Fdevices%2F1%2Ftimeline%2F")


def test_actions_are_refused_without_the_token_of_our_form(admin: User, enroll: Enroll) -> None:
    device = enroll()
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)

    answer = client.post(f"/devices/{device.pk}/retire/")

    device.refresh_from_db()
    assert answer.status_code == 403
    assert device.retired_at is None


@pytest.mark.parametrize(
    "path", ["/devices/1/wake", "/commands/send/selection", "/columns/devices"]
)
def test_what_changes_something_is_not_done_by_a_link(signed_in: Client, path: str) -> None:
    assert signed_in.get(path).status_code == 405


def test_a_person_who_was_switched_off_is_out_at_once(
    signed_in: Client, admin: User, enroll: Enroll
) -> None:
    User.objects.filter(pk=admin.pk).update(is_active=False)

    assert signed_in.get("/devices/").status_code == 302


@pytest.mark.django_db
def test_the_sign_in_takes_a_name_or_a_mail_address(admin: User) -> None:
    for who in ("ada", "ada@example.com"):
        client = Client()
        client.post("/accounts/login/", {"login": who, "password": PASSWORD})
        assert client.get("/").status_code == 200


@pytest.mark.django_db
def test_nobody_signs_up_by_themselves() -> None:
    client = Client()
    client.post(
        "/accounts/signup/",
        {
            "email": "eve@example.com",
            "username": "eve",
            "password1": PASSWORD,
            "password2": PASSWORD,
        },
    )

    assert not User.objects.exists()


def test_a_session_is_a_new_one_after_signing_in(admin: User) -> None:
    client = Client()
    client.get("/accounts/login/")
    client.session["planted"] = True
    before = client.session.session_key
    client.post("/accounts/login/", {"login": "ada", "password": PASSWORD})

    assert client.session.session_key != before


def test_the_policy_forbids_scripts_and_styles_in_the_page(signed_in: Client) -> None:
    policy = signed_in.get("/devices/")["Content-Security-Policy"]

    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy


def test_pages_are_not_kept_by_caches(signed_in: Client) -> None:
    assert "no-store" in signed_in.get("/devices/")["Cache-Control"]


def test_a_redirect_stays_on_this_server(signed_in: Client, db: None) -> None:
    answer = signed_in.post("/columns/devices", {"known": "os", "next": "https://evil.example/"})

    assert answer["Location"] == "/devices/"


def test_unknown_things_are_a_plain_404(signed_in: Client) -> None:
    for path in (
        "/devices/999999999999/",
        f"/devices/{2**70}/",
        "/commands/entries/1/",
        f"/commands/{VALUES['uuid']}/",
        "/commands/send/?enrollment=99",
        "/commands/send/?enrollment=x",
        "/enrollment/quarantine/5/",
    ):
        assert signed_in.get(path).status_code == 404, path
    assert not Device.objects.exists()
    assert not Command.objects.exists()
