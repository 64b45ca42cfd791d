"""What of an identity provider's words counts, and what is said where it gives none. It is
tests/oidc.py, on a real socket.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount, SocialToken
from django.core.cache import cache
from django.test import Client
from structlog.testing import capture_logs

from mdm.accounts import web
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from tests.mdm.dashboard.conftest import Configure
from tests.oidc import RULES, Idp, begin, is_in, roles, said, sent_back, sign_in

pytestmark = pytest.mark.django_db


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
