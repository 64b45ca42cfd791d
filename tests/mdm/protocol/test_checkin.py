"""Check-in messages: each kind becomes its own type, and hostile fields become BadMessage."""

from __future__ import annotations

import contextlib
import plistlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdm.protocol import checkin
from mdm.protocol.checkin import REDACTED, parse_checkin, redacted
from mdm.protocol.errors import BadMessage, BadPlist
from mdm.protocol.plist import safe_plist_loads
from tests.mdm.protocol import plists

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures" / "checkin"
UDID = "9353BC9A-5CF9-4C9E-9AD4-8D1E41D5FE3E"
USER = "A9F2C3D4-0000-4000-8000-123456789ABC"
TOPIC = "com.apple.mgmt.External.0f0f0f0f-0000-4000-8000-000000000000"

TOKEN_UPDATE = {
    "MessageType": "TokenUpdate",
    "UDID": UDID,
    "Topic": TOPIC,
    "Token": b"\x01" * 32,
    "PushMagic": "0F0F0F0F-0000-4000-8000-000000000001",
}
AUTHENTICATE = {"MessageType": "Authenticate", "UDID": UDID, "Topic": TOPIC}


def parse(message: dict[str, Any]) -> checkin.CheckinMessage:
    both = [
        parse_checkin(plistlib.dumps(message, fmt=format))
        for format in (plistlib.FMT_XML, plistlib.FMT_BINARY)
    ]
    assert both[0] == both[1]
    return both[0]


def refused(message: dict[str, Any]) -> str:
    with pytest.raises(BadMessage) as caught:
        parse_checkin(plistlib.dumps(message))
    return caught.value.reason


def test_authenticate_brings_the_hardware_facts() -> None:
    message = parse(
        AUTHENTICATE
        | {
            "SerialNumber": "C02XK1ABCDEF",
            "DeviceName": "Ann's Mac",
            "Model": "MacBookPro18,3",
            "ModelName": "MacBook Pro",
            "ProductName": "MacBookPro18,3",
            "OSVersion": "15.1",
            "BuildVersion": "24B83",
            "IMEI": "35 000000 000000 0",
            "MEID": "35000000000000",
        }
    )
    assert isinstance(message, checkin.Authenticate)
    assert (message.id.device_id, message.topic) == (UDID, TOPIC)
    assert (message.serial_number, message.device_name) == ("C02XK1ABCDEF", "Ann's Mac")
    assert (message.model, message.model_name) == ("MacBookPro18,3", "MacBook Pro")
    assert (message.product_name, message.os_version) == ("MacBookPro18,3", "15.1")
    assert (message.build_version, message.imei) == ("24B83", "35 000000 000000 0")
    assert message.meid == "35000000000000"


def test_authenticate_may_bring_none_of_them() -> None:
    message = parse(AUTHENTICATE)
    assert isinstance(message, checkin.Authenticate)
    facts = (message.serial_number, message.device_name, message.model, message.model_name)
    assert (*facts, message.product_name, message.os_version, message.imei) == (None,) * 7


def test_names_for_people_are_cleaned_and_cut() -> None:
    data = plists.document(
        b"<dict><key>MessageType</key><string>Authenticate</string><key>UDID</key><string>A</string>"
        b"<key>Topic</key><string>t</string><key>DeviceName</key><string> a&#13;&#10;b\xc2\x85c "
        b"</string><key>Model</key><string>" + b"x" * 5000 + b"</string></dict>"
    )
    message = parse_checkin(data)
    assert isinstance(message, checkin.Authenticate)
    assert message.device_name == "a  b c"
    assert message.model == "x" * 255


def test_a_token_update_says_how_to_wake_the_device() -> None:
    message = parse(TOKEN_UPDATE | {"UnlockToken": b"secret", "AwaitingConfiguration": True})
    assert isinstance(message, checkin.TokenUpdate)
    assert (message.token, message.push_magic) == (b"\x01" * 32, TOKEN_UPDATE["PushMagic"])
    assert (message.unlock_token, message.awaiting_configuration) == (b"secret", True)
    assert message.not_on_console is False


def test_a_token_update_of_a_user_belongs_to_the_user() -> None:
    message = parse(TOKEN_UPDATE | {"UserID": USER, "NotOnConsole": True})
    assert isinstance(message, checkin.TokenUpdate)
    assert message.id.key == f"{UDID}:{USER}".lower()
    assert (message.unlock_token, message.not_on_console) == (None, True)


def test_an_empty_unlock_token_is_none() -> None:
    message = parse(TOKEN_UPDATE | {"UnlockToken": b""})
    assert isinstance(message, checkin.TokenUpdate)
    assert message.unlock_token is None


def test_a_check_out_needs_no_more_than_the_id() -> None:
    message = parse({"MessageType": "CheckOut", "UDID": UDID})
    assert message == checkin.CheckOut(message.id, None)
    assert parse({"MessageType": "CheckOut", "UDID": UDID, "Topic": TOPIC}).topic == TOPIC  # type: ignore[union-attr]


def test_both_halves_of_user_authenticate_are_told_apart() -> None:
    first = {"MessageType": "UserAuthenticate", "UDID": UDID, "UserID": USER}
    assert parse(first).digest_response is None  # type: ignore[union-attr]
    second = parse(first | {"DigestResponse": "Digest username=…"})
    assert second.digest_response == "Digest username=…"  # type: ignore[union-attr]


def test_user_authenticate_without_a_user_is_refused() -> None:
    assert refused({"MessageType": "UserAuthenticate", "UDID": UDID}) == "user-id"


def test_a_bootstrap_token_is_set_or_withdrawn() -> None:
    message = {"MessageType": "SetBootstrapToken", "UDID": UDID}
    assert parse(message | {"BootstrapToken": b"t"}).bootstrap_token == b"t"  # type: ignore[union-attr]
    assert parse(message | {"BootstrapToken": b""}).bootstrap_token is None  # type: ignore[union-attr]
    assert parse(message).bootstrap_token is None  # type: ignore[union-attr]


def test_the_other_messages_have_types_of_their_own() -> None:
    ids = {"UDID": UDID}
    awaiting = parse({"MessageType": "GetBootstrapToken", **ids, "AwaitingConfiguration": True})
    assert awaiting == checkin.GetBootstrapToken(awaiting.id, True)
    parameters = {"SecurityToken": "x"}
    token = parse(
        {
            "MessageType": "GetToken",
            **ids,
            "TokenServiceType": "com.apple.watch.pairing",
            "TokenParameters": parameters,
        }
    )
    assert token == checkin.GetToken(token.id, "com.apple.watch.pairing", parameters)
    declarative = parse(
        {"MessageType": "DeclarativeManagement", **ids, "Endpoint": "status", "Data": b"{}"}
    )
    assert declarative == checkin.DeclarativeManagement(declarative.id, "status", b"{}")
    returning = parse({"MessageType": "ReturnToService", **ids})
    assert returning == checkin.ReturnToService(returning.id)


@pytest.mark.parametrize("kind", [None, "", "authenticate", "Idle", 7, b"Authenticate", [], {}])
def test_an_unknown_message_type_is_refused(kind: object) -> None:
    message = {"UDID": UDID} if kind is None else {"UDID": UDID, "MessageType": kind}
    assert refused(message) == "message-type"


@pytest.mark.parametrize("missing", ["Topic", "Token", "PushMagic"])
def test_a_token_update_that_lacks_a_field_is_refused(missing: str) -> None:
    empty = b"" if missing == "Token" else ""
    assert refused({k: v for k, v in TOKEN_UPDATE.items() if k != missing}) == "field"
    assert refused(TOKEN_UPDATE | {missing: empty}) == "field"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Token", "text"),
        ("Token", b"x" * 256),
        ("PushMagic", b"data"),
        ("PushMagic", "x" * 256),
        ("PushMagic", "a\nb"),
        ("Topic", 7),
        ("Topic", "a\tb"),
        ("UnlockToken", "text"),
        ("UnlockToken", b"x" * (64 * 1024 + 1)),
        ("AwaitingConfiguration", 1),
        ("NotOnConsole", "true"),
    ],
)
def test_a_token_update_with_a_hostile_field_is_refused(field: str, value: object) -> None:
    assert refused(TOKEN_UPDATE | {field: value}) == "field"


@pytest.mark.parametrize("field", ["SerialNumber", "DeviceName", "Model", "OSVersion", "IMEI"])
@pytest.mark.parametrize("value", [7, b"x", ["x"], {"x": "y"}, True])
def test_a_hardware_fact_of_another_type_is_refused(field: str, value: object) -> None:
    assert refused(AUTHENTICATE | {field: value}) == "field"


@pytest.mark.parametrize(
    "message",
    [
        {"MessageType": "GetToken"},
        {"MessageType": "GetToken", "TokenServiceType": "x", "TokenParameters": []},
        {
            "MessageType": "GetToken",
            "TokenServiceType": "x",
            "TokenParameters": {str(number): "" for number in range(17)},
        },
        {"MessageType": "DeclarativeManagement"},
        {"MessageType": "DeclarativeManagement", "Endpoint": "status", "Data": "{}"},
        {"MessageType": "DeclarativeManagement", "Endpoint": "x" * 1025},
        {"MessageType": "SetBootstrapToken", "BootstrapToken": "text"},
        {"MessageType": "GetBootstrapToken", "AwaitingConfiguration": "yes"},
    ],
)
def test_other_messages_with_hostile_fields_are_refused(message: dict[str, object]) -> None:
    assert refused(message | {"UDID": UDID}) == "field"


def test_secrets_are_not_in_the_stored_record() -> None:
    secrets = {
        "Token": b"S3CRET",
        "PushMagic": "S3CRET",
        "UnlockToken": b"S3CRET",
        "BootstrapToken": b"S3CRET",
        "DigestResponse": "S3CRET",
        "TokenParameters": {"SecurityToken": "S3CRET", "PhoneUDID": UDID},
        "Inner": [{"UnlockToken": {"deep": b"S3CRET"}}],
    }
    record = redacted(plistlib.dumps(TOKEN_UPDATE | secrets, fmt=plistlib.FMT_BINARY))
    kept = safe_plist_loads(record)
    assert b"S3CRET" not in record
    assert b"UzNDUkVU" not in record
    assert (kept["UDID"], kept["Topic"], kept["Token"]) == (UDID, TOPIC, REDACTED)
    assert kept["TokenParameters"] == {"SecurityToken": REDACTED, "PhoneUDID": UDID}
    assert kept["Inner"] == [{"UnlockToken": REDACTED}]


def test_secrets_are_not_in_a_repr() -> None:
    for message in (
        TOKEN_UPDATE | {"Token": b"S3CRET", "PushMagic": "S3CRET", "UnlockToken": b"S3CRET"},
        {"MessageType": "SetBootstrapToken", "UDID": UDID, "BootstrapToken": b"S3CRET"},
        {
            "MessageType": "UserAuthenticate",
            "UDID": UDID,
            "UserID": USER,
            "DigestResponse": "S3CRET",
        },
        {
            "MessageType": "GetToken",
            "UDID": UDID,
            "TokenServiceType": "x",
            "TokenParameters": {"SecurityToken": "S3CRET"},
        },
    ):
        assert "S3CRET" not in repr(parse(message))


def test_what_xml_cannot_hold_does_not_keep_a_message_from_being_recorded() -> None:
    hidden = b"\x66" + "Token\0".encode("utf-16-be")
    secret, control, uid = b"\x56S3CRET", b"\x53x\0\x1b", b"\x80\x07"
    objects = [b"\xd3\x01\x02\x03\x04\x05\x06", b"\x51a", b"\x51b", hidden, control, uid, secret]
    record = redacted(plists.binary(objects))
    assert safe_plist_loads(record) == {"a": "x", "b": "7", "Token": REDACTED}


_VALUES = plists.values | st.just(UDID) | st.just(TOPIC)
_FIELDS = [
    "UDID", "EnrollmentID", "UserID", "EnrollmentUserID", "UserShortName", "UserLongName",
    "Topic", "Token", "PushMagic", "UnlockToken", "AwaitingConfiguration", "NotOnConsole",
    "SerialNumber", "DeviceName", "Model", "OSVersion", "IMEI", "BootstrapToken",
    "DigestResponse", "TokenServiceType", "TokenParameters", "Endpoint", "Data",
]  # fmt: skip
_KINDS = sorted(checkin._READERS)


@settings(max_examples=300)
@given(st.sampled_from(_KINDS), st.dictionaries(st.sampled_from(_FIELDS), _VALUES, max_size=10))
def test_any_field_of_any_type_is_read_or_refused_cleanly(
    kind: str, fields: dict[str, object]
) -> None:
    body = plistlib.dumps({"UDID": UDID, "Topic": TOPIC} | fields | {"MessageType": kind})
    redacted(body)
    try:
        message = parse_checkin(body)
    except BadMessage:
        return
    assert type(message).__name__ == kind


@settings(max_examples=300)
@given(
    plists.damaged(
        [
            plistlib.dumps(TOKEN_UPDATE),
            plistlib.dumps(AUTHENTICATE, fmt=plistlib.FMT_BINARY),
        ]
    )
)
def test_a_damaged_message_is_read_or_refused_cleanly(body: bytes) -> None:
    for read in (parse_checkin, redacted):
        with contextlib.suppress(BadMessage, BadPlist):
            read(body)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="no captured messages beside this checkout")
def test_messages_of_real_devices_are_read() -> None:
    read = {path.name: parse_checkin(path.read_bytes()) for path in FIXTURES.glob("*.plist")}
    assert len(read) >= 9
    for name, message in read.items():
        assert type(message).__name__ == name.partition(".")[0]
        assert safe_plist_loads(redacted((FIXTURES / name).read_bytes()))
    user = read["TokenUpdate.macOS-10.11-user-channel.plist"]
    assert (user.id.channel, user.id.user_short_name) == ("user", "admin")
    cellular = read["Authenticate.iOS-11.3.1-cellular.plist"]
    assert isinstance(cellular, checkin.Authenticate)
    assert (cellular.product_name, cellular.os_version) == ("iPhone7,2", "11.3.1")
    assert cellular.imei
