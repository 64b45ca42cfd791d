"""Signing in with an identity provider: who is let in, with which roles, and what of the provider's
words counts. The provider is tests/oidc.py, on a real socket.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.totp.internal import auth as totp_auth
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.conf import LazySettings
from django.core.cache import cache
from django.test import Client
from structlog.testing import capture_logs

from mdm import providers
from mdm.accounts import people, web
from mdm.accounts.models import Grant, User
from mdm.accounts.rights import LIMITABLE, Role
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.env import BadEnvironment, Env
from mdm.models import Group
from mdm.providers import IdentityProvider, RoleRule
from tests.mdm.dashboard.conftest import PASSWORD
from tests.oidc import Idp, begin, sent_back, sign_in
from tests.people import signed_in as signed_in_as
from tests.people import someone

pytestmark = pytest.mark.django_db

RULES = (
    RoleRule(claim_group="it-viewers", role="viewer"),
    RoleRule(claim_group="it-operators", role="operator"),
    RoleRule(claim_group="it-admins", role="admin"),
    RoleRule(claim_group="it-kiosks", role="helper", group="Kiosks"),
)

Configure = Callable[..., None]


@pytest.fixture
def configure(settings: LazySettings) -> Configure:
    def configured(*providers: IdentityProvider) -> None:
        settings.ENV = dataclasses.replace(settings.ENV, oidc=providers)

    return configured


@pytest.fixture
def idp(configure: Configure, admin: User) -> Iterator[Idp]:
    """A provider that is set up, of a server that has an admin."""
    with Idp() as idp:
        configure(idp.provider(*RULES))
        yield idp


def roles(email: str = "grace@example.com") -> list[Role]:
    return sorted(held.role for held in User.objects.get(email=email).held())


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def acts(email: str = "grace@example.com") -> list[str]:
    events = AuditEvent.objects.filter(subject_id=str(User.objects.get(email=email).pk))
    return list(events.order_by("id").values_list("action", flat=True))


def said(answer: Any) -> str:
    return str(answer.content.decode())


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


# --- What counts of the provider's words --------------------------------------------------------


@pytest.mark.parametrize(
    "lie",
    [
        {"aud": "another client"},
        {"aud": ["guardmdm", "another client"], "azp": "another client"},
        {"iss": "https://evil.example"},
        # Long over.
        {"exp": 1_700_000_000},
        {"nonce": "of another sign-in"},
        {"nonce": None},
        {"sub": "x" * 192},
        {"sub": "a\0b"},
        {"exp": {}},
    ],
    ids=lambda lie: ",".join(f"{key}={value!s:.20}" for key, value in lie.items()),
)
def test_an_id_token_that_was_not_made_for_this_sign_in_is_refused(
    idp: Idp, lie: dict[str, Any]
) -> None:
    idp.lies = lie
    client = Client()

    with capture_logs() as lines:
        answer = sign_in(client, idp)

    assert answer.status_code == 403
    assert "does not hold" in said(answer)
    assert [line["kind"] for line in lines if line.get("provider") == "entra"] == ["OAuth2Error"]
    assert User.objects.count() == 1
    assert not is_in(client)


def test_an_id_token_without_an_end_is_refused(idp: Idp, monkeypatch: pytest.MonkeyPatch) -> None:
    sign = idp._signed
    monkeypatch.setattr(
        idp, "_signed", lambda claims: sign({k: v for k, v in claims.items() if k != "exp"})
    )

    assert sign_in(Client(), idp).status_code == 403


def test_an_id_token_signed_with_another_key_is_refused(idp: Idp) -> None:
    idp.forger = True

    assert sign_in(Client(), idp).status_code == 403
    assert User.objects.count() == 1


def test_an_id_token_signed_with_what_is_no_secret_is_refused(idp: Idp) -> None:
    idp.algorithm = "HS256"

    assert sign_in(Client(), idp).status_code == 403
    assert User.objects.count() == 1


def test_userinfo_fills_in_what_the_id_token_lacks(idp: Idp) -> None:
    del idp.person["groups"]
    idp.userinfo = {"groups": "it-viewers", "email": "eve@example.com"}

    assert sign_in(Client(), idp).status_code == 302

    assert roles() == [Role.VIEWER]


def test_userinfo_about_somebody_else_is_refused(idp: Idp) -> None:
    del idp.person["groups"]
    idp.userinfo = {"groups": ["it-admins"], "sub": "0002"}

    assert sign_in(Client(), idp).status_code == 403
    assert User.objects.count() == 1


def test_groups_that_are_no_list_of_names_are_none(idp: Idp) -> None:
    idp.person["groups"] = [{"it-viewers": True}, 7, None]

    assert sign_in(Client(), idp).status_code == 403


def test_a_state_is_taken_once_and_from_the_browser_that_began(idp: Idp) -> None:
    client = Client()
    back = sent_back(begin(client, idp))

    assert Client().get(back).status_code == 403
    assert client.get(back).status_code == 302
    client.logout()
    answer = client.get(back)

    assert answer.status_code == 403
    assert "is used already" in said(answer)
    # Nobody was asked about the code again.
    assert [path for path, _ in idp.asked].count("/realm/token") == 1


def test_a_code_that_was_not_given_to_this_sign_in_is_refused(idp: Idp) -> None:
    """PKCE: the code of one sign-in in the answer to another."""
    client, victim = Client(), Client()
    code = sent_back(begin(victim, idp)).partition("code=")[2].partition("&")[0]
    back = sent_back(begin(client, idp))
    mine = back.partition("code=")[2].partition("&")[0]

    assert client.get(back.replace(mine, code)).status_code == 403
    assert not is_in(client)


def test_what_is_asked_of_the_provider_is_not_the_browsers_to_say(idp: Idp) -> None:
    client = Client()
    path = (
        "/accounts/oidc/entra/login/?scope=offline_access&auth_params=redirect_uri%3Dhttps://evil"
    )

    client.post(path, {"process": "redirect", "next": "https://evil.example/"})
    (state,) = client.session["socialaccount_states"].values()
    back = sent_back(begin(client, idp))

    assert state[0]["process"] == "login"
    assert "next" not in state[0]
    assert client.get(back)["Location"] == "/"


def test_the_way_back_leads_to_the_page_that_was_asked_for(idp: Idp) -> None:
    page = said(Client().get("/accounts/login/?next=/settings/tokens/"))
    assert page.count('name="next" value="/settings/tokens/"') == 3

    assert sign_in(Client(), idp, next="/devices/")["Location"] == "/devices/"


def test_who_cancels_at_the_provider_reads_that_they_did(idp: Idp) -> None:
    client = Client()
    state = begin(client, idp).partition("state=")[2].partition("&")[0]

    answer = client.get(f"/accounts/oidc/entra/login/callback/?error=access_denied&state={state}")

    assert answer.status_code == 403
    assert "was canceled" in said(answer)


def test_no_token_of_the_provider_is_kept(idp: Idp) -> None:
    sign_in(Client(), idp)
    sign_in(Client(), idp)

    assert not SocialToken.objects.exists()
    assert "it-viewers" not in json.dumps(SocialAccount.objects.get().extra_data)


# --- When it does not answer --------------------------------------------------------------------

DISCOVERY = "/realm/.well-known/openid-configuration"
JSON = {"Content-Type": "application/json"}


def test_a_provider_that_is_away_gives_a_page_that_says_so(
    admin: User, configure: Configure
) -> None:
    with Idp() as idp:
        configure(idp.provider(*RULES))
        client = Client()
        back = sent_back(begin(client, idp))
    # While its addresses are known still, and without them: at the token, at discovery, and while
    # it is left alone.
    answers = [client.get(back)]
    cache.clear()
    answers += [Client().post("/accounts/oidc/entra/login/") for _ in range(2)]

    for answer in answers:
        assert answer.status_code == 502
        assert "Entra does not answer as it should" in said(answer)


@pytest.mark.parametrize("path", [DISCOVERY, "/realm/token", "/realm/keys", "/realm/userinfo"])
@pytest.mark.parametrize(
    "document",
    [
        (307, {"Location": "/elsewhere"}, b""),
        (500, JSON, b"{}"),
        (200, JSON, b"<html>"),
        (200, {}, b"[]"),
        (200, JSON, b"[" * 5000 + b"]" * 5000),
        (200, JSON, b'{"x": "' + b"x" * 1_100_000 + b'"}'),
    ],
    ids=["redirect", "500", "html", "list", "deep", "large"],
)
def test_an_answer_that_is_none_gives_a_page_that_says_so(
    idp: Idp, path: str, document: tuple[int, dict[str, str], bytes]
) -> None:
    client = Client()
    del idp.person["groups"]
    back = sent_back(begin(client, idp))
    cache.clear()
    idp.documents[path] = document

    answer = client.get(back)

    assert answer.status_code == 502
    assert "Entra does not answer as it should" in said(answer)
    assert User.objects.count() == 1
    assert "/elsewhere" not in [asked for asked, _ in idp.asked]


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": None},
        {"userinfo_endpoint": 7},
        {"token_endpoint": "http://[::1"},
    ],
    ids=lambda change: min(change),
)
def test_a_discovery_document_that_leads_astray_is_not_followed(
    idp: Idp, change: dict[str, Any]
) -> None:
    document = {**idp._discovery(), **change}
    idp.documents[DISCOVERY] = (200, JSON, json.dumps(document).encode())

    assert Client().post("/accounts/oidc/entra/login/").status_code == 502


def test_from_https_it_leads_to_https_alone(idp: Idp) -> None:
    provider = dataclasses.replace(idp.provider(*RULES), url="https://login.example.com")

    with pytest.raises(web.BadAnswer):
        web._endpoint("http://login.example.com/token", "token_endpoint", provider)


def test_keys_that_are_none_are_no_reason_to_break(idp: Idp) -> None:
    for keys in ("x", [7, {}, {"kty": "RSA", "kid": "1", "n": "!", "e": "!"}], None):
        idp.documents["/realm/keys"] = (200, JSON, json.dumps({"keys": keys}).encode())
        assert sign_in(Client(), idp).status_code == 403


@pytest.mark.parametrize("token", [r'"\ud800"', '"x"', "7", "null"])
def test_an_id_token_that_is_none_is_refused(idp: Idp, token: str) -> None:
    answer = f'{{"access_token": "x", "id_token": {token}}}'.encode()
    idp.documents["/realm/token"] = (200, JSON, answer)

    assert sign_in(Client(), idp).status_code == 403


def test_a_provider_that_is_away_is_left_alone_for_a_moment(idp: Idp) -> None:
    idp.documents[DISCOVERY] = (503, JSON, b"{}")

    for _ in range(3):
        assert Client().post("/accounts/oidc/entra/login/").status_code == 502

    assert len(idp.asked) == 1


def test_its_addresses_are_asked_for_once_in_a_while(idp: Idp) -> None:
    for _ in range(2):
        sign_in(Client(), idp)

    assert [path for path, _ in idp.asked].count(DISCOVERY) == 1


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


# --- The file -----------------------------------------------------------------------------------

GOOD = """
[[provider]]
id = "entra"
name = "Entra"
url = "https://login.example.com/realm/"
client_id = "guardmdm"
client_secret = "secret"

[[provider.role]]
claim_group = "it-admins"
role = "admin"

[[provider.role]]
claim_group = "it-kiosks"
role = "helper"
group = "Kiosks"
"""


def load(folder: Path, text: str, **more: str) -> Env:
    (folder / "oidc.toml").write_text(text)
    return Env.load({"GUARD_OIDC": str(folder / "oidc.toml"), **more})


def test_the_file_is_read(tmp_path: Path) -> None:
    (provider,) = load(tmp_path, GOOD).oidc

    assert provider == IdentityProvider(
        id="entra",
        name="Entra",
        url="https://login.example.com/realm",
        client_id="guardmdm",
        client_secret="secret",
        rules=(
            RoleRule(claim_group="it-admins", role="admin"),
            RoleRule(claim_group="it-kiosks", role="helper", group="Kiosks"),
        ),
    )
    assert "secret'" not in repr(provider)


def test_a_secret_can_stand_in_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")

    env = load(tmp_path, GOOD.replace('client_secret = "secret"', 'client_secret_file = "secret"'))

    assert env.oidc[0].client_secret == "from a file"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("admin", "root", "there is no role root; there are viewer, helper"),
        ('"helper"', '"approver"', "the role approver is for all devices and takes no group"),
        ('id = "entra"', 'id = "En tra"', "small letters, digits and single hyphens"),
        ('id = "entra"', "", "a provider has no id"),
        ('name = "Entra"', "", "the provider entra has no name"),
        ('name = "Entra"', 'nmae = "Entra"', "nmae is not known; there are client_id"),
        ("https://login", "ldap://login", "its url is no address"),
        ('client_secret = "secret"', "", "needs either client_secret or client_secret_file"),
        ('client_secret = "secret"', 'client_secret_file = "none"', "none cannot be read"),
        ('claim_group = "it-admins"', "", "has no claim_group"),
        ("[[provider.role]]", "[[provider.roles]]", "roles is not known"),
        ("[[provider]]", "[provider]", "is no TOML|two brackets"),
        ("[[provider]]", "[[provider", "is no TOML"),
        (GOOD, "", r"has no \[\[provider\]\]"),
        (GOOD, GOOD + GOOD, "two providers have the id entra"),
        (GOOD, GOOD.partition("[[provider.role]]")[0], "nobody would get in"),
    ],
)
def test_a_file_that_is_wrong_stops_the_start_with_what_is_wrong(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    assert old in GOOD

    with pytest.raises(BadEnvironment, match=complaint) as stopped:
        load(tmp_path, GOOD.replace(old, new))

    assert "GUARD_OIDC" in str(stopped.value)


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadEnvironment, match="cannot be read"):
        Env.load({"GUARD_OIDC": str(tmp_path / "none.toml")})


def test_in_production_a_provider_is_reached_by_https(tmp_path: Path) -> None:
    production = {
        "GUARD_ENV": "production",
        "GUARD_SECRET_KEY": "x" * 50,
        "GUARD_ENCRYPTION_KEYS": "A" * 43 + "=",
        "DATABASE_URL": "postgresql://x/x",
        "REDIS_URL": "redis://x/0",
        "GUARD_PUBLIC_URL": "https://mdm.example.com",
        "GUARD_DASHBOARD_URL": "https://mdm.example.com",
    }
    load(tmp_path, GOOD, **production)

    with pytest.raises(BadEnvironment, match="the url of entra must begin with https://"):
        load(tmp_path, GOOD.replace("https://", "http://"), **production)


def test_the_file_knows_the_roles_that_there_are() -> None:
    assert list(providers.ROLES) == [role.value for role in Role]
    assert list(providers.LIMITABLE) == [role.value for role in LIMITABLE]


def test_the_docs_hold_a_file_that_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "roles.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "entra.secret").write_text("secret")

    assert load(tmp_path, example).oidc[0].rules
