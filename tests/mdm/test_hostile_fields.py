"""Every field of every message, holding what none should: it is stored cleanly or refused."""

from __future__ import annotations

import plistlib

import pytest

from commands import consequences
from mdm import refusals
from mdm.models import InventorySection, Refusal
from tests import machines
from tests.mdm.hostile import enrolled_mac, is_clean, send

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def server(db):
    machines.install_authority()
    machines.install_push_certificate()
    refusals.tally.__init__()


TEXTS = {
    "NUL": "a\0b",
    "control characters": "a\x1b[2Jb\r\nc\x7f\x9b",
    "ten thousand characters": "x" * 10_000,
    "ten thousand wide characters": "\U0001f4f1" * 10_000,
    "a letter that grows in lower case": "İ" * 255,
    "right to left": "\u202eabc\u2066",
    "line separators": "a\u2028b\u2029c",
    "not a character": "\uffff\ufffe",
    "nothing": "",
    "space": "   ",
    "markup": "<script>alert(1)</script>{{ 7*7 }}'\";--",
    "formula": "=cmd|' /C calc'!A0",
    "colons": "a:b:c",
}
OTHERS = {
    "a number": 2**63,
    "a negative number": -1,
    "a real": float("nan"),
    "a truth": True,
    "data": b"\0\xff",
    "a list": ["a"],
    "a dictionary": {"a": "b"},
}
FIELDS = {
    "Authenticate": (
        *("Topic", "SerialNumber", "DeviceName", "Model", "ModelName", "ProductName"),
        *("OSVersion", "BuildVersion", "IMEI", "MEID", "UDID", "EnrollmentID", "MessageType"),
    ),
    "TokenUpdate": (
        *("Topic", "PushMagic", "Token", "UnlockToken", "AwaitingConfiguration", "NotOnConsole"),
        *("UserID", "UserShortName", "UserLongName", "EnrollmentUserID", "UDID"),
    ),
    "SetBootstrapToken": ("BootstrapToken", "AwaitingConfiguration", "UserID"),
    "UserAuthenticate": ("UserID", "UserShortName", "DigestResponse"),
    "GetToken": ("TokenServiceType", "TokenParameters"),
    "DeclarativeManagement": ("Endpoint", "Data"),
    "CheckOut": ("Topic", "UserID"),
}


@pytest.mark.parametrize("message_type", FIELDS)
def test_a_field_of_a_check_in_is_stored_cleanly_or_refused(message_type):
    machine, _ = enrolled_mac()
    whole = {"MessageType": message_type, "Topic": machine.topic, "Token": b"t", "PushMagic": "m"}
    for field in FIELDS[message_type]:
        for name, value in {**TEXTS, **OTHERS}.items():
            message = {**whole, **machine.ids, "SerialNumber": machine.serial_number, field: value}
            body = plistlib.dumps(message, fmt=plistlib.FMT_BINARY)
            answered = send("/mdm/checkin", body, machine.sign(body))
            assert is_clean(answered) or answered.status in {200, 404}, (field, name)
            assert answered.status != 401


@pytest.mark.parametrize("field", ["CommandUUID", "Status", "UDID", "UserID", "RequestType"])
def test_a_field_of_a_report_is_stored_cleanly_or_refused(field):
    machine, messages = enrolled_mac()
    for name, value in {**TEXTS, **OTHERS}.items():
        message = {**messages["/mdm/connect"], field: value}
        body = plistlib.dumps(message, fmt=plistlib.FMT_BINARY)
        answered = send("/mdm/connect", body, machine.sign(body))
        assert is_clean(answered) or answered.status == 200, name


@pytest.mark.parametrize("name", [*TEXTS, *OTHERS])
def test_what_a_device_reports_of_itself_is_stored_as_text(name):
    machine, messages = enrolled_mac()
    value = {**TEXTS, **OTHERS}[name]
    questions = ("DeviceName", "OSVersion", "ModelName", "IMEI", "ProductName", "IsSupervised")
    answers = dict.fromkeys(questions, value) | {"Odd": {str(value): [value]}}
    chain = [{"ErrorCode": 1, "ErrorDomain": value, "LocalizedDescription": value}]
    message = messages["/mdm/connect"]
    body = plistlib.dumps(
        {**message, "QueryResponses": answers, "ErrorChain": chain}, fmt=plistlib.FMT_BINARY
    )

    answered = send("/mdm/connect", body, machine.sign(body))

    assert is_clean(answered) or answered.status == 200
    assert consequences.drain() == (1 if answered.status == 200 else 0)
    for held in InventorySection.objects.all():
        assert isinstance(held.data, dict)
    machine.enrollment.device.refresh_from_db()
    assert len(machine.enrollment.device.device_name) <= 255


@pytest.mark.parametrize("code", [2**64 - 1, -(2**63), "1", 1.5, True, None])
def test_an_error_chain_is_stored_or_refused(code):
    machine, messages = enrolled_mac()
    chain = [{"ErrorCode": code, "ErrorDomain": "d"} if code is not None else "no error"] * 50
    body = plistlib.dumps({**messages["/mdm/connect"], "Status": "Error", "ErrorChain": chain})

    answered = send("/mdm/connect", body, machine.sign(body))

    assert answered.status in {200, 400}
    assert not Refusal.objects.filter(reason__contains=" ").exists()
