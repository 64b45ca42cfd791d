"""Signing in with an identity provider: who is let in, with which roles, and who connects an
account. The provider is tests/oidc.py, on a real socket.
"""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.totp.internal import auth as totp_auth
from allauth.socialaccount.models import SocialAccount, SocialApp
from django.test import Client
from structlog.testing import capture_logs

from mdm.accounts import people
from mdm.accounts.models import Grant, User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.models import Group
from mdm.providers import RoleRule
from tests.mdm.dashboard.conftest import PASSWORD, Configure
from tests.oidc import RULES, Idp, acts, begin, is_in, roles, said, sent_back, sign_in
from tests.people import signed_in as signed_in_as
from tests.people import someone

pytestmark = pytest.mark.django_db


# --- Who is let in ------------------------------------------------------------------------------


def test_someone_new_in_a_mapped_group_is_made_and_has_the_role(idp: Idp) -> None:
    client = Client()

    answer = sign_in(client, idp)

    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert client.get("/devices/").status_code == 200
    user = User.objects.get(email="grace@example.com")
    assert (user.username, str(user)) == ("grace.hopper", "Grace Hopper")
    assert not user.has_usable_password()
    assert roles() == [Role.VIEWER]
    assert acts() == ["people.arrive", "people.grant"]
    assert set(AuditEvent.objects.values_list("actor_kind", "actor_name")) == {
        ("system", "OIDC Entra")
    }
    given = user.grants.get()
    assert (given.source, given.given_by) == ("oidc:entra", "OIDC Entra")


def test_the_second_time_it_is_the_same_person_and_nothing_is_given_twice(idp: Idp) -> None:
    sign_in(Client(), idp)
    idp.person |= {"email": "grace@example.org", "preferred_username": "other"}

    sign_in(Client(), idp)

    assert User.objects.count() == 2
    assert acts() == ["people.arrive", "people.grant"]


def test_roles_follow_the_groups_and_those_given_here_stay(idp: Idp, admin: User) -> None:
    sign_in(Client(), idp)
    user = User.objects.get(email="grace@example.com")
    people.grant(Actor.person(admin), user, role=Role.APPROVER)
    idp.person["groups"] = ["it-operators", "unknown"]

    sign_in(Client(), idp)
    assert roles() == [Role.APPROVER, Role.OPERATOR]

    idp.person["groups"] = []
    assert sign_in(Client(), idp).status_code == 302
    assert roles() == [Role.APPROVER]
    assert acts()[2:] == ["people.grant", "people.grant", "people.revoke", "people.revoke"]
    ended = user.grants.filter(source="oidc:entra").values_list("ended_by", flat=True)
    assert set(ended) == {"OIDC Entra"}


def test_a_stranger_in_no_mapped_group_is_refused_and_leaves_nothing(idp: Idp) -> None:
    idp.person["groups"] = ["everybody"]
    client = Client()

    answer = sign_in(client, idp)

    assert answer.status_code == 403
    assert "Your account at Entra is in no group that has a role here. Ask an admin." in said(
        answer
    )
    assert User.objects.count() == 1
    assert not SocialAccount.objects.exists()
    assert not is_in(client)


def test_who_lost_the_last_role_at_the_provider_is_refused_and_has_lost_it(idp: Idp) -> None:
    before = Client()
    sign_in(before, idp)
    idp.person["groups"] = []

    answer = sign_in(Client(), idp)

    assert answer.status_code == 403
    assert roles() == []
    # The session from before is held to it as well.
    assert before.get("/devices/").status_code == 403


def test_someone_who_is_here_with_the_same_address_is_not_taken_over(idp: Idp) -> None:
    idp.person["email"] = "ADA@example.com"
    idp.lies = {"email_verified": True}
    client = Client()

    answer = sign_in(client, idp)

    assert answer.status_code == 403
    assert "sign in with your password and connect Entra" in said(answer)
    assert not SocialAccount.objects.exists()
    assert not is_in(client)


def test_who_is_deactivated_here_stays_out_and_gets_no_role(idp: Idp, admin: User) -> None:
    sign_in(Client(), idp)
    people.deactivate(Actor.person(admin), User.objects.get(email="grace@example.com"))
    idp.person["groups"] = ["it-operators"]
    client = Client()

    answer = sign_in(client, idp)

    assert answer.status_code == 403
    assert "is deactivated here" in said(answer)
    assert not is_in(client)
    assert roles() == [Role.VIEWER]


def test_a_role_for_the_devices_of_a_group_is_for_that_group(idp: Idp) -> None:
    group = Group.objects.create(name="Kiosks", kind="static", rank=1, created_by="a test")
    idp.person["groups"] = ["it-kiosks"]

    sign_in(Client(), idp)

    held = User.objects.get(email="grace@example.com").held()
    assert [(each.role, each.group) for each in held] == [(Role.HELPER, group.pk)]


def test_a_role_for_a_group_that_is_not_there_is_none_and_never_for_all_devices(idp: Idp) -> None:
    idp.person["groups"] = ["it-kiosks"]

    with capture_logs() as lines:
        assert sign_in(Client(), idp).status_code == 403

    assert [line["group"] for line in lines if "group" in line] == ["Kiosks"]
    assert User.objects.count() == 1


def test_without_a_mail_address_the_name_to_sign_in_with_serves_or_nobody_is_made(
    idp: Idp,
) -> None:
    del idp.person["email"]
    assert sign_in(Client(), idp).status_code == 302
    assert User.objects.filter(email="grace.hopper@example.com").exists()

    idp.person |= {"sub": "0002", "preferred_username": "nobody"}
    answer = sign_in(Client(), idp)

    assert answer.status_code == 403
    assert "gave no mail address" in said(answer)


def test_the_first_on_a_new_server_is_an_admin_or_nobody(idp: Idp, admin: User) -> None:
    admin.delete()
    answer = sign_in(Client(), idp)
    assert answer.status_code == 403
    assert "not set up yet" in said(answer)
    assert not User.objects.exists()

    idp.person["groups"] = ["it-admins"]
    assert sign_in(Client(), idp).status_code == 302
    assert roles() == [Role.ADMIN]


def test_two_providers_have_people_and_roles_of_their_own(idp: Idp, configure: Configure) -> None:
    with Idp("okta", "Okta") as other:
        configure(idp.provider(*RULES), other.provider(RoleRule(claim_group="x", role="helper")))
        other.person |= {"email": "linus@example.com", "groups": ["x", "it-viewers"]}

        sign_in(Client(), idp)
        sign_in(Client(), other)

        # The same subject at another provider is somebody else.
        assert roles() == [Role.VIEWER]
        assert roles("linus@example.com") == [Role.HELPER]
        page = said(Client().get("/accounts/login/"))
        assert "Sign in with Entra" in page
        assert "Sign in with Okta" in page
        # A sign-in that was begun with one does not end with the other.
        client = Client()
        back = sent_back(begin(client, idp))
        assert client.get(back.replace("/entra/", "/okta/")).status_code == 403


def test_the_last_admin_stays_one_whatever_the_provider_says(idp: Idp, admin: User) -> None:
    idp.person["groups"] = ["it-admins"]
    sign_in(Client(), idp)
    # Who has an account at a provider that is set up counts as an admin who can sign in.
    people.end_grant(Actor.system("test"), admin.grants.get())
    idp.person["groups"] = ["it-viewers"]

    with capture_logs() as lines:
        assert sign_in(Client(), idp).status_code == 302

    assert roles() == [Role.ADMIN, Role.VIEWER]
    assert [line["user"] for line in lines if "last admin" in line["event"]] == ["grace.hopper"]


def test_an_admin_of_a_provider_that_is_gone_is_not_one_who_can_sign_in(
    idp: Idp, admin: User, configure: Configure
) -> None:
    idp.person["groups"] = ["it-admins"]
    sign_in(Client(), idp)
    configure()

    with pytest.raises(people.LastOne):
        people.end_grant(Actor.system("test"), admin.grants.get())


def test_one_of_two_admin_roles_of_the_only_admin_can_end(admin: User) -> None:
    second = people.grant(Actor.system("test"), admin, role=Role.ADMIN)

    people.end_grant(Actor.system("test"), second)

    with pytest.raises(people.LastOne):
        people.end_grant(Actor.system("test"), admin.grants.get(ended_at=None))


# --- Connecting ---------------------------------------------------------------------------------


def signed_in_with_password(username: str = "ada") -> Client:
    client = Client()
    client.post("/accounts/login/", {"login": username, "password": PASSWORD})
    return client


def connect(client: Client, idp: Idp) -> Any:
    """Connecting asks for the password again."""
    answer = sign_in(client, idp, process="connect")
    assert answer["Location"] == "/accounts/reauthenticate/"
    assert not SocialAccount.objects.filter(user__username="ada").exists()
    return client.post("/accounts/reauthenticate/", {"password": PASSWORD})


def test_someone_connects_their_account_and_signs_in_with_it(idp: Idp, admin: User) -> None:
    client = signed_in_with_password()

    answer = connect(client, idp)

    assert answer["Location"] == "/accounts/3rdparty/"
    page = said(client.get("/accounts/3rdparty/"))
    assert "grace@example.com" in page
    assert "Sign-in methods" in page
    event = AuditEvent.objects.get(action="people.connect")
    assert (event.actor_name, event.after) == ("Ada", {"username": "ada", "provider": "entra"})

    other = Client()
    assert sign_in(other, idp).status_code == 302
    assert other.session["_auth_user_id"] == str(admin.pk)
    assert roles("ada@example.com") == [Role.ADMIN, Role.VIEWER]
    assert User.objects.count() == 1


def test_an_account_of_somebody_else_is_not_connected(idp: Idp) -> None:
    sign_in(Client(), idp)
    client = signed_in_with_password()

    sign_in(client, idp, process="connect")
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    assert SocialAccount.objects.get().user.username == "grace.hopper"
    assert "Someone else here" in said(client.get("/accounts/3rdparty/"))


def test_what_is_disconnected_lets_nobody_in_and_takes_its_roles(idp: Idp) -> None:
    client = signed_in_with_password()
    connect(client, idp)
    sign_in(Client(), idp)

    client.post("/accounts/3rdparty/", {"account": SocialAccount.objects.get().pk})

    assert not SocialAccount.objects.exists()
    assert roles("ada@example.com") == [Role.ADMIN]
    assert AuditEvent.objects.filter(action="people.disconnect").count() == 1


def test_nobody_takes_from_themselves_the_only_way_in(idp: Idp) -> None:
    client = Client()
    sign_in(client, idp)

    page = client.post("/accounts/3rdparty/", {"account": SocialAccount.objects.get().pk})

    assert "Choose a password first" in said(page) or "no password" in said(page)
    assert SocialAccount.objects.exists()


def test_an_account_at_a_provider_that_is_gone_is_no_way_in(idp: Idp, configure: Configure) -> None:
    client = Client()
    sign_in(client, idp)
    user = User.objects.get(email="grace@example.com")
    SocialAccount.objects.create(user=user, provider="gone", uid="1")

    page = client.post(
        "/accounts/3rdparty/", {"account": SocialAccount.objects.get(provider="entra").pk}
    )

    assert "Choose a password first" in said(page)
    assert SocialAccount.objects.count() == 2
    configure()
    assert client.get("/accounts/3rdparty/").status_code == 200


def test_who_signs_in_by_other_means_has_no_role_of_a_provider(idp: Idp) -> None:
    sign_in(Client(), idp)
    user = User.objects.get(email="grace@example.com")
    user.set_password(PASSWORD)
    user.save()
    Grant.objects.create(user=user, role=Role.APPROVER, given_by="a test")

    client = signed_in_with_password("grace.hopper")

    assert is_in(client)
    assert roles() == [Role.APPROVER]
    sign_in(Client(), idp)
    assert roles() == [Role.APPROVER, Role.VIEWER]


def test_a_second_factor_that_was_set_up_here_is_asked_for(idp: Idp) -> None:
    sign_in(Client(), idp)
    secret = totp_auth.generate_totp_secret()
    totp_auth.TOTP.activate(User.objects.get(email="grace@example.com"), secret)
    client = Client()

    answer = sign_in(client, idp)

    assert answer["Location"] == "/accounts/2fa/authenticate/"
    assert not is_in(client)
    counter = next(totp_auth.yield_hotp_counters_from_time())
    code = totp_auth.format_hotp_value(totp_auth.hotp_value(secret, counter))
    client.post("/accounts/2fa/authenticate/", {"code": code})
    assert is_in(client)
    # It was the provider all the same that let them in.
    assert roles() == [Role.VIEWER]


# --- Pages --------------------------------------------------------------------------------------


def test_signing_in_begins_with_a_button_of_ours(idp: Idp) -> None:
    assert Client().get("/accounts/oidc/entra/login/").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/accounts/oidc/entra/login/").status_code == 403
    assert idp.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/oidc/other/login/",
        "/accounts/oidc/other/login/callback/",
        "/accounts/oidc/openid_connect/login/",
        "/accounts/3rdparty/signup/",
        "/accounts/3rdparty/login/error/",
        "/accounts/3rdparty/login/cancelled/",
        "/accounts/social/signup/",
        "/accounts/social/connections/",
    ],
)
def test_what_nobody_needs_of_allauth_is_not_there(idp: Idp, path: str) -> None:
    method = "post" if path.endswith("/login/") else "get"
    assert getattr(Client(), method)(path).status_code == 404


def test_a_provider_is_set_up_in_the_file_alone(idp: Idp) -> None:
    SocialApp.objects.create(
        provider="openid_connect", provider_id="evil", name="Evil", client_id="x", settings={}
    )

    assert "Evil" not in said(Client().get("/accounts/login/"))
    assert Client().post("/accounts/oidc/evil/login/").status_code == 404


def test_without_providers_nothing_is_said_of_them(admin: User) -> None:
    assert "oidc" not in said(Client().get("/accounts/login/"))
    page = said(signed_in_as(someone(Role.VIEWER)).get("/accounts/3rdparty/"))
    assert "you sign in with your password or a passkey" in page


def test_whoever_comes_from_a_provider_is_not_shown_as_invited(idp: Idp, admin: User) -> None:
    sign_in(Client(), idp)

    page = said(signed_in_as(admin).get("/settings/people/?q=grace"))

    assert "Invited" not in page
    assert "Active" in page
