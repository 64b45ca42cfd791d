"""What is known of a device refuses a command, with the reason; what is not known never does."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import catalog
from commands.catalog import ALL_RIGHTS, AccessRight, Facts, Platform, Support
from commands.catalog import support as judge

IPHONE = Facts(
    platform=Platform.IOS,
    os_version="17.4",
    supervised=True,
    channel="device",
    kind="device",
    access_rights=int(ALL_RIGHTS),
    has_unlock_token=True,
    shared_ipad=False,
)
MAC = dataclasses.replace(IPHONE, platform=Platform.MACOS, os_version="14.5", has_unlock_token=None)
SHARED_IPAD = dataclasses.replace(IPHONE, platform=Platform.IPADOS, shared_ipad=True)
TYPES = [command.request_type for command in catalog.all_types()]

FACTS = st.builds(
    Facts,
    platform=st.none() | st.sampled_from(Platform),
    os_version=st.none() | st.sampled_from(["", "3.0", "9.3.5", "10.7", "16", "26.1", "beta"]),
    supervised=st.none() | st.booleans(),
    channel=st.none() | st.sampled_from(["device", "user", "shared_ipad_user"]),
    kind=st.none() | st.sampled_from(["device", "user_enrollment"]),
    access_rights=st.none() | st.integers(0, 8191),
    has_unlock_token=st.none() | st.booleans(),
    shared_ipad=st.none() | st.booleans(),
    pin_required_for_lock=st.none() | st.booleans(),
    pin_required_for_erase=st.none() | st.booleans(),
)


@pytest.mark.parametrize("request_type", TYPES)
def test_nothing_known_refuses_nothing(request_type: str) -> None:
    assert catalog.get(request_type).refusal(Facts(), {}) is None


@pytest.mark.parametrize("request_type", TYPES)
def test_a_supervised_iphone_with_all_rights_takes_every_command(request_type: str) -> None:
    assert catalog.get(request_type).refusal(IPHONE, {}) is None


@given(
    request_type=st.sampled_from(TYPES),
    facts=FACTS,
    forgotten=st.sampled_from([field.name for field in dataclasses.fields(Facts)]),
)
def test_forgetting_a_fact_never_turns_a_yes_into_a_no(
    request_type: str, facts: Facts, forgotten: str
) -> None:
    command = catalog.get(request_type)
    if command.refusal(facts) is None:
        assert command.refusal(dataclasses.replace(facts, **{forgotten: None})) is None


@pytest.mark.parametrize(
    ("request_type", "facts", "sentence"),
    [
        ("ClearPasscode", MAC, "ClearPasscode does not exist on macOS."),
        (
            "RestartDevice",
            dataclasses.replace(IPHONE, supervised=False),
            "RestartDevice needs a supervised device; this one is not supervised.",
        ),
        (
            "RestartDevice",
            dataclasses.replace(SHARED_IPAD, os_version="9.3.5"),
            "RestartDevice needs iPadOS 10.3 or later; this device runs 9.3.5.",
        ),
        (
            "EraseDevice",
            dataclasses.replace(IPHONE, kind="user_enrollment"),
            "EraseDevice is not allowed in a user enrollment.",
        ),
        (
            "EraseDevice",
            dataclasses.replace(IPHONE, access_rights=8191 - 8),
            "EraseDevice needs the right to erase the device, which this enrollment lacks.",
        ),
        (
            "EraseDevice",
            dataclasses.replace(MAC, channel="user"),
            "EraseDevice goes to the device, not to one of its users.",
        ),
        (
            "EraseDevice",
            dataclasses.replace(SHARED_IPAD, channel="shared_ipad_user", shared_ipad=None),
            "EraseDevice goes to the device, not to one of its users.",
        ),
        ("ClearPasscode", SHARED_IPAD, "ClearPasscode cannot be sent to a Shared iPad."),
        (
            "ClearPasscode",
            dataclasses.replace(IPHONE, has_unlock_token=False),
            "This device has given no unlock token, without which its passcode stays.",
        ),
        (
            "EraseDevice",
            Facts(channel="user"),
            "EraseDevice goes to the device, not to one of its users.",
        ),
    ],
)
def test_a_known_fact_refuses_with_its_reason(
    request_type: str, facts: Facts, sentence: str
) -> None:
    assert catalog.get(request_type).refusal(facts) == sentence


@pytest.mark.parametrize(
    ("request_type", "facts"),
    [
        # A Mac would take it, whatever an iPhone says.
        ("RestartDevice", Facts(supervised=False)),
        # The user of an iPad exists only on a Shared iPad.
        ("ProfileList", Facts(platform=Platform.IPADOS, channel="user")),
    ],
)
def test_one_possibility_left_open_is_enough(request_type: str, facts: Facts) -> None:
    assert catalog.get(request_type).refusal(facts) is None


def test_an_ipad_is_judged_by_the_facts_of_ios() -> None:
    assert catalog.get("RestartDevice").refusal(SHARED_IPAD) is None


def test_a_user_enrollment_is_not_asked_for_access_rights() -> None:
    facts = dataclasses.replace(IPHONE, kind="user_enrollment", access_rights=0)
    assert catalog.get("ProfileList").refusal(facts) is None


def test_a_platform_not_stated_counts_as_not_known() -> None:
    assert catalog.get("ClearPasscode").refusal(Facts(platform="")) is None  # type: ignore[arg-type]


def test_a_macs_user_takes_profiles_and_lists() -> None:
    user = dataclasses.replace(MAC, channel="user")
    assert catalog.get("InstallProfile").refusal(user) is None
    assert catalog.get("InstalledApplicationList").refusal(user) is None


def test_what_only_a_shared_ipad_answers_is_refused_elsewhere() -> None:
    resident = {
        Platform.IOS: Support(
            min_version="9.3", shared_ipad=frozenset({"device"}), shared_ipad_only=True
        )
    }
    assert judge.refusal("X", resident, IPHONE) == "X is for Shared iPad alone."
    assert judge.refusal("X", resident, SHARED_IPAD) is None


@pytest.mark.parametrize(
    ("runs", "needs", "older"),
    [
        ("9.3.5", "10.3", True),
        ("10.3", "10.3", False),
        ("10.3.0", "10.3", False),
        ("10.3", "10.3.1", True),
        ("26", "26.0", False),
        ("10.15.7 (19H2)", "11.0", True),
        ("beta", "11.0", False),
        ("", "11.0", False),
        ("9" * 5000, "11.0", False),
    ],
)
def test_versions_compare_as_numbers(runs: str, needs: str, older: bool) -> None:
    assert judge.is_older(Facts(os_version=runs), needs) is older


class TestPins:
    def test_a_mac_is_not_locked_without_a_pin(self) -> None:
        lock = catalog.get("DeviceLock")
        assert lock.refusal(MAC, {}) == "A Mac is locked with a six-digit PIN, and none was given."
        assert lock.refusal(MAC, {"PIN": "123456"}) is None

    def test_a_mac_that_needs_no_pin_is_locked_without_one(self) -> None:
        facts = dataclasses.replace(MAC, pin_required_for_lock=False)
        assert catalog.get("DeviceLock").refusal(facts, {}) is None

    def test_a_menu_offers_the_lock_of_a_mac(self) -> None:
        assert catalog.get("DeviceLock").refusal(MAC) is None

    def test_a_mac_that_asks_for_a_pin_is_not_erased_without_one(self) -> None:
        erase = catalog.get("EraseDevice")
        facts = dataclasses.replace(MAC, pin_required_for_erase=True)
        assert erase.refusal(facts, {}) == (
            "This Mac is erased with a six-digit PIN, and none was given."
        )
        assert erase.refusal(facts, {"PIN": "123456"}) is None
        assert erase.refusal(MAC, {}) is None


class TestReturnToService:
    def test_a_device_that_cannot_return_is_not_erased_instead(self) -> None:
        params = {"ReturnToService": {"Enabled": True}}
        erase = catalog.get("EraseDevice")
        assert erase.refusal(MAC, params) == "Return to Service is not available on this device."
        old = dataclasses.replace(IPHONE, os_version="16.7")
        assert erase.refusal(old, params) is not None
        assert erase.refusal(IPHONE, params) is None
        assert erase.refusal(Facts(), params) is None


class TestQueries:
    def test_nothing_answerable_is_refused(self) -> None:
        information = catalog.get("DeviceInformation")
        params = {"Queries": ["IsAppleSilicon"]}
        assert information.refusal(IPHONE, params) == (
            "This device answers none of the queries asked for."
        )
        assert information.refusal(MAC, params) is None

    def test_a_missing_right_takes_queries_away_and_refuses_nothing(self) -> None:
        facts = dataclasses.replace(IPHONE, access_rights=int(AccessRight.ALLOW_INSPECTION))
        information = catalog.get("DeviceInformation")
        assert information.refusal(facts, {}) is None
        queries = information.build({}, facts)["Queries"]
        assert "UDID" in queries
        assert "DeviceName" not in queries
        assert "WiFiMAC" not in queries
