"""The client keeps to Apple's rules, and says what went wrong by the type of its error."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from urllib.parse import quote, unquote

import pytest

from abm import client as apple
from abm.client import Client, Credentials, Patience
from tests.abm.scripted import Script, service

KEYS = Credentials("CK_1", "CS_2", "AT_3", "AS_4")
SESSION = {"auth_session_token": "first"}
PAGE = {"devices": [], "cursor": "c1", "more_to_follow": False}


@pytest.fixture
def script():
    with service() as script:
        yield script


@pytest.fixture
def waited() -> list[float]:
    return []


@pytest.fixture
def client(script: Script, waited: list[float]):
    patience = Patience(pause=lambda seconds, why: waited.append(seconds))
    with Client(script.url, KEYS, patience=patience) as client:
        yield client


def test_a_session_is_opened_with_a_signature_that_apple_can_verify(client, script):
    script.say(200, SESSION)
    script.say(200, PAGE)

    client.list_changes("c0", 100)

    given = script.asked[0].headers["Authorization"]
    words = {k: unquote(v) for k, v in re.findall(r'(\w+)="([^"]*)"', given)}
    assert given.startswith("OAuth ")
    assert words.pop("realm") == "ADM"
    assert (words["oauth_consumer_key"], words["oauth_token"]) == ("CK_1", "AT_3")
    signature = words.pop("oauth_signature")
    parameters = "&".join(f"{k}={quote(v, safe='')}" for k, v in sorted(words.items()))
    base = "&".join(quote(part, safe="") for part in ("GET", f"{script.url}/session", parameters))
    expected = hmac.new(b"CS_2&AS_4", base.encode(), hashlib.sha1).digest()
    assert signature == base64.b64encode(expected).decode()


def test_every_request_names_program_protocol_and_session(client, script):
    script.say(200, SESSION)
    script.say(200, PAGE)

    client.list_devices("", 250)

    asked = script.asked[1]
    assert asked.path == "/server/devices"
    assert asked.json == {"limit": 250}
    assert asked.headers["User-Agent"].startswith("GuardMDM")
    assert asked.headers["X-Server-Protocol-Version"] == "10"
    assert asked.headers["Content-Type"] == "application/json;charset=UTF8"
    assert asked.headers["X-ADM-Auth-Session"] == "first"


def test_the_newest_session_of_any_answer_is_used_next(client, script):
    script.say(200, SESSION)
    script.say(200, PAGE, X_ADM_Auth_Session="second")
    script.say(400, b"INVALID_CURSOR", X_ADM_Auth_Session="third")
    script.say(200, PAGE)

    client.list_changes("c0", 100)
    with pytest.raises(apple.CursorInvalid):
        client.list_changes("c0", 100)
    client.list_changes("c0", 100)

    sessions = [each.headers.get("X-ADM-Auth-Session") for each in script.asked[1:]]
    assert sessions == ["first", "second", "third"]


@pytest.mark.parametrize(
    ("status", "body"), [(401, b"x"), (403, b"FORBIDDEN"), (403, b'"FORBIDDEN"')]
)
def test_a_session_that_is_over_is_opened_anew_once(client, script, status, body):
    client.session = "old"
    script.say(status, body)
    script.say(200, SESSION)
    script.say(200, PAGE)

    client.list_changes("c0", 100)

    assert script.paths == ["POST /devices/sync", "GET /session", "POST /devices/sync"]


def test_a_session_that_is_refused_each_time_is_not_opened_for_ever(client, script):
    for _ in range(3):
        script.say(200, SESSION)
        script.say(401, b"unauthorized")

    with pytest.raises(apple.TokenInvalid):
        client.list_changes("c0", 100)

    assert script.paths == ["GET /session", "POST /devices/sync"] * 2


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b"oauth_problem_adviser: token_expired", apple.TokenExpired),
        (401, b"token_rejected", apple.TokenInvalid),
        (401, b"signature_invalid", apple.TokenInvalid),
        (403, b"T_C_NOT_SIGNED", apple.TermsNotSigned),
        (403, b'"T_C_NOT_SIGNED"', apple.TermsNotSigned),
        (403, b"ACCESS_DENIED", apple.AccessDenied),
        (400, b"USER_AGENT_MISSING", apple.Refused),
    ],
)
def test_what_is_wrong_with_the_token_is_known_by_type(client, script, status, body, error):
    script.say(status, body)

    with pytest.raises(error):
        client.account()

    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"EXPIRED_CURSOR", apple.CursorExpired),
        (b"INVALID_CURSOR", apple.CursorInvalid),
        (b"EXHAUSTED_CURSOR", apple.CursorExhausted),
        (b"CURSOR_REQUIRED", apple.CursorInvalid),
    ],
)
def test_what_is_wrong_with_a_cursor_is_known_by_type(client, script, body, error):
    client.session = "s"
    script.say(400, body)

    with pytest.raises(error):
        client.list_changes("c", 10)


def test_apple_is_asked_again_with_growing_pauses_and_then_given_up(client, script, waited):
    client.session = "s"
    script.say(503, b"")

    with pytest.raises(apple.Unavailable):
        client.list_changes("c", 10)

    assert len(script.asked) == 4
    assert 0.5 <= waited[0] <= 1 <= waited[1] <= 2 <= waited[2] <= 4


def test_a_pause_that_apple_asks_for_is_kept(client, script, waited):
    client.session = "s"
    script.say(429, b"", Retry_After="7")
    script.say(200, PAGE)

    client.list_changes("c", 10)

    assert waited == [7]


def test_a_long_pause_is_left_to_the_next_run(client, script, waited):
    client.session = "s"
    script.say(429, b"", Retry_After="3600")

    with pytest.raises(apple.Throttled) as caught:
        client.list_changes("c", 10)

    assert caught.value.retry_after == 3600
    assert waited == []


def test_a_connection_that_breaks_is_tried_again(client, script):
    client.session = "s"
    script.say(200, None)
    script.say(200, PAGE)

    assert client.list_changes("c", 10).cursor == "c1"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>proxy</html>",
        b'{"devices": [',
        [1],
        {"devices": {}, "cursor": "c", "more_to_follow": False},
        {"devices": [], "cursor": 7, "more_to_follow": False},
        {"devices": [], "cursor": "", "more_to_follow": False},
        {"devices": [], "cursor": "c", "more_to_follow": "no"},
        b"[" * 100_000,
    ],
)
def test_nonsense_is_no_page(client, script, body):
    client.session = "s"
    script.say(200, body)

    with pytest.raises(apple.Unavailable):
        client.list_changes("c", 10)


def test_a_list_of_serials_is_split_at_apples_bound(client, script):
    client.session = "s"
    script.say(200, {"devices": {"S0": {"serial_number": "S0", "response_status": "SUCCESS"}}})
    serials = [f"S{n}" for n in range(2_300)]

    found, _ = client.details(serials)

    assert [len(each.json["devices"]) for each in script.asked] == [1000, 1000, 300]
    assert found["S0"].response_status == "SUCCESS"
    assert "S1" not in found


def test_disowning_is_never_repeated_by_itself(client, script):
    client.session = "s"
    script.say(503, b"")

    with pytest.raises(apple.Unavailable):
        client.disown(["A"])

    assert script.paths == ["POST /devices/disown"]


def test_an_older_protocol_is_spoken_where_the_newest_is_refused(client, script):
    client.session = "s"
    script.say(400, b"UNSUPPORTED_PROTOCOL_VERSION")
    script.say(200, PAGE)

    client.list_changes("c", 10)

    spoken = [each.headers["X-Server-Protocol-Version"] for each in script.asked]
    assert spoken == ["10", "9"]


def test_profiles_are_assigned_serial_by_serial(client, script):
    client.session = "s"
    script.say(200, {"devices": {"A": "SUCCESS", "B": "THROTTLED"}, "retry_after_seconds": 60})

    assert client.assign_profile("P", ["A", "B"]) == ({"A": "SUCCESS", "B": "THROTTLED"}, 60)


def test_credentials_are_not_shown():
    assert "CS_2" not in repr(KEYS)


def test_what_apple_says_can_be_kept(client, script):
    client.session = "s"
    script.say(403, b"NO\0T\xff SO")

    with pytest.raises(apple.Refused) as refused:
        client.account()

    assert str(refused.value) == "NOT\ufffd SO"
