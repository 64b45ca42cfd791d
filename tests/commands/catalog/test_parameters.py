"""Parameters from a form or an API become what a plist takes, or one sentence per field."""

from __future__ import annotations

import base64
import plistlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import catalog
from commands.catalog import InvalidParameters, Parameter, ParameterType
from commands.catalog.parameters import clean_parameters
from tests.commands.catalog.anything import VALUES

TYPES = [command.request_type for command in catalog.all_types()]
PROFILE = plistlib.dumps({"PayloadType": "Configuration", "PayloadContent": []})
COUNT = Parameter(
    key="Count", type=ParameterType.INTEGER, label="Count", minimum=1, maximum=10, required=True
)


def errors_of(request_type: str, raw: object) -> dict[str, str]:
    with pytest.raises(InvalidParameters) as caught:
        catalog.get(request_type).clean(raw)
    return caught.value.errors


@given(request_type=st.sampled_from(TYPES), raw=VALUES)
def test_whatever_comes_is_taken_or_refused_as_invalid(request_type: str, raw: object) -> None:
    command = catalog.get(request_type)
    try:
        params = command.clean(raw)
    except InvalidParameters:
        return
    if not command.needs_unlock_token:
        plistlib.dumps(command.build(params))


def test_a_pin_has_exactly_six_ascii_digits() -> None:
    assert catalog.get("DeviceLock").clean({"PIN": "012345"}) == {"PIN": "012345"}
    for wrong in ("12345", "1234567", "12345a", "١٢٣٤٥٦"):
        assert errors_of("DeviceLock", {"PIN": wrong}) == {"PIN": "The PIN has exactly six digits."}
    assert errors_of("DeviceLock", {"PIN": 123456}) == {"PIN": "This must be text."}


def test_every_wrong_field_is_named() -> None:
    raw = {"PIN": "1", "Message": 7, "Volume": 11}
    assert set(errors_of("DeviceLock", raw)) == {"PIN", "Message", "Volume"}


def test_a_field_inside_another_is_named_with_dots() -> None:
    raw = {"ReturnToService": {"MDMProfileData": "%"}}
    assert set(errors_of("EraseDevice", raw)) == {
        "ReturnToService.Enabled",
        "ReturnToService.MDMProfileData",
    }
    raw = {"Identifiers": ["com.example.one", 2]}
    assert set(errors_of("InstalledApplicationList", raw)) == {"Identifiers.1"}


def test_a_required_field_is_missed() -> None:
    assert errors_of("RemoveProfile", {}) == {"Identifier": "This is required."}
    assert errors_of("RemoveProfile", {"Identifier": ""}) == {"Identifier": "This is required."}
    assert errors_of("RemoveProfile", {"Identifier": "  "}) == {
        "Identifier": "This must not be empty."
    }


def test_an_empty_form_asks_for_nothing_in_particular() -> None:
    raw = {"Message": "", "PhoneNumber": "", "PIN": None}
    assert catalog.get("DeviceLock").clean(raw) == {}


@pytest.mark.parametrize(("word", "value"), [("on", True), ("true", True), ("false", False)])
def test_a_forms_words_for_yes_and_no_are_understood(word: str, value: bool) -> None:
    assert catalog.get("ProfileList").clean({"ManagedOnly": word}) == {"ManagedOnly": value}


def test_a_number_is_no_yes() -> None:
    assert errors_of("ProfileList", {"ManagedOnly": 1}) == {
        "ManagedOnly": "This must be true or false."
    }


def test_a_list_may_come_as_lines() -> None:
    raw = {"Identifiers": "com.example.one\r\n\r\n com.example.two "}
    assert catalog.get("InstalledApplicationList").clean(raw) == {
        "Identifiers": ["com.example.one", "com.example.two"]
    }


def test_a_list_has_an_end() -> None:
    raw = {"Identifiers": ["x"] * 1001}
    assert errors_of("InstalledApplicationList", raw) == {
        "Identifiers": "At most 1,000 items are allowed."
    }


def test_a_choice_is_one_of_its_choices() -> None:
    assert errors_of("EraseDevice", {"ObliterationBehavior": "Never"}) == {
        "ObliterationBehavior": "This is not one of the choices."
    }


@pytest.mark.parametrize("text", ["a\x00b", "a\x1bb", "a\ud800b", "a\uffffb"])
def test_characters_that_xml_cannot_hold_are_refused(text: str) -> None:
    assert errors_of("DeviceLock", {"Message": text}) == {
        "Message": "This contains characters that cannot be sent."
    }


def test_text_has_an_end() -> None:
    assert errors_of("DeviceLock", {"Message": "x" * 1001}) == {
        "Message": "At most 1,000 characters are allowed."
    }


def test_data_comes_as_base64_or_as_a_file() -> None:
    install = catalog.get("InstallProfile")
    wrapped = base64.encodebytes(PROFILE).decode()
    assert install.clean({"Payload": wrapped}) == {"Payload": PROFILE}
    assert install.clean({"Payload": PROFILE}) == {"Payload": PROFILE}
    assert errors_of("InstallProfile", {"Payload": "é%"}) == {"Payload": "This must be base64."}


@pytest.mark.parametrize("size", [33, 1000])
def test_data_has_an_end(size: int) -> None:
    nonce = base64.b64encode(b"x" * size).decode()
    assert errors_of("DeviceInformation", {"DeviceAttestationNonce": nonce}) == {
        "DeviceAttestationNonce": "At most 32 bytes are allowed."
    }


@pytest.mark.parametrize("payload", [b"hello", plistlib.dumps({"PayloadType": "com.apple.mdm"})])
def test_only_a_configuration_profile_is_installed(payload: bytes) -> None:
    assert errors_of("InstallProfile", {"Payload": payload}) == {
        "Payload": "This is not a configuration profile."
    }


def test_a_signed_profile_is_taken_as_it_is() -> None:
    signed = b"\x30\x82\x01\x00..."
    assert catalog.get("InstallProfile").clean({"Payload": signed}) == {"Payload": signed}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (0, "This must be from 1 to 10."),
        ("11", "This must be from 1 to 10."),
        (True, "This must be a whole number."),
        (1.5, "This must be a whole number."),
        ("9" * 5000, "This must be a whole number."),
    ],
)
def test_a_number_stays_within_its_limits(value: object, sentence: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        clean_parameters({"Count": value}, [COUNT])
    assert caught.value.errors == {"Count": sentence}
    assert clean_parameters({"Count": "7"}, [COUNT]) == {"Count": 7}


def test_a_million_unknown_keys_bring_fifty_sentences() -> None:
    raw = {f"key{number}": 1 for number in range(100_000)}
    assert len(errors_of("ShutDownDevice", raw)) == 50
