"""The names that DeviceInformation can ask for, and where each is answered.

Source: Apple's device-management schema, `mdm/commands/information.device.yaml`. A name removed
from every supported OS (SIMCarrierNetwork) is not listed. The command is in `device_information`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from commands.catalog import support
from commands.catalog.types import (
    DEVICE_AND_USER,
    DEVICE_ONLY,
    NO_RIGHT,
    AccessRight,
    Facts,
    Platform,
    Support,
    SupportChannel,
)


@dataclass(frozen=True, slots=True)
class Query:
    """One name and what each platform asks for before it answers."""

    name: str
    support: Mapping[Platform, Support]


def answerable(names: Iterable[str], facts: Facts) -> list[str]:
    """Those of the names that a receiver with these facts is not known to leave unanswered."""
    return [
        name
        for name in names
        if name in QUERIES and support.refusal(name, QUERIES[name].support, facts) is None
    ]


_LETTERS = {
    "i": Platform.IOS,
    "m": Platform.MACOS,
    "t": Platform.TVOS,
    "v": Platform.VISIONOS,
    "w": Platform.WATCHOS,
}
_DEVICE = AccessRight.ALLOW_QUERY_DEVICE_INFORMATION
_NETWORK = AccessRight.ALLOW_QUERY_NETWORK_INFORMATION
_APPS = AccessRight.ALLOW_APP_INSTALLATION


def _query(
    name: str,
    versions: str,
    access: AccessRight = NO_RIGHT,
    *,
    free: str = "",
    not_ue: str = "",
    supervised: str = "",
    shared_ipad: str = "",
    device_only: bool = False,
) -> Query:
    """A query from letters, one per platform (`_LETTERS`).

    `versions` is each platform with its first version, `free` those that need no right,
    `not_ue` those that refuse it in a user enrollment.
    """
    facts = {}
    for word in versions.split():
        letter, version = word[0], word[1:]
        facts[_LETTERS[letter]] = Support(
            min_version=version if "." in version else f"{version}.0",
            supervised=letter in supervised,
            channels=DEVICE_AND_USER if letter == "m" and not device_only else DEVICE_ONLY,
            user_enrollment=letter in "imv" and letter not in not_ue,
            shared_ipad=_shared(letter, shared_ipad),
            access=NO_RIGHT if letter in free else access,
        )
    return Query(name, facts)


def _resident(name: str, version: str) -> Query:
    """A query that only the device channel of a Shared iPad answers."""
    support_on_ipad = Support(
        min_version=version if "." in version else f"{version}.0",
        supervised=True,
        shared_ipad=DEVICE_ONLY,
        shared_ipad_only=True,
        access=_DEVICE,
    )
    return Query(name, {Platform.IOS: support_on_ipad})


def _shared(letter: str, only: str) -> frozenset[SupportChannel]:
    if letter != "i":
        return frozenset()
    return frozenset({"user"}) if only == "user" else DEVICE_AND_USER


QUERIES: Mapping[str, Query] = {
    query.name: query
    for query in (
        _query("UDID", "i4 m10.7 t9 v1.1 w10", not_ue="imv"),
        _query("ProvisioningUDID", "m11.3", not_ue="m"),
        _query("OrganizationInfo", "i7 m10.11 t9 v1.1 w10"),
        _query("MDMOptions", "i7 m11 t9 v1.1 w10"),
        _query("LastCloudBackupDate", "i8 v1.1", not_ue="iv"),
        _query("AwaitingConfiguration", "i9 m10.11 t10.2 v2 w10", not_ue="imv"),
        _query("iTunesStoreAccountIsActive", "i7 m10.9 t9 w10", _APPS, not_ue="im"),
        _query("iTunesStoreAccountHash", "i8 m10.10 t9 w10", _APPS, not_ue="im"),
        _query("DeviceName", "i4 m10.7 t9 v1.1 w10", _DEVICE),
        _query("OSVersion", "i4 m10.7 t9 v1.1 w10", _DEVICE),
        _query("SupplementalOSVersionExtra", "i16.1 m13 t16.1 v1.1 w10", _DEVICE),
        _query("BuildVersion", "i4 m10.7 t9 v1.1 w10", _DEVICE),
        _query("SupplementalBuildVersion", "i16.1 m13 t16.1 v1.1 w10", _DEVICE),
        _query("ModelName", "i4 m10.7 t9 v1.1 w10", _DEVICE),
        _query("Model", "i4 m10.7 t9 w10", _DEVICE),
        _query("ModelNumber", "i16.4 m13.3 t16.4 v1.1 w10", _DEVICE),
        _query("IsAppleSilicon", "m12", _DEVICE),
        _query("ProductName", "i4 m10.7 t9 v1.1 w10", _DEVICE),
        _query("SerialNumber", "i4 m10.7 t9 v1.1 w10", _DEVICE, not_ue="imv"),
        _query("DeviceCapacity", "i4 m10.7 v1.1 w10", _DEVICE),
        _query("AvailableDeviceCapacity", "i4 m10.7 v1.1 w10", _DEVICE),
        _query("IMEI", "i4", _DEVICE, not_ue="i"),
        _query("MEID", "i4", _DEVICE, not_ue="i"),
        _query("ModemFirmwareVersion", "i4", _DEVICE, not_ue="i"),
        _query("CellularTechnology", "i4.2.6", _DEVICE),
        _query("BatteryLevel", "i5 m13.3 v1.1 w10", _DEVICE),
        _query("HasBattery", "m13.3", _DEVICE),
        _query("IsSupervised", "i6 m10.15 t9 v1.1 w10", _DEVICE, free="m"),
        _query("IsMultiUser", "i9.3", _DEVICE),
        _query("IsDeviceLocatorServiceEnabled", "i7 v1.1 w10", _DEVICE),
        _query("IsActivationLockEnabled", "i7 m10.15 w10", _DEVICE, not_ue="im"),
        _query("IsActivationLockSupported", "m10.15", _DEVICE, not_ue="m"),
        _query("IsDoNotDisturbInEffect", "i7 v1.1 w10", _DEVICE, not_ue="iv"),
        _query("DeviceID", "t9", _DEVICE),
        _query("EASDeviceIdentifier", "i7 v1.1", _DEVICE),
        _query("IsCloudBackupEnabled", "i7.1 v1.1", _DEVICE, not_ue="iv"),
        _query("ActiveManagedUsers", "m10.11", _DEVICE, device_only=True),
        _query("OSUpdateSettings", "m10.11", _DEVICE, not_ue="m"),
        _query("LocalHostName", "m10.11", _DEVICE),
        _query("HostName", "m10.11", _DEVICE),
        _query("AutoSetupAdminAccounts", "m10.11", _DEVICE, not_ue="m"),
        _query("SystemIntegrityProtectionEnabled", "m10.12", _DEVICE),
        _query("SupportsLOMDevice", "m11", _DEVICE),
        _query("IsMDMLostModeEnabled", "i9.3 w10", _DEVICE, not_ue="i"),
        _resident("MaximumResidentUsers", "9.3"),
        _resident("EstimatedResidentUsers", "14"),
        _resident("QuotaSize", "13.4"),
        _resident("ResidentUsers", "13.4"),
        _resident("UserSessionTimeout", "14.5"),
        _resident("TemporarySessionTimeout", "14.5"),
        _resident("TemporarySessionOnly", "14.5"),
        _resident("ManagedAppleIDDefaultDomains", "16"),
        _resident("OnlineAuthenticationGracePeriod", "16"),
        _resident("SkipLanguageAndLocaleSetupForNewUsers", "16.2"),
        _query("PushToken", "i9.3 m10.12", _DEVICE, free="m", not_ue="i", shared_ipad="user"),
        _query("DiagnosticSubmissionEnabled", "i9.3 v1.1 w10", _DEVICE),
        _query("AppAnalyticsEnabled", "i9.3 v1.1 w10", _DEVICE),
        _query("TimeZone", "i14 m26 t14 v2 w10", _DEVICE, free="m"),
        _query("ICCID", "i4", _NETWORK, not_ue="i"),
        _query("BluetoothMAC", "i4 m10.7 t9 v1.1", _NETWORK, not_ue="imv"),
        _query("WiFiMAC", "i4 m10.7 t9 v1.1 w10", _NETWORK, not_ue="imv"),
        _query("EthernetMAC", "m10.7", _NETWORK, not_ue="m"),
        _query("CurrentCarrierNetwork", "i4", _NETWORK, not_ue="i"),
        _query("SubscriberCarrierNetwork", "i5", _NETWORK, not_ue="i"),
        _query("CarrierSettingsVersion", "i4", _NETWORK, not_ue="i"),
        _query("PhoneNumber", "i4", _NETWORK, not_ue="i"),
        _query("DataRoamingEnabled", "i5", _NETWORK, not_ue="i"),
        _query("VoiceRoamingEnabled", "i5", _NETWORK, not_ue="i"),
        _query("PersonalHotspotEnabled", "i7", _NETWORK, not_ue="i"),
        _query("IsNetworkTethered", "i10.3", _NETWORK),
        _query("IsRoaming", "i4.2", _NETWORK, not_ue="i"),
        _query("SubscriberMCC", "i4.2.6", _NETWORK, not_ue="i"),
        _query("SubscriberMNC", "i4.2.6", _NETWORK, not_ue="i"),
        _query("CurrentMCC", "i4", _NETWORK, not_ue="i"),
        _query("CurrentMNC", "i4", _NETWORK, not_ue="i"),
        _query("ServiceSubscriptions", "i12", _NETWORK, not_ue="i"),
        _query("PINRequiredForEraseDevice", "m11", _DEVICE, not_ue="m"),
        _query("PINRequiredForDeviceLock", "m11", _DEVICE, not_ue="m"),
        _query("SupportsiOSAppInstalls", "m11", _DEVICE),
        _query("SoftwareUpdateDeviceID", "i15 m12 v1.1", not_ue="imv"),
        _query("SoftwareUpdateSettings", "i14.5", not_ue="i"),
        _query("AccessibilitySettings", "i16 w10", not_ue="i", supervised="iw", shared_ipad="user"),
        _query("DevicePropertiesAttestation", "i16 m14 t16 v1.1 w10"),
        _query("EACSPreflight", "m13.3", _DEVICE, not_ue="m", device_only=True),
    )
}
