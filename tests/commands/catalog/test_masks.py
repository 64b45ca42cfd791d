"""Raw views show everything but secrets."""

from __future__ import annotations

import plistlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import catalog
from commands.catalog import Extras
from mdm.protocol.connect import command_plist
from tests.commands.catalog.anything import DICTIONARIES


def shown(request_type: str, message: object) -> object:
    plain = message if isinstance(message, bytes) else plistlib.dumps(message)
    return plistlib.loads(catalog.find(request_type).masked(plain))


@pytest.mark.parametrize(
    ("request_type", "params", "secret"),
    [
        ("DeviceLock", {"PIN": "314159", "Message": "Call me"}, b"314159"),
        ("EraseDevice", {"PIN": "314159"}, b"314159"),
        (
            "EraseDevice",
            {"ReturnToService": {"Enabled": True, "BootstrapToken": b"s3cret"}},
            b"czNjcmV0",
        ),
        ("InstallProfile", {"Payload": b"s3cret"}, b"czNjcmV0"),
        ("ClearPasscode", {}, b"czNjcmV0"),
    ],
)
def test_a_commands_secret_is_hidden(
    request_type: str, params: dict[str, object], secret: bytes
) -> None:
    command = catalog.get(request_type)
    message = command_plist("0A", command.build(params, extras=Extras(unlock_token=b"s3cret")))
    assert secret in message
    assert secret not in command.masked(message)
    assert plistlib.loads(command.masked(message))["Command"]["RequestType"] == request_type


def test_what_is_no_secret_stays_readable() -> None:
    message = {"CommandUUID": "0A", "Command": {"RequestType": "DeviceLock", "Message": "Call me"}}
    assert shown("DeviceLock", message) == message


def test_a_reply_keeps_yes_and_no_and_loses_the_key() -> None:
    reply = {
        "SecurityInfo": {"FDE_HasPersonalRecoveryKey": True, "FDE_PersonalRecoveryKeyCMS": b"x"}
    }
    assert shown("SecurityInfo", reply) == {
        "SecurityInfo": {
            "FDE_HasPersonalRecoveryKey": True,
            "FDE_PersonalRecoveryKeyCMS": "(hidden)",
        }
    }


@pytest.mark.parametrize(
    "key",
    [
        "NewPassword",
        "CurrentPassword",
        "passwordHash",
        "BootstrapToken",
        "ActivationLockBypassCode",
        "RedemptionCode",
        "EncryptedNewRecoveryKey",
        "PrivateKeyExport",
        "AppleCareToken",
        "OrganizationMagic",
        "pin",
    ],
)
def test_secrets_of_commands_the_catalog_does_not_know_are_hidden_by_name(key: str) -> None:
    message = {"Command": {"RequestType": "Settings", "Settings": [{key: "s3cret", "Item": "x"}]}}
    assert shown("Settings", message) == {
        "Command": {"RequestType": "Settings", "Settings": [{key: "(hidden)", "Item": "x"}]}
    }


@pytest.mark.parametrize("message", [b"", b"PIN 123456", b"<plist>", b"\x00" * 10])
def test_bytes_that_are_no_plist_are_not_shown(message: bytes) -> None:
    view = catalog.get("DeviceLock").masked(message)
    assert plistlib.loads(view) == {"Unreadable": f"({len(message)} bytes that are not a plist)"}


@given(message=st.binary(max_size=200))
def test_masking_never_fails(message: bytes) -> None:
    catalog.get("SecurityInfo").masked(message)


@given(content=DICTIONARIES)
def test_masking_never_fails_on_a_binary_plist(content: dict[str, object]) -> None:
    try:
        message = plistlib.dumps(content, fmt=plistlib.FMT_BINARY)
    except (TypeError, OverflowError, ValueError):
        return
    plistlib.loads(catalog.get("SecurityInfo").masked(message))


def test_control_characters_of_a_binary_plist_are_shown_as_replacements() -> None:
    message = plistlib.dumps({"Name": "a\x1bb"}, fmt=plistlib.FMT_BINARY)
    assert shown("SecurityInfo", message) == {"Name": "a\ufffdb"}


def test_the_parameters_of_a_pasted_command_are_shown_without_its_secrets() -> None:
    pasted = {"RequestType": "SetRecoveryLock", "NewPassword": "314159"}
    command, params = catalog.prepare("Raw", {"Plist": plistlib.dumps(pasted).decode()})
    assert command.masked_parameters(params) == {**pasted, "NewPassword": "(hidden)"}


def test_data_among_parameters_is_shown_as_its_size() -> None:
    params = {"Settings": [{"Item": "Wallpaper", "Image": b"x" * 2000}]}
    assert catalog.find("Settings").masked_parameters(params) == {
        "Settings": [{"Item": "Wallpaper", "Image": "(2,000 bytes)"}]
    }


def test_parameters_are_shown_without_their_secrets() -> None:
    params = {"PIN": "314159", "Message": "Call me", "ReturnToService": {"BootstrapToken": b"x"}}
    assert catalog.get("EraseDevice").masked_parameters(params) == {
        "PIN": "(hidden)",
        "Message": "Call me",
        "ReturnToService": {"BootstrapToken": "(hidden)"},
    }
