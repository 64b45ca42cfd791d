"""What an Acknowledged reply changes, whatever a device puts into it."""

from __future__ import annotations

import datetime
import hashlib
import json
import plistlib
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands import catalog
from commands.catalog import (
    AskAgain,
    DeviceFacts,
    Erased,
    ReplaceSection,
    UpdateSection,
)
from commands.catalog.device_information import COLUMNS
from commands.catalog.sections import MAX_ITEMS
from mdm.protocol.connect import parse_report
from tests.commands.catalog.anything import DICTIONARIES, VALUES

FIXTURES = Path(__file__).resolve().parents[4] / "shared" / "fixtures" / "connect"
TYPES = [command.request_type for command in catalog.all_types()]
SECTIONS = {
    "DeviceInformation": "QueryResponses",
    "SecurityInfo": "SecurityInfo",
    "ProfileList": "ProfileList",
    "InstalledApplicationList": "InstalledApplicationList",
    "CertificateList": "CertificateList",
}


def acknowledged(**content: object) -> dict[str, object]:
    return {"Status": "Acknowledged", "CommandUUID": "0A", "UDID": "device", **content}


def changes(request_type: str, command: dict[str, object] | None = None, **content: object) -> Any:
    return catalog.get(request_type).changes(acknowledged(**content), command)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(request_type=st.sampled_from(TYPES), content=DICTIONARIES, command=DICTIONARIES)
def test_no_reply_breaks_anything(
    request_type: str, content: dict[str, object], command: dict[str, object]
) -> None:
    for change in catalog.get(request_type).changes(acknowledged(**content), command):
        check_storable(change)


@given(request_type=st.sampled_from(sorted(SECTIONS)), reported=VALUES)
def test_no_section_breaks_anything(request_type: str, reported: object) -> None:
    for change in changes(request_type, **{SECTIONS[request_type]: reported}):
        check_storable(change)


def check_storable(change: object) -> None:
    """Fit for Postgres: JSON without NUL or lone surrogates, columns within their lengths."""
    if isinstance(change, ReplaceSection | UpdateSection):
        text = json.dumps(change.data, ensure_ascii=False, allow_nan=False)
        text.encode("utf-8")
        assert "\\u0000" not in text
    if isinstance(change, DeviceFacts):
        json.dumps(dict(change.values), allow_nan=False).encode("utf-8")
        assert all(len(value) <= 255 for value in change.values.values() if isinstance(value, str))


@pytest.mark.parametrize("status", ["Error", "NotNow", "CommandFormatError", "Idle", None, 7])
@pytest.mark.parametrize("request_type", TYPES)
def test_only_an_acknowledged_reply_changes_anything(request_type: str, status: object) -> None:
    content = {
        "Status": status,
        "QueryResponses": {"DeviceName": "x"},
        "SecurityInfo": {"PasscodePresent": True},
        "ProfileList": [{}],
        "InstalledApplicationList": [{}],
        "CertificateList": [{}],
    }
    assert catalog.get(request_type).changes(content) == []


class TestDeviceInformation:
    def test_answers_become_columns(self) -> None:
        answers = {
            "DeviceName": "Ada’s iPad",
            "OSVersion": "17.4",
            "BuildVersion": "21E219",
            "Model": "MD786X",
            "ModelName": "iPad",
            "ProductName": "iPad4,1",
            "IsSupervised": True,
            "IsMultiUser": False,
            "BatteryLevel": 0.5,
            "DeviceCapacity": 64,
            "WiFiMAC": "00:00:00:00:00:00",
            "IMEI": "35 100000 000000 0",
        }
        facts, section = changes("DeviceInformation", QueryResponses=answers)
        assert facts == DeviceFacts(
            {
                "device_name": "Ada’s iPad",
                "os_version": "17.4",
                "build_version": "21E219",
                "model": "MD786X",
                "model_name": "iPad",
                "product_name": "iPad4,1",
                "supervised": True,
                "shared_ipad": False,
                "battery_level": 0.5,
                "device_capacity": 64.0,
                "wifi_mac": "00:00:00:00:00:00",
                "imei": "35 100000 000000 0",
            }
        )
        assert section == ReplaceSection("DeviceInformation", answers)
        assert set(facts.values) <= COLUMNS

    def test_a_device_cannot_rename_itself_into_another(self) -> None:
        answers = {"SerialNumber": "C02OTHER", "UDID": "other"}
        assert changes("DeviceInformation", QueryResponses=answers) == [
            ReplaceSection("DeviceInformation", answers)
        ]

    def test_answers_of_the_wrong_type_set_no_column(self) -> None:
        answers = {
            "DeviceName": ["x"],
            "OSVersion": "",
            "IsSupervised": "yes",
            "BatteryLevel": -1,
            "DeviceCapacity": float("nan"),
            "AvailableDeviceCapacity": float("inf"),
        }
        (section,) = changes("DeviceInformation", QueryResponses=answers)
        assert isinstance(section, ReplaceSection)

    def test_long_and_unprintable_text_is_cut_to_what_a_column_holds(self) -> None:
        answers = {"DeviceName": "a\x00b\r\nc" + "d" * 9999, "OSVersion": "1" * 9999}
        facts, _ = changes("DeviceInformation", QueryResponses=answers)
        assert facts.values["device_name"] == "abc" + "d" * 252
        assert facts.values["os_version"] == "1" * 64

    def test_a_phone_with_two_sims_shows_the_first(self) -> None:
        slots = [{"IMEI": "35 1", "PhoneNumber": ""}, {"IMEI": "35 2", "PhoneNumber": "+49 2"}]
        facts, _ = changes("DeviceInformation", QueryResponses={"ServiceSubscriptions": slots})
        assert facts.values == {"imei": "35 1", "phone_number": "+49 2"}

    def test_what_was_asked_and_not_answered_is_forgotten_and_the_rest_stays(self) -> None:
        command = {"RequestType": "DeviceInformation", "Queries": ["OSVersion", "PhoneNumber"]}
        _, section = changes("DeviceInformation", command, QueryResponses={"OSVersion": "17.4"})
        assert section == UpdateSection(
            "DeviceInformation", {"OSVersion": "17.4"}, forget=("PhoneNumber",)
        )

    def test_a_push_token_stays_out_of_the_inventory(self) -> None:
        (section,) = changes("DeviceInformation", QueryResponses={"PushToken": b"secret"})
        assert section.data == {}


class TestLists:
    @pytest.mark.parametrize(
        "request_type", ["ProfileList", "InstalledApplicationList", "CertificateList"]
    )
    def test_a_list_beyond_its_bound_is_cut_and_says_so(self, request_type: str) -> None:
        reported = [{"Identifier": f"com.example.{number}"} for number in range(MAX_ITEMS + 1)]
        (section,) = changes(request_type, **{request_type: reported})
        assert len(section.data) == MAX_ITEMS
        assert section.truncated
        (section,) = changes(request_type, **{request_type: reported[:-1]})
        assert len(section.data) == MAX_ITEMS
        assert not section.truncated

    @pytest.mark.parametrize(
        "request_type", ["ProfileList", "InstalledApplicationList", "CertificateList"]
    )
    def test_an_empty_list_empties_the_section(self, request_type: str) -> None:
        assert changes(request_type, **{request_type: []}) == [ReplaceSection(request_type, [])]

    @pytest.mark.parametrize(
        ("request_type", "command"),
        [
            ("ProfileList", {"ManagedOnly": True}),
            ("CertificateList", {"ManagedOnly": True}),
            ("InstalledApplicationList", {"ManagedAppsOnly": True}),
            ("InstalledApplicationList", {"Identifiers": ["com.example"]}),
            ("InstalledApplicationList", {"Items": ["Name"]}),
        ],
    )
    def test_a_filtered_list_does_not_replace_the_whole_one(
        self, request_type: str, command: dict[str, object]
    ) -> None:
        assert changes(request_type, command, **{request_type: [{"Identifier": "x"}]}) == []

    def test_members_that_are_no_dictionaries_are_left_out(self) -> None:
        (section,) = changes(
            "InstalledApplicationList", InstalledApplicationList=[1, {"Name": "A"}]
        )
        assert section.data == [{"Name": "A"}]

    def test_a_profiles_signers_are_left_out(self) -> None:
        reported = [{"PayloadIdentifier": "x", "SignerCertificates": [b"certificate"]}]
        (section,) = changes("ProfileList", ProfileList=reported)
        assert section.data == [{"PayloadIdentifier": "x"}]

    def test_a_very_deep_or_wide_member_is_cut(self) -> None:
        deep: object = "bottom"
        for _ in range(60):
            deep = {"Deeper": [deep]}
        wide = {f"key{number}": number for number in range(5000)}
        (section,) = changes("ProfileList", ProfileList=[{"Deep": deep, "Wide": wide}])
        assert "bottom" not in json.dumps(section.data)
        nested: object = "bottom"
        for _ in range(60):
            nested = {"Deeper": nested}
        (section,) = changes("ProfileList", ProfileList=[{"Deep": nested, "Wide": wide}])
        assert "bottom" not in json.dumps(section.data)
        assert len(section.data[0]["Wide"]) == 1000

    def test_a_long_text_is_cut(self) -> None:
        (section,) = changes("ProfileList", ProfileList=[{"PayloadDescription": "x" * 100_000}])
        assert len(section.data[0]["PayloadDescription"]) == 8192


def test_a_recovery_key_stays_out_of_the_inventory_and_a_yes_or_no_stays_in() -> None:
    reported = {"FDE_PersonalRecoveryKeyCMS": b"cms", "FDE_HasPersonalRecoveryKey": True}
    (section,) = changes("SecurityInfo", SecurityInfo=reported)
    assert section == ReplaceSection("SecurityInfo", {"FDE_HasPersonalRecoveryKey": True})


def certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Wi-Fi, Berlin")])
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(0xABC)
        .not_valid_before(moment)
        .not_valid_after(moment + datetime.timedelta(days=365))
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_a_certificate_is_reduced_to_what_is_shown() -> None:
    der = certificate()
    reported = [{"CommonName": "Wi-Fi", "IsIdentity": True, "Data": der}]
    (section,) = changes("CertificateList", CertificateList=reported)
    assert section.data == [
        {
            "CommonName": "Wi-Fi",
            "IsIdentity": True,
            "SHA256": hashlib.sha256(der).hexdigest(),
            "Subject": "CN=Wi-Fi\\, Berlin",
            "Issuer": "CN=Wi-Fi\\, Berlin",
            "SerialNumber": "abc",
            "NotBefore": "2026-01-02T03:04:05Z",
            "NotAfter": "2027-01-02T03:04:05Z",
        }
    ]


@given(data=st.binary(max_size=80), position=st.integers(0, 200), cut=st.integers(0, 200))
def test_a_broken_certificate_keeps_its_name_and_digest(
    data: bytes, position: int, cut: int
) -> None:
    broken = GOOD_CERTIFICATE[:position] + data + GOOD_CERTIFICATE[position + cut :]
    reported = [{"CommonName": "Wi-Fi", "Data": broken}]
    (section,) = changes("CertificateList", CertificateList=reported)
    assert section.data[0]["CommonName"] == "Wi-Fi"
    assert section.data[0]["SHA256"] == hashlib.sha256(broken).hexdigest()


GOOD_CERTIFICATE = certificate()


def test_an_erased_device_has_ended_its_enrollment() -> None:
    assert changes("EraseDevice") == [Erased()]


@pytest.mark.parametrize("request_type", ["InstallProfile", "RemoveProfile"])
def test_the_profiles_are_asked_for_again_after_a_change(request_type: str) -> None:
    assert changes(request_type) == [AskAgain("ProfileList")]


def test_the_security_is_asked_for_again_after_a_passcode_is_cleared() -> None:
    assert changes("ClearPasscode") == [AskAgain("SecurityInfo")]


@pytest.mark.parametrize("request_type", ["DeviceLock", "RestartDevice", "ShutDownDevice"])
def test_a_lock_or_restart_changes_nothing(request_type: str) -> None:
    assert changes(request_type) == []


@pytest.mark.skipif(not FIXTURES.exists(), reason="captured messages are not at hand")
class TestCapturedReplies:
    @pytest.mark.parametrize(
        ("name", "request_type", "items"),
        [
            ("CertificateList.iOS-11.3.1", "CertificateList", None),
            ("InstalledApplicationList.iOS-11.3.1", "InstalledApplicationList", None),
            ("ProfileList.iOS-11.3.1", "ProfileList", None),
            ("SecurityInfo.10.11.x", "SecurityInfo", {"FDE_Enabled": False}),
            ("SecurityInfo.iOS-11.3.1", "SecurityInfo", None),
            ("SecurityInfo.macOS-recent", "SecurityInfo", None),
        ],
    )
    def test_a_captured_reply_fills_its_section(
        self, name: str, request_type: str, items: object
    ) -> None:
        body = (FIXTURES / f"{name}.plist").read_bytes()
        (section,) = catalog.get(request_type).changes(parse_report(body).content)
        assert isinstance(section, ReplaceSection)
        assert section.section == request_type
        assert len(section.data) == len(plistlib.loads(body)[request_type])
        assert items is None or section.data == items

    @pytest.mark.parametrize(
        ("name", "columns"),
        [
            (
                "DeviceInformation.10.11.x",
                {
                    "device_name": "micromdm-testing",
                    "model": "iMac15,1",
                    "build_version": "15G1004",
                },
            ),
            (
                "DeviceInformation.iOS-11.3.1",
                {"device_name": "iPad", "os_version": "11.3.1", "product_name": "iPad4,1"},
            ),
            (
                "DeviceInformation.macOS-recent",
                {"device_name": "Yolo", "supervised": True, "apple_silicon": True},
            ),
        ],
    )
    def test_captured_answers_land_in_the_right_columns(
        self, name: str, columns: dict[str, object]
    ) -> None:
        content = parse_report((FIXTURES / f"{name}.plist").read_bytes()).content
        facts, _ = catalog.get("DeviceInformation").changes(content)
        assert isinstance(facts, DeviceFacts)
        assert {column: facts.values[column] for column in columns} == columns

    @pytest.mark.parametrize("request_type", TYPES)
    def test_no_captured_reply_breaks_any_command(self, request_type: str) -> None:
        command = catalog.get(request_type)
        for path in sorted(FIXTURES.glob("*.plist")):
            for change in command.changes(parse_report(path.read_bytes()).content):
                check_storable(change)
