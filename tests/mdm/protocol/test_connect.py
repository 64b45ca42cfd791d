"""Connect messages: reports in, commands out, and telling a check-in from a connect."""

from __future__ import annotations

import contextlib
import plistlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mdm.protocol.connect import (
    ErrorChainItem,
    Report,
    Status,
    command_plist,
    is_checkin,
    parse_report,
)
from mdm.protocol.errors import BadMessage, BadPlist
from mdm.protocol.plist import jsonable
from tests.mdm.protocol import plists

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures"
UDID = "9353BC9A-5CF9-4C9E-9AD4-8D1E41D5FE3E"
UUID = "0F0F0F0F-0000-4000-8000-000000000001"
IDLE = {"Status": "Idle", "UDID": UDID}
REPLY = {"Status": "Acknowledged", "UDID": UDID, "CommandUUID": UUID}


def parse(message: dict[str, Any]) -> Report:
    return parse_report(plistlib.dumps(message))


def refused(message: dict[str, Any]) -> str:
    with pytest.raises(BadMessage) as caught:
        parse(message)
    return caught.value.reason


def test_an_idle_device_answers_no_command() -> None:
    report = parse(IDLE)
    assert (report.status, report.command_uuid, report.error_chain) == (Status.IDLE, None, ())
    assert parse(IDLE | {"CommandUUID": UUID}).command_uuid is None


@pytest.mark.parametrize("status", ["Acknowledged", "Error", "CommandFormatError", "NotNow"])
def test_a_reply_says_which_command_it_answers(status: str) -> None:
    report = parse(REPLY | {"Status": status, "RequestType": "ProfileList"})
    assert (report.status.value, report.command_uuid) == (status, UUID)
    assert report.request_type == "ProfileList"


def test_the_whole_message_comes_along() -> None:
    message = REPLY | {"QueryResponses": {"OSVersion": "18.0"}}
    assert parse(message).content == message


def test_the_error_chain_is_read_outermost_first() -> None:
    chain = [
        {
            "ErrorCode": 4001,
            "ErrorDomain": "MCInstallationErrorDomain",
            "LocalizedDescription": "Profilinstallation fehlgeschlagen",
            "USEnglishDescription": "Profile Installation Failed",
        },
        {"ErrorCode": -1, "ErrorDomain": "MCProfileErrorDomain", "LocalizedDescription": "a\nb"},
    ]
    report = parse(REPLY | {"Status": "Error", "ErrorChain": chain})
    assert report.error_chain == (
        ErrorChainItem(
            4001,
            "MCInstallationErrorDomain",
            "Profilinstallation fehlgeschlagen",
            "Profile Installation Failed",
        ),
        ErrorChainItem(-1, "MCProfileErrorDomain", "a b", None),
    )


def test_an_error_without_words_is_still_an_error() -> None:
    report = parse(REPLY | {"Status": "Error", "ErrorChain": [{}]})
    assert report.error_chain == (ErrorChainItem(0, "", "", None),)


def test_an_endless_error_chain_is_cut() -> None:
    report = parse(REPLY | {"Status": "Error", "ErrorChain": [{"ErrorCode": 1}] * 1000})
    assert len(report.error_chain) == 16


@pytest.mark.parametrize("chain", ["text", {}, [7], [["x"]], [{"ErrorCode": "12"}],
                                   [{"ErrorCode": True}], [{"ErrorDomain": 7}]])  # fmt: skip
def test_a_hostile_error_chain_is_refused(chain: object) -> None:
    assert refused(REPLY | {"ErrorChain": chain}) in ("error-chain", "field")


@pytest.mark.parametrize("status", [None, "", "idle", "Done", 7, b"Idle", [], {}])
def test_an_unknown_status_is_refused(status: object) -> None:
    message = {"UDID": UDID} if status is None else {"UDID": UDID, "Status": status}
    assert refused(message) == "status"


def test_a_reply_to_no_command_is_refused() -> None:
    assert refused({"Status": "Acknowledged", "UDID": UDID}) == "command-uuid"
    assert refused(REPLY | {"CommandUUID": ""}) == "command-uuid"


@pytest.mark.parametrize("uuid", [7, b"x", "x" * 256, "a\nb", ["x"]])
def test_a_hostile_command_uuid_is_refused(uuid: object) -> None:
    assert refused(REPLY | {"CommandUUID": uuid}) == "field"
    assert refused(IDLE | {"CommandUUID": uuid}) == "field"


def test_a_report_without_a_device_is_refused() -> None:
    assert refused({"Status": "Idle"}) == "device-id"


def test_a_command_carries_its_uuid() -> None:
    body = command_plist(UUID, {"RequestType": "DeviceLock", "PIN": "123456"})
    assert plistlib.loads(body) == {
        "CommandUUID": UUID,
        "Command": {"RequestType": "DeviceLock", "PIN": "123456"},
    }


def test_a_command_that_has_no_property_list_form_is_refused() -> None:
    with pytest.raises(BadPlist):
        command_plist(UUID, {"RequestType": "DeviceLock", "PIN": None})


@pytest.mark.parametrize("suffix", ["", "; charset=UTF-8", ";charset=utf-8"])
def test_the_content_type_tells_check_in_from_connect(suffix: str) -> None:
    misleading = b"<key>MessageType</key>"
    assert is_checkin("application/x-apple-aspen-mdm-checkin" + suffix, b"")
    assert is_checkin(" Application/X-Apple-Aspen-MDM-Checkin" + suffix, b"")
    assert not is_checkin("application/x-apple-aspen-mdm" + suffix, misleading)


@pytest.mark.parametrize("content_type", [None, "", "application/xml", "application/octet-stream"])
@pytest.mark.parametrize("format", [plistlib.FMT_XML, plistlib.FMT_BINARY])
def test_the_body_tells_them_apart_where_the_content_type_does_not(content_type, format) -> None:
    authenticate = {"MessageType": "Authenticate", "UDID": UDID, "Topic": "t"}
    assert is_checkin(content_type, plistlib.dumps(authenticate, fmt=format))
    for message in (IDLE, REPLY, REPLY | {"Inner": {"MessageType": "x"}}):
        assert not is_checkin(content_type, plistlib.dumps(message, fmt=format))


_FIELDS = ["UDID", "Status", "CommandUUID", "ErrorChain", "RequestType", "UserID", "QueryResponses"]


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(_FIELDS), plists.values, max_size=7))
def test_any_field_of_any_type_is_read_or_refused_cleanly(fields: dict[str, object]) -> None:
    try:
        report = parse(REPLY | fields)
    except BadMessage:
        return
    assert report.content == plistlib.loads(plistlib.dumps(REPLY | fields))


@settings(max_examples=300)
@given(
    plists.damaged([plistlib.dumps(REPLY), plistlib.dumps(REPLY, fmt=plistlib.FMT_BINARY)])
    | st.binary(max_size=200)
)
def test_a_damaged_report_is_read_or_refused_cleanly(body: bytes) -> None:
    is_checkin(None, body)
    with contextlib.suppress(BadMessage, BadPlist):
        jsonable(parse_report(body).content)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="no captured messages beside this checkout")
def test_reports_of_real_devices_are_read() -> None:
    reports = {}
    for path in (FIXTURES / "connect").glob("*.plist"):
        body = path.read_bytes()
        assert not is_checkin(None, body)
        reports[path.name] = parse_report(body)
        assert reports[path.name].content == plistlib.loads(body)
        assert jsonable(reports[path.name].content)
    assert len(reports) >= 18
    assert reports["NotNow.iOS-11.3.1.plist"].status is Status.NOT_NOW
    wrong = reports["Errors.iOS-11.3.1-CommandFormatError.plist"]
    assert (wrong.status, wrong.error_chain) == (Status.COMMAND_FORMAT_ERROR, ())
    invalid = reports["Errors.10.12.5-invalid-command.plist"]
    assert (invalid.status, invalid.error_chain[0].code) == (Status.ERROR, 97)
    for path in (FIXTURES / "checkin").glob("*.plist"):
        assert is_checkin(None, path.read_bytes())
