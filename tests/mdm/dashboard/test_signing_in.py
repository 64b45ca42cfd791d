"""The first admin, sessions, and guessing passwords: who guesses is stopped, and locks out nobody
at a browser that is known.
"""

from __future__ import annotations

import io
import re
import time
from datetime import timedelta

import pytest
from allauth.mfa import signals as mfa_signals
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.utils import timezone

from mdm import retention
from mdm.accounts import browsers, first_admin, sessions
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed
from tests.mdm.dashboard.conftest import PASSWORD
from tests.people import someone

pytestmark = pytest.mark.django_db

GOOD = {"name": "Ada", "email": "Ada@Example.com", "password": PASSWORD}


def test_a_new_server_leads_everyone_to_the_set_up() -> None:
    assert Client().get("/devices/")["Location"] == "/setup/"
    assert Client().get("/setup/").status_code == 200


def test_who_has_the_token_becomes_the_first_admin_and_nobody_after() -> None:
    client = Client()

    done = client.post("/setup/", {**GOOD, "token": f" {first_admin.token()}\n"})

    assert done["Location"] == "/"
    assert client.get("/settings/people/").status_code == 200
    user = User.objects.get()
    assert (user.email, [held.role for held in user.held()]) == ("ada@example.com", [Role.ADMIN])
    assert AuditEvent.objects.get(action="people.set_up").subject_id == str(user.pk)
    for method in ("get", "post"):
        again = getattr(Client(), method)("/setup/", {**GOOD, "token": first_admin.token()})
        assert again.status_code == 404
    with pytest.raises(first_admin.NotFirst):
        first_admin.make(first_admin.token(), name="Eve", email="e@example.com", password=PASSWORD)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"token": "0" * 40}, "not the token"),
        ({"token": ""}, "not the token"),
        ({"email": "nobody"}, "not a mail address"),
        ({"password": "short"}, "too short"),
        ({"password": "password1234"}, "too common"),
    ],
)
def test_a_set_up_that_is_wrong_makes_nobody(wrong: dict[str, str], said: str) -> None:
    answer = Client().post("/setup/", {**GOOD, "token": first_admin.token(), **wrong})

    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert PASSWORD not in answer.content.decode()
    assert not User.objects.exists()


def test_the_log_and_the_command_line_say_the_token_while_there_is_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = io.StringIO()

    first_admin.announce()
    call_command("first_admin", stdout=out)

    assert first_admin.token() in caplog.text
    caplog.clear()
    assert out.getvalue().split() == [first_admin.address(), first_admin.token()]
    someone(Role.VIEWER)
    first_admin.announce()
    call_command("first_admin", stdout=out)
    assert first_admin.token() not in caplog.text
    assert len(out.getvalue().split()) == 2
    read = AuditEvent.objects.get(action="people.set_up.read_token")
    assert read.actor_name == "command line"


def test_what_people_do_to_their_own_account_is_in_the_audit_log() -> None:
    user = someone(Role.VIEWER, name="ada")
    user.set_password(PASSWORD)
    user.save()
    client = Client()
    _sign_in_as(client)
    factor = TOTP.activate(user, "secret").instance
    RecoveryCodes.activate(user)
    codes = "/accounts/2fa/recovery-codes/"

    # Signing in is not enough for allauth to show them.
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    shown = client.get(codes).content.decode()
    client.get(f"{codes}download/")
    given = {"oldpassword": PASSWORD, "password1": f"{PASSWORD} 2", "password2": f"{PASSWORD} 2"}
    client.post("/accounts/password/change/", given)
    mfa_signals.authenticator_removed.send(
        Authenticator, request=_request_of(user), user=user, authenticator=factor
    )

    told = AuditEvent.objects.filter(subject_kind="person", subject_id=str(user.pk))
    assert list(told.order_by("pk").values_list("action", flat=True)) == [
        "account.codes.read",
        "account.codes.read",
        "account.password",
        "account.factor.remove",
    ]
    assert told.latest("pk").after == {"username": "ada", "factor": "totp"}
    # Neither the codes nor the password.
    code = RecoveryCodes(Authenticator.objects.get(type="recovery_codes")).get_unused_codes()[0]
    assert code in shown
    assert code not in str(list(told.values()))
    assert PASSWORD not in str(list(told.values()))
    assert Client().get(codes).status_code == 302


# --- Guessing -----------------------------------------------------------------------------------


def _sign_in_as(client: Client) -> None:
    client.post("/accounts/login/", {"login": "ada", "password": PASSWORD})


def _request_of(user: User) -> HttpRequest:
    request = RequestFactory().get("/")
    request.user = user
    return request


def _sign_in(client: Client, password: str = PASSWORD, login: str = "ada", ip: str = "10.0.0.1"):
    client.post("/accounts/login/", {"login": login, "password": password}, REMOTE_ADDR=ip)
    return client.get("/devices/").status_code == 200


def _guess(times: int, login: str = "ada") -> None:
    """Guesses from as many addresses, so that no address is stopped for its own."""
    for number in range(times):
        assert not _sign_in(Client(), f"guess {number}", login, f"10.1.0.{number}")


def test_who_guesses_a_password_is_stopped_even_with_the_right_one(admin: User) -> None:
    _guess(5)

    assert not _sign_in(Client(), ip="10.2.0.1")


def test_who_is_known_at_a_browser_gets_in_while_others_guess(admin: User) -> None:
    own = Client()
    assert _sign_in(own)
    own.post("/accounts/logout/")
    cookie = own.cookies[browsers.COOKIE]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"

    _guess(7)

    assert not _sign_in(Client(), ip="10.2.0.1")
    assert _sign_in(own)
    own.post("/accounts/logout/")
    assert _sign_in(own, login="ADA@example.com")


def test_a_known_browser_guesses_ten_times_and_no_more(admin: User) -> None:
    thief = Client()
    _sign_in(thief)
    thief.post("/accounts/logout/")

    for number in range(10):
        assert not _sign_in(thief, f"guess {number}", ip=f"10.3.0.{number}")

    assert not _sign_in(thief, ip="10.3.1.1")
    assert _sign_in(Client(), ip="10.2.0.1")


@pytest.mark.parametrize("made_up", ["", "x", "WzEsImEiXQ:x:y", "eyJhIjoxfQ:1:1"])
def test_a_browser_is_known_for_its_own_person_and_by_our_cookie_alone(
    admin: User, made_up: str
) -> None:
    other = Client()
    ben = someone(Role.VIEWER, name="ben")
    ben.set_password(PASSWORD)
    ben.save()
    assert _sign_in(other, login="ben")
    other.post("/accounts/logout/")
    forger = Client()
    forger.cookies[browsers.COOKIE] = made_up

    _guess(5)

    assert not _sign_in(other, ip="10.2.0.1")
    assert not _sign_in(forger, ip="10.2.0.2")


def test_the_limit_ends_by_itself(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    _guess(5)
    assert not _sign_in(Client(), ip="10.2.0.1")

    now = time.time() + 301
    monkeypatch.setattr("allauth.core.internal.ratelimit.time.time", lambda: now)

    assert _sign_in(Client(), ip="10.2.0.2")


# --- Sessions -----------------------------------------------------------------------------------


def test_someone_sees_where_they_are_signed_in_and_ends_the_others(admin: User) -> None:
    here, there = Client(HTTP_USER_AGENT="Here/1.0"), Client(HTTP_USER_AGENT="<b>There</b>")
    assert _sign_in(here)
    assert _sign_in(there)

    page = here.get("/accounts/sessions/").content.decode()
    assert "Here/1.0" in page
    assert "&lt;b&gt;There&lt;/b&gt;" in page
    assert re.findall(r"This one", page) == ["This one"]

    here.post("/accounts/sessions/")

    assert there.get("/devices/").status_code == 302
    assert here.get("/devices/").status_code == 200
    [event] = AuditEvent.objects.filter(action="people.sign_out")
    assert (event.actor_name, event.after) == ("Ada", {"username": "ada", "sessions": 1})


def test_an_admin_signs_someone_out_everywhere_and_not_themselves(
    signed_in: Client, admin: User
) -> None:
    other = User.objects.create_superuser("grace", "grace@example.com", PASSWORD)
    there = Client(HTTP_USER_AGENT="<b>There</b>")
    assert _sign_in(there, login="grace")
    page = f"/settings/people/{other.pk}/"
    assert "&lt;b&gt;There&lt;/b&gt;" in signed_in.get(page).content.decode()
    viewer = Actor.person(someone(Role.VIEWER))
    with pytest.raises(NotAllowed):
        sessions.sign_out(viewer, other)
    with pytest.raises(NotAllowed):
        sessions.end(viewer, UserSession.objects.get(user=other))

    said = signed_in.post(f"{page}sign-out", follow=True).content.decode()
    own = signed_in.post(f"/settings/people/{admin.pk}/sign-out")

    assert "is signed out at 1 place." in said
    assert "is signed in nowhere" in said
    assert there.get("/devices/").status_code == 302
    assert own["Location"] == "/accounts/sessions/"
    assert signed_in.get(page).status_code == 200


def test_sessions_that_have_ended_are_not_kept(admin: User) -> None:
    assert _sign_in(Client())
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))

    retention.remove_sessions()

    assert not UserSession.objects.exists()
