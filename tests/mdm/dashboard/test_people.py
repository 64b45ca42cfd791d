"""People: invited by mail or link, their links work once, the last one is never locked out."""

from __future__ import annotations

import io
import re

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client

from mdm.accounts import people
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.accounts.tasks import send_access_link
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent

NEW = "a much longer password 7"


def _path(text: str) -> str:
    """The path of the access link in a page, a mail or a command's output."""
    found = re.search(r"https?://[^/\s]+(/accounts/password/reset/key/[^\s\"<]+)", text)
    assert found, text
    return found[1]


def _choose_password(path: str) -> Client:
    client = Client()
    page = client.get(path, follow=True)
    form = page.redirect_chain[-1][0] if page.redirect_chain else path
    client.post(form, {"password1": NEW, "password2": NEW})
    return client


def _can_sign_in(username: str) -> bool:
    client = Client()
    client.post("/accounts/login/", {"login": username, "password": NEW})
    return client.get("/devices/").status_code == 200


def test_an_invited_person_chooses_a_password_and_signs_in(signed_in: Client) -> None:
    page = signed_in.post(
        "/settings/people/invite/",
        {"email": "Grace@Example.com", "name": "Grace", "by": "link", "role": "viewer"},
    ).content.decode()
    _choose_password(_path(page))

    user = User.objects.get(email="grace@example.com")
    assert (user.username, str(user)) == ("grace", "Grace")
    assert _can_sign_in("grace")
    assert "grace@example.com" in signed_in.get("/settings/people/").content.decode()


def test_a_link_works_once(signed_in: Client) -> None:
    page = signed_in.post(
        "/settings/people/invite/", {"email": "grace@example.com", "by": "link", "role": "viewer"}
    ).content.decode()
    _choose_password(_path(page))

    again = Client().get(_path(page), follow=True).content.decode()

    assert "This address no longer works" in again


def test_a_mail_holds_a_link_that_works(admin: User) -> None:
    user = people.invite(Actor.person(admin), email="grace@example.com", role=Role.VIEWER)

    send_access_link(user.pk)

    (sent,) = mail.outbox
    assert sent.to == ["grace@example.com"]
    _choose_password(_path(str(sent.body)))
    assert _can_sign_in("grace")


def test_an_address_is_invited_once_and_names_do_not_collide(
    signed_in: Client, admin: User
) -> None:
    for email, complaint in (
        ("ADA@example.com", "is here already"),
        ("not an address", "not a mail address"),
        ("", "not a mail address"),
        ("grace@example.com\nbcc: eve@example.com", "not a mail address"),
    ):
        answer = signed_in.post(
            "/settings/people/invite/", {"email": email, "by": "link", "role": "viewer"}
        )
        assert answer.status_code == 422, email
        assert complaint in answer.content.decode()

    other = people.invite(Actor.person(admin), email="ada@example.org", role=Role.VIEWER)
    assert other.username == "ada2"


def test_the_last_person_who_can_sign_in_stays(signed_in: Client, admin: User) -> None:
    people.invite(Actor.person(admin), email="grace@example.com", role=Role.VIEWER)

    page = signed_in.post(f"/settings/people/{admin.pk}/deactivate/", follow=True)

    admin.refresh_from_db()
    assert admin.is_active
    assert "Nobody else is an admin" in page.content.decode()


def test_someone_switched_off_cannot_sign_in_until_switched_on(
    signed_in: Client, admin: User
) -> None:
    other = User.objects.create_superuser("grace", "grace@example.com", NEW)

    assert (
        "signed out everywhere"
        in signed_in.get(f"/settings/people/{other.pk}/deactivate/").content.decode()
    )
    signed_in.post(f"/settings/people/{other.pk}/deactivate/")
    assert not _can_sign_in("grace")
    signed_in.post(f"/settings/people/{other.pk}/activate")
    assert _can_sign_in("grace")
    acts = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
    assert acts == ["people.deactivate", "people.activate"]


def test_handing_out_a_link_is_on_record_and_the_link_is_not(
    signed_in: Client, admin: User
) -> None:
    page = signed_in.post(f"/settings/people/{admin.pk}/link").content.decode()

    event = AuditEvent.objects.get(action="people.link")
    assert event.subject_id == str(admin.pk)
    token = _path(page).rstrip("/").rpartition("-")[2]
    assert token not in signed_in.get("/settings/audit/").content.decode()


def test_the_command_line_lets_the_last_one_back_in(admin: User) -> None:
    from allauth.mfa.models import Authenticator

    User.objects.update(is_active=False)
    Authenticator.objects.create(user=admin, type="totp", data={})
    out = io.StringIO()

    call_command("recover_admin", "ADA@example.com", stdout=out)
    _choose_password(_path(out.getvalue()))

    assert _can_sign_in("ada")
    assert AuditEvent.objects.get(action="people.recover").actor_name == "recover_admin"


@pytest.mark.django_db
def test_the_command_line_makes_the_first_admin() -> None:
    out = io.StringIO()

    call_command("recover_admin", "first@example.com", stdout=out)
    _choose_password(_path(out.getvalue()))

    assert _can_sign_in("first")


@pytest.mark.django_db
def test_the_command_line_names_who_there_is_when_the_name_is_wrong(admin: User) -> None:
    with pytest.raises(CommandError, match="There are: ada"):
        call_command("recover_admin", "nobody")


def test_a_forgotten_password_is_reset_by_mail(admin: User) -> None:
    Client().post("/accounts/password/reset/", {"email": "ada@example.com"})

    (sent,) = mail.outbox
    _choose_password(_path(str(sent.body)))
    assert _can_sign_in("ada")
