"""The stand-in for Apple's enrollment service keeps Apple's rules, whoever asks."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from oauthlib.oauth1 import Client as Signer

from lab.dep import Clock, Portal, tokens
from lab.dep.catalog import Family, of_lab
from lab.dep.faults import Fault, FaultKind
from lab.dep.portal import MdmServer
from lab.dep.service import Answer, Service
from lab.devices.hardware import Model, hardware
from lab.errors import LabError, PortalRefused, UnknownDevice

NOON = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
HOST = "127.0.0.1:1"


@dataclass
class Asker:
    """An MDM server that asks; `session` is the newest it was given."""

    service: Service
    server: MdmServer
    session: str = ""
    sent: list[str] = field(default_factory=list)

    def sign(self, nonce: str = "n1", token: tokens.Token | None = None, ago: int = 0) -> str:
        words = token or self.server.token
        assert words is not None
        signer = Signer(
            words.consumer_key,
            words.consumer_secret,
            words.access_token,
            words.access_secret,
            realm="ADM",
            nonce=nonce,
            timestamp=str(int(self.service.portal.clock.now().timestamp()) - ago),
        )
        _, headers, _ = signer.sign(f"http://{HOST}/session")
        return str(headers["Authorization"])

    def open(self, authorization: str = "") -> Answer:
        headers = {"host": HOST, "user-agent": "t", "authorization": authorization or self.sign()}
        answer = self.service.answer("GET", "/session", headers, b"")
        if answer.status == 200:
            self.session = json.loads(answer.body)["auth_session_token"]
        return answer

    def ask(self, method: str, target: str, version: int = 10, **body: Any) -> Answer:
        headers = {
            "user-agent": "t",
            "x-adm-auth-session": self.session,
            "x-server-protocol-version": str(version),
        }
        content = json.dumps(body).encode() if body else b""
        answer = self.service.answer(method, target, headers, content)
        self.session = answer.headers.get("X-ADM-Auth-Session", self.session)
        return answer

    def said(self, method: str, target: str, version: int = 10, **body: Any) -> dict[str, Any]:
        answer = self.ask(method, target, version, **body)
        assert answer.status == 200, answer.body
        return dict(json.loads(answer.body))


@pytest.fixture
def portal() -> Portal:
    return Portal(Clock(NOON))


@pytest.fixture
def asker(portal: Portal) -> Asker:
    server = portal.add_server("Office")
    server.token = tokens.issue(portal.clock.now())
    asking = Asker(Service(portal), server)
    asking.open()
    return asking


def serials(page: dict[str, Any]) -> list[str]:
    return [each["serial_number"] for each in page["devices"]]


# --- Sessions ------------------------------------------------------------------------------------


def test_a_right_signature_opens_a_session(asker: Asker) -> None:
    assert asker.said("GET", "/account")["server_uuid"] == asker.server.uuid


def test_a_nonce_is_heard_once(asker: Asker) -> None:
    answer = asker.open(asker.sign("n1"))
    assert (answer.status, answer.body) == (401, b"oauth_problem_adviser nonce_used")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"access_token": "AT_other"}, b"token_rejected"),
        ({"access_secret": "AS_other"}, b"signature_invalid"),
        ({"consumer_secret": "CS_other"}, b"signature_invalid"),
        ({"consumer_key": "CK_other"}, b"consumer_key_unknown"),
    ],
)
def test_another_token_opens_none(asker: Asker, change: dict[str, str], word: bytes) -> None:
    assert asker.server.token is not None
    answer = asker.open(asker.sign("n2", replace(asker.server.token, **change)))
    assert (answer.status, word in answer.body) == (401, True)


@pytest.mark.parametrize("ago", [301, -301])
def test_a_wrong_clock_opens_none(asker: Asker, ago: int) -> None:
    answer = asker.open(asker.sign("n2", ago=ago))
    assert (answer.status, answer.body) == (401, b"oauth_problem_adviser timestamp_refused")


@pytest.mark.parametrize("authorization", ["nonsense", "OAuth realm=ADM", 'OAuth oauth_nonce="1"'])
def test_what_is_no_oauth_is_refused(asker: Asker, authorization: str) -> None:
    assert asker.open(authorization).status in (400, 401)


def test_a_token_ends_after_its_year_and_with_it_the_session(portal: Portal, asker: Asker) -> None:
    portal.clock.move(366 * 86400)
    assert asker.ask("GET", "/account").status == 401
    answer = asker.open(asker.sign("n2"))
    assert (answer.status, b"token_expired" in answer.body) == (401, True)


def test_each_answer_brings_the_next_session_and_ends_the_last(asker: Asker) -> None:
    first = asker.session
    asker.said("GET", "/account")
    assert asker.session != first
    asker.session = first
    assert asker.ask("GET", "/account").status == 401


def test_a_session_that_rests_for_three_minutes_is_over(portal: Portal, asker: Asker) -> None:
    portal.clock.move(180)
    asker.said("GET", "/account")
    portal.clock.move(181)
    assert asker.ask("GET", "/account").status == 401


def test_another_download_ends_the_token_before_it(portal: Portal, asker: Asker) -> None:
    old, certificate = asker.server.token, _certificate()
    portal.upload_certificate("Office", certificate)
    assert b"application/pkcs7-mime" in portal.download_token("Office")
    assert asker.ask("GET", "/account").status == 401
    assert b"token_rejected" in asker.open(asker.sign("n2", old)).body
    assert asker.open(asker.sign("n3")).status == 200


def test_a_client_without_a_name_is_refused(asker: Asker) -> None:
    answer = asker.service.answer("GET", "/session", {"host": HOST}, b"")
    assert (answer.status, answer.body) == (400, b"USER_AGENT_MISSING")


# --- The list and the feed -----------------------------------------------------------------------


def test_the_list_comes_in_pages_and_then_the_feed_goes_on(portal: Portal, asker: Asker) -> None:
    portal.assign(portal.buy(5), "Office")
    first = asker.said("POST", "/server/devices", limit=2)
    second = asker.said("POST", "/server/devices", limit=2, cursor=first["cursor"])
    last = asker.said("POST", "/server/devices", limit=2, cursor=second["cursor"])

    assert [p["more_to_follow"] for p in (first, second, last)] == [True, True, False]
    assert serials(first) + serials(second) + serials(last) == list(portal.devices)
    assert asker.said("POST", "/devices/sync", cursor=last["cursor"])["devices"] == []


def test_what_happens_while_the_list_is_read_comes_with_the_feed(
    portal: Portal, asker: Asker
) -> None:
    early = portal.buy(3)
    portal.assign(early, "Office")
    first = asker.said("POST", "/server/devices", limit=2)
    portal.unassign([early[0], early[2]])
    late = portal.buy(1)
    portal.assign(late, "Office")
    last = asker.said("POST", "/server/devices", limit=2, cursor=first["cursor"])

    feed = asker.said("POST", "/devices/sync", cursor=last["cursor"])

    assert (serials(first), serials(last)) == (early[:2], late)
    told = [(each["op_type"], each["serial_number"]) for each in feed["devices"]]
    assert told == [("deleted", early[0]), ("deleted", early[2]), ("added", late[0])]


def test_a_list_that_was_read_is_exhausted(portal: Portal, asker: Asker) -> None:
    page = asker.said("POST", "/server/devices")
    answer = asker.ask("POST", "/server/devices", cursor=page["cursor"])
    assert (answer.status, answer.body) == (400, b"EXHAUSTED_CURSOR")


def test_a_cursor_can_be_sent_again_and_no_two_are_the_same(portal: Portal, asker: Asker) -> None:
    start = asker.said("POST", "/server/devices")["cursor"]
    portal.assign(portal.buy(1), "Office")
    pages = [asker.said("POST", "/devices/sync", cursor=start) for _ in range(2)]
    assert pages[0]["devices"] == pages[1]["devices"] != []
    assert len({start, *(page["cursor"] for page in pages)}) == 3


def test_a_cursor_lives_for_seven_days(portal: Portal, asker: Asker) -> None:
    cursor = asker.said("POST", "/server/devices")["cursor"]
    portal.clock.move(7 * 86400)
    asker.open(asker.sign("n2"))
    cursor = asker.said("POST", "/devices/sync", cursor=cursor)["cursor"]
    portal.clock.move(7 * 86400 + 1)
    asker.open(asker.sign("n3"))
    answer = asker.ask("POST", "/devices/sync", cursor=cursor)
    assert (answer.status, answer.body) == (400, b"EXPIRED_CURSOR")


@pytest.mark.parametrize("cursor", ["x", "a.b", "", 7, "é"])
def test_what_is_no_cursor_is_refused(asker: Asker, cursor: object) -> None:
    answer = asker.ask("POST", "/devices/sync", cursor=cursor)
    assert answer.status == 400
    assert answer.body in (b"INVALID_CURSOR", b"CURSOR_REQUIRED")


def test_another_servers_cursor_is_refused(portal: Portal, asker: Asker) -> None:
    cursor = asker.said("POST", "/server/devices")["cursor"]
    other = portal.add_server("School")
    other.token = tokens.issue(portal.clock.now())
    school = Asker(asker.service, other)
    school.open()
    assert school.ask("POST", "/devices/sync", cursor=cursor).body == b"INVALID_CURSOR"


def test_a_page_has_no_more_devices_than_the_account_says(portal: Portal, asker: Asker) -> None:
    asker.server.maximum = 3
    portal.assign(portal.buy(5), "Office")
    urls = {each["uri"]: each for each in asker.said("GET", "/account")["urls"]}
    assert urls["/devices/sync"]["limit"]["maximum"] == 3
    assert len(asker.said("POST", "/server/devices", limit=100)["devices"]) == 3


def test_older_protocols_are_told_less(portal: Portal, asker: Asker) -> None:
    portal.assign(portal.buy(1, Family.IPAD), "Office")
    [old] = asker.said("POST", "/server/devices", version=2)["devices"]
    [new] = asker.said("POST", "/server/devices", version=10)["devices"]
    assert (old["os"], new["os"]) == ("iOS", "iPadOS")
    assert "wifi_mac_address" not in old
    assert "wifi_mac_address" in new
    assert "urls" not in asker.said("GET", "/account", version=2)


def test_a_move_is_deleted_here_and_added_there(portal: Portal, asker: Asker) -> None:
    [serial] = portal.buy(1)
    portal.assign([serial], "Office")
    start = asker.said("POST", "/server/devices")["cursor"]
    other = portal.add_server("School")
    portal.assign([serial], "School", "principal@example.com")

    [gone] = asker.said("POST", "/devices/sync", cursor=start)["devices"]

    assert (gone["op_type"], gone["serial_number"]) == ("deleted", serial)
    assert [each.op_type for each in other.log] == ["added"]
    assert portal.devices[serial].device_assigned_by == "principal@example.com"


# --- Single devices and profiles -----------------------------------------------------------------


def test_each_serial_number_has_its_own_answer(portal: Portal, asker: Asker) -> None:
    ours, other = portal.buy(2)
    portal.assign([ours], "Office")
    found = asker.said("POST", "/devices", devices=[ours, other, "NOBODY"])["devices"]
    assert [found[each]["response_status"] for each in (ours, other, "NOBODY")] == [
        *("SUCCESS", "NOT_ACCESSIBLE", "NOT_ACCESSIBLE")
    ]
    assert found[ours]["model"]
    assert "model" not in found[other]


def test_a_profile_is_defined_assigned_and_removed(portal: Portal, asker: Asker) -> None:
    one, two = portal.buy(2)
    portal.assign([one], "Office")
    profile = {"profile_name": "Ours", "url": "https://mdm.example.com/"}
    defined = asker.said("POST", "/profile", **profile, devices=[one, two])
    uuid = defined["profile_uuid"]
    assert defined["devices"] == {one: "SUCCESS", two: "NOT_ACCESSIBLE"}
    assert portal.devices[one].profile_status == "assigned"
    assert asker.said("GET", f"/profile?profile_uuid={uuid}") == {**profile, "profile_uuid": uuid}

    portal.change(one, profile_status="pushed")
    assert asker.said("DELETE", "/profile/devices", devices=[one])["devices"] == {one: "SUCCESS"}
    assert portal.devices[one].profile_status == "removed"

    asker.service.faults.order(Fault(FaultKind.THROTTLED, serials=frozenset({one})))
    again = asker.said("PUT", "/profile/devices", profile_uuid=uuid, devices=[one])
    assert again == {
        "profile_uuid": uuid,
        "devices": {one: "THROTTLED"},
        "retry_after_seconds": 3600,
    }


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"profile_name": None}, b"CONFIG_NAME_REQUIRED"),
        ({"profile_name": "x" * 126}, b"CONFIG_NAME_INVALID"),
        ({"url": None}, b"CONFIG_URL_REQUIRED"),
        ({"url": "http://mdm.example.com"}, b"CONFIG_URL_INVALID"),
        ({"is_mdm_removable": False}, b"FLAGS_INVALID"),
    ],
)
def test_a_profile_that_breaks_the_rules_is_refused(
    asker: Asker, change: dict[str, object], word: bytes
) -> None:
    profile = {"profile_name": "Ours", "url": "https://mdm.example.com/", **change}
    assert asker.ask("POST", "/profile", **profile).body == word


def test_a_device_that_is_disowned_leaves_the_organization(portal: Portal, asker: Asker) -> None:
    [serial] = portal.buy(1)
    portal.assign([serial], "Office")
    said = asker.said("POST", "/devices/disown", devices=[serial, "NOBODY"])["devices"]
    assert said == {serial: "SUCCESS", "NOBODY": "NOT_ACCESSIBLE"}
    assert serial not in portal.devices


@pytest.mark.parametrize("devices", [[], "A", [1], ["A"] * 1001])
def test_a_list_of_serial_numbers_has_one_to_a_thousand(asker: Asker, devices: object) -> None:
    assert asker.ask("POST", "/devices", devices=devices).status == 400


# --- The portal ----------------------------------------------------------------------------------


def test_bought_devices_go_to_the_default_of_their_family(portal: Portal, asker: Asker) -> None:
    portal.set_default("Mac", "Office")
    macs, phones = portal.buy(2, Family.MAC), portal.buy(2, Family.IPHONE)
    assert [portal.owner(each) for each in macs] == [asker.server] * 2
    assert [portal.owner(each) for each in phones] == [None] * 2
    portal.set_default("Mac", "")
    assert portal.owner(portal.buy(1, Family.MAC)[0]) is None


def test_what_the_portal_refuses_changes_nothing(portal: Portal, asker: Asker) -> None:
    [serial] = portal.buy(1)
    with pytest.raises(UnknownDevice):
        portal.assign([serial, "NOBODY"], "Office")
    with pytest.raises(PortalRefused):
        portal.assign([serial], "Elsewhere")
    with pytest.raises(LabError):
        portal.change(serial, shoe_size=42)
    with pytest.raises(PortalRefused):
        portal.add_server("Office")
    with pytest.raises(PortalRefused):
        portal.upload_certificate("Office", b"nonsense")
    assert portal.owner(serial) is None


def test_the_portal_is_the_same_after_a_restart(portal: Portal, asker: Asker) -> None:
    portal.upload_certificate("Office", _certificate())
    portal.set_default("Mac", "Office")
    portal.assign(portal.buy(4), "Office")
    portal.enter(of_lab(hardware(Model.IPHONE, 1), 0))
    start = asker.said("POST", "/server/devices", limit=2)["cursor"]

    again = Portal.restored(json.loads(json.dumps(portal.snapshot())), Clock(NOON))
    later = Asker(Service(again), again.server("Office"))
    later.open()

    assert again.snapshot() == portal.snapshot()
    rest = later.said("POST", "/server/devices", cursor=start)
    assert serials(rest) == list(portal.server("Office").assigned)[2:]
    bought = again.buy(1)
    assert bought[0] not in portal.devices


def _certificate() -> bytes:
    from abm.wire.server_token import make_key_pair

    return make_key_pair("Tests", NOON).certificate_pem
