"""A pasted command goes out as it is written, and no rule is walked round by pasting."""

from __future__ import annotations

import plistlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import catalog
from commands.catalog import (
    AskAgain,
    CommandType,
    Extras,
    Facts,
    InvalidParameters,
    MissingUnlockToken,
    Platform,
)

SETTINGS = (
    "<plist version='1.0'><dict><key>RequestType</key><string>Settings</string>"
    "<key>Settings</key>{}</dict></plist>"
)
MAC = Facts(platform=Platform.MACOS, os_version="14.5", kind="device", channel="device")
KNOWN = [command.request_type for command in catalog.all_types() if command.request_type != "Raw"]
RULES = ("destructive", "priority", "sealed", "needs_unlock_token", "secret_keys", "support")


def paste(dictionary: dict[str, object]) -> tuple[CommandType, dict[str, object]]:
    return catalog.prepare("Raw", {"Plist": plistlib.dumps(dictionary).decode()})


def error_of(text: object) -> str:
    with pytest.raises(InvalidParameters) as caught:
        catalog.prepare("Raw", {"Plist": text})
    assert set(caught.value.errors) == {"Plist"}
    return caught.value.errors["Plist"]


def test_a_pasted_command_goes_out_as_it_is_written() -> None:
    dictionary = {"RequestType": "Settings", "Settings": [{"Item": "DeviceName", "New": True}]}
    command, params = paste(dictionary)
    assert command.request_type == "Settings"
    assert command.build(params, MAC) == dictionary


def test_a_whole_message_is_taken_for_the_command_inside_it() -> None:
    inner = {"RequestType": "UserList"}
    command, params = paste({"CommandUUID": "0A", "Command": inner})
    assert command.build(params) == inner


@pytest.mark.parametrize("request_type", KNOWN)
def test_a_known_command_keeps_its_rules_when_pasted(request_type: str) -> None:
    pasted, _ = paste({"RequestType": request_type})
    known = catalog.get(request_type)
    assert [getattr(pasted, rule) for rule in RULES] == [getattr(known, rule) for rule in RULES]


def test_a_known_refusal_holds_for_a_pasted_command() -> None:
    command, params = paste({"RequestType": "EraseDevice"})
    user = Facts(kind="user_enrollment")
    assert command.refusal(user, params) == catalog.get("EraseDevice").refusal(user, params)
    assert command.refusal(user, params) is not None


def test_a_mac_is_not_locked_by_pasting_without_a_pin() -> None:
    command, params = paste({"RequestType": "DeviceLock"})
    assert command.refusal(MAC, params) is not None
    command, params = paste({"RequestType": "DeviceLock", "PIN": "123456"})
    assert command.refusal(MAC, params) is None


@pytest.mark.parametrize("spelling", ["erasedevice", "ERASEDEVICE", "EraseDEVICE"])
def test_another_spelling_of_a_known_command_is_no_way_round_it(spelling: str) -> None:
    assert error_of(plistlib.dumps({"RequestType": spelling}).decode()) == (
        "The RequestType is written EraseDevice."
    )


def test_a_key_written_twice_cannot_hide_a_command() -> None:
    text = (
        "<plist version='1.0'><dict><key>RequestType</key><string>UserList</string>"
        "<key>RequestType</key><string>EraseDevice</string></dict></plist>"
    )
    try:
        command, params = catalog.prepare("Raw", {"Plist": text})
    except InvalidParameters:
        return
    assert command.build(params)["RequestType"] == command.request_type
    assert command.destructive is (command.request_type == "EraseDevice")


def test_an_unknown_command_counts_as_destructive_and_is_sealed() -> None:
    command, params = paste({"RequestType": "BrandNewCommand"})
    assert command.destructive
    assert command.sealed
    assert command.refusal(MAC, params) is None


def test_one_of_apples_plain_queries_does_not_count_as_destructive() -> None:
    assert not paste({"RequestType": "UserList"})[0].destructive


def test_a_pasted_passcode_removal_takes_the_enrollments_token() -> None:
    command, params = paste({"RequestType": "ClearPasscode"})
    built = command.build(params, extras=Extras(unlock_token=b"own"))
    assert built == {"RequestType": "ClearPasscode", "UnlockToken": b"own"}
    with pytest.raises(MissingUnlockToken):
        command.build(params)


def test_a_pasted_unlock_token_is_sent_as_it_is() -> None:
    command, params = paste({"RequestType": "ClearPasscode", "UnlockToken": b"pasted"})
    assert command.build(params)["UnlockToken"] == b"pasted"


def test_the_reply_to_a_pasted_command_means_what_it_always_means() -> None:
    command, _ = paste({"RequestType": "InstallProfile", "Payload": b"x"})
    assert command.changes({"Status": "Acknowledged"}) == [AskAgain("ProfileList")]
    assert paste({"RequestType": "Settings"})[0].changes({"Status": "Acknowledged"}) == []


def test_a_pasted_command_is_found_again_by_its_request_type() -> None:
    assert catalog.find("EraseDevice") is catalog.get("EraseDevice")
    found = catalog.find("BrandNewCommand")
    assert found.request_type == "BrandNewCommand"
    assert found.destructive


@pytest.mark.parametrize(
    "dictionary",
    [
        {},
        {"RequestType": 7},
        {"RequestType": ""},
        {"RequestType": "A B"},
        {"RequestType": "x" * 61},
    ],
)
def test_a_dictionary_without_a_usable_request_type_is_refused(
    dictionary: dict[str, object],
) -> None:
    assert error_of(plistlib.dumps(dictionary).decode()).startswith("The dictionary needs")


def test_a_modest_plist_is_taken() -> None:
    text = SETTINGS.format("<array>" * 10 + "</array>" * 10)
    assert catalog.prepare("Raw", {"Plist": text})[0].request_type == "Settings"


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "<plist version='1.0'><array/></plist>",
        "<!DOCTYPE plist [<!ENTITY a 'aaaa'>]><plist><dict><key>&a;</key><true/></dict></plist>",
        SETTINGS.format("<array>" * 20 + "</array>" * 20),
        SETTINGS.format("<array>" + "<true/>" * 20_000 + "</array>"),
        " " * (1024 * 1024 + 1),
        7,
    ],
)
def test_what_is_no_modest_plist_is_refused(text: object) -> None:
    assert error_of(text)


@given(text=st.text(max_size=200))
def test_any_text_is_taken_or_refused_as_invalid(text: str) -> None:
    with pytest.raises(InvalidParameters):
        catalog.prepare("Raw", {"Plist": text})
