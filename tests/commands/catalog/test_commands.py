"""The commands themselves: which exist, what bytes they become, how they are queued."""

from __future__ import annotations

import plistlib

import pytest

from commands import catalog
from commands.catalog import (
    Extras,
    Facts,
    MissingUnlockToken,
    Platform,
    Priority,
    UnknownRequestType,
)
from mdm.protocol.connect import command_plist

TYPES = [command.request_type for command in catalog.all_types()]
IPHONE = Facts(platform=Platform.IOS, os_version="17.4")
MAC = Facts(platform=Platform.MACOS, os_version="14.5")


def test_the_first_commands_are_there() -> None:
    assert set(TYPES) == {
        "DeviceInformation",
        "SecurityInfo",
        "ProfileList",
        "InstalledApplicationList",
        "CertificateList",
        "InstallProfile",
        "RemoveProfile",
        "DeviceLock",
        "EraseDevice",
        "ClearPasscode",
        "RestartDevice",
        "ShutDownDevice",
        "DeviceConfigured",
        "Raw",
    }


def test_an_unknown_command_is_refused_by_name() -> None:
    with pytest.raises(UnknownRequestType, match="no command named 'MakeCoffee'"):
        catalog.get("MakeCoffee")
    with pytest.raises(UnknownRequestType):
        catalog.prepare("MakeCoffee", {})


@pytest.mark.parametrize("request_type", TYPES)
def test_each_command_explains_itself(request_type: str) -> None:
    command = catalog.get(request_type)
    assert command.purpose.endswith(".")
    assert all(parameter.label for parameter in command.parameters)


@pytest.mark.parametrize("request_type", sorted(set(TYPES) - {"Raw", "ClearPasscode"}))
def test_a_built_command_survives_the_wire(request_type: str) -> None:
    command = catalog.get(request_type).build({})
    assert command["RequestType"] == request_type
    message = plistlib.loads(command_plist("0A", command))
    assert message == {"CommandUUID": "0A", "Command": command}


def test_erasing_and_locking_go_first_and_inventory_last() -> None:
    order = sorted(TYPES, key=lambda name: -catalog.get(name).priority)
    assert order[0] == "EraseDevice"
    assert set(order[1:3]) == {"DeviceLock", "ClearPasscode"}
    assert catalog.get("SecurityInfo").priority == Priority.INVENTORY < Priority.NORMAL


def test_what_loses_data_or_locks_people_out_is_destructive() -> None:
    destructive = {name for name in TYPES if catalog.get(name).destructive}
    assert destructive == {"EraseDevice", "DeviceLock", "Raw"}


def test_what_holds_a_secret_is_sealed() -> None:
    sealed = {name for name in TYPES if catalog.get(name).sealed}
    assert sealed == {"EraseDevice", "DeviceLock", "ClearPasscode", "Raw"}


@pytest.mark.parametrize("request_type", sorted(set(TYPES) - {"Raw"}))
def test_every_secret_parameter_is_hidden_in_raw_views(request_type: str) -> None:
    command = catalog.get(request_type)
    fields = [*command.parameters, *(inner for p in command.parameters for inner in p.fields)]
    assert {field.key for field in fields if field.secret} <= command.secret_keys


def test_a_whole_inventory_query_coalesces_and_a_filtered_one_does_not() -> None:
    apps = catalog.get("InstalledApplicationList")
    assert apps.coalesce_key({}) == "InstalledApplicationList"
    assert apps.coalesce_key({"ManagedAppsOnly": True}) is None
    assert catalog.get("InstallProfile").coalesce_key({}) is None


def test_an_iphone_answers_queries_and_erases_at_once() -> None:
    for request_type in ("DeviceInformation", "ProfileList", "EraseDevice", "ClearPasscode"):
        assert not catalog.get(request_type).may_be_not_now(Platform.IOS)
        assert not catalog.get(request_type).may_be_not_now(Platform.IPADOS)
    assert catalog.get("InstallProfile").may_be_not_now(Platform.IOS)


def test_a_mac_may_put_off_all_but_a_lock_and_an_erase() -> None:
    at_once = {name for name in TYPES if not catalog.get(name).may_be_not_now(Platform.MACOS)}
    assert at_once == {"DeviceLock", "EraseDevice"}


def test_a_device_of_unknown_platform_may_put_anything_off() -> None:
    assert catalog.get("EraseDevice").may_be_not_now()


class TestBuilding:
    def test_a_macs_pin_does_not_go_to_an_iphone(self) -> None:
        lock = catalog.get("DeviceLock")
        params = {"Message": "Call me", "PIN": "123456"}
        assert lock.build(params, MAC) == {"RequestType": "DeviceLock", **params}
        assert lock.build(params, IPHONE) == {"RequestType": "DeviceLock", "Message": "Call me"}
        assert lock.build(params) == {"RequestType": "DeviceLock", **params}

    def test_an_older_os_gets_no_keys_it_does_not_know(self) -> None:
        old = Facts(platform=Platform.MACOS, os_version="10.13.6")
        params = {"Message": "Call me", "PIN": "123456"}
        assert catalog.get("DeviceLock").build(params, old) == {
            "RequestType": "DeviceLock",
            "PIN": "123456",
        }

    def test_keys_inside_a_dictionary_have_their_own_limits(self) -> None:
        params = {"ReturnToService": {"Enabled": True, "BootstrapToken": b"t"}}
        erase = catalog.get("EraseDevice")
        assert erase.build(params, IPHONE)["ReturnToService"] == {"Enabled": True}
        newer = Facts(platform=Platform.IPADOS, os_version="26.1")
        assert erase.build(params, newer)["ReturnToService"] == params["ReturnToService"]

    def test_a_passcode_is_cleared_with_the_enrollments_own_token(self) -> None:
        clear = catalog.get("ClearPasscode")
        assert clear.build({}, IPHONE, Extras(unlock_token=b"token")) == {
            "RequestType": "ClearPasscode",
            "UnlockToken": b"token",
        }
        with pytest.raises(MissingUnlockToken):
            clear.build({}, IPHONE)

    def test_an_unlock_token_is_not_shown_by_accident(self) -> None:
        assert "token-bytes" not in repr(Extras(unlock_token=b"token-bytes"))

    def test_each_platform_is_asked_what_it_answers(self) -> None:
        information = catalog.get("DeviceInformation")
        phone, mac = (information.build({}, facts)["Queries"] for facts in (IPHONE, MAC))
        assert "ServiceSubscriptions" in phone
        assert "ServiceSubscriptions" not in mac
        assert "PINRequiredForEraseDevice" in mac
        assert "PINRequiredForEraseDevice" not in phone
        assert {"DeviceName", "OSVersion"} <= set(phone) & set(mac)

    def test_an_unknown_device_is_asked_everything(self) -> None:
        queries = catalog.get("DeviceInformation").build({})["Queries"]
        assert {"ServiceSubscriptions", "PINRequiredForEraseDevice"} <= set(queries)

    def test_a_user_enrollment_is_not_asked_who_it_is(self) -> None:
        facts = Facts(platform=Platform.IOS, kind="user_enrollment")
        queries = catalog.get("DeviceInformation").build({}, facts)["Queries"]
        assert not {"UDID", "SerialNumber", "IMEI", "WiFiMAC", "PhoneNumber"} & set(queries)

    def test_only_the_queries_named_are_sent_and_each_once(self) -> None:
        params = {"Queries": ["OSVersion", "DeviceName", "OSVersion"]}
        command = catalog.get("DeviceInformation").build(params, IPHONE)
        assert command["Queries"] == ["OSVersion", "DeviceName"]

    def test_a_secret_that_is_slow_or_large_is_not_asked_for_unnamed(self) -> None:
        queries = set(catalog.get("DeviceInformation").build({})["Queries"])
        assert not {"PushToken", "DevicePropertiesAttestation", "EACSPreflight"} & queries
