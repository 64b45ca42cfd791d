"""DeviceInformation: asks a device about itself and turns the answers into its columns.

The names that can be asked for are in `queries`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from commands.catalog import sections
from commands.catalog.base import CommandType
from commands.catalog.parameters import Parameter, ParameterType
from commands.catalog.queries import QUERIES, answerable
from commands.catalog.types import (
    DEVICE_AND_USER,
    NO_EXTRAS,
    UNKNOWN,
    Change,
    DeviceFacts,
    Effect,
    Extras,
    Facts,
    Platform,
    Priority,
    ReplaceSection,
    Support,
    UpdateSection,
)

SECTION = "DeviceInformation"

# What is asked for when nobody names queries. Left out: what is slow (EACSPreflight), secret
# (PushToken), large (attestation), or has a successor on every OS that still answers it.
DEFAULT_QUERIES = (
    "UDID",
    "DeviceName",
    "OSVersion",
    "SupplementalOSVersionExtra",
    "BuildVersion",
    "SupplementalBuildVersion",
    "ModelName",
    "Model",
    "ModelNumber",
    "ProductName",
    "SerialNumber",
    "IsAppleSilicon",
    "DeviceCapacity",
    "AvailableDeviceCapacity",
    "BatteryLevel",
    "HasBattery",
    "IsSupervised",
    "IsMultiUser",
    "AwaitingConfiguration",
    "IsDeviceLocatorServiceEnabled",
    "IsActivationLockEnabled",
    "IsActivationLockSupported",
    "IsMDMLostModeEnabled",
    "IsCloudBackupEnabled",
    "LastCloudBackupDate",
    "iTunesStoreAccountIsActive",
    "EASDeviceIdentifier",
    "DeviceID",
    "ProvisioningUDID",
    "LocalHostName",
    "HostName",
    "ActiveManagedUsers",
    "AutoSetupAdminAccounts",
    "SystemIntegrityProtectionEnabled",
    "SupportsiOSAppInstalls",
    "PINRequiredForDeviceLock",
    "PINRequiredForEraseDevice",
    "MaximumResidentUsers",
    "EstimatedResidentUsers",
    "QuotaSize",
    "ResidentUsers",
    "TimeZone",
    "DiagnosticSubmissionEnabled",
    "AppAnalyticsEnabled",
    "IMEI",
    "MEID",
    "ModemFirmwareVersion",
    "CellularTechnology",
    "ServiceSubscriptions",
    "PhoneNumber",
    "ICCID",
    "BluetoothMAC",
    "WiFiMAC",
    "EthernetMAC",
    "DataRoamingEnabled",
    "PersonalHotspotEnabled",
    "IsNetworkTethered",
    "SoftwareUpdateDeviceID",
    "OrganizationInfo",
    "MDMOptions",
)


class DeviceInformation(CommandType):
    """`mdm/commands/information.device.yaml` of Apple's device-management schema."""

    request_type = "DeviceInformation"
    purpose = "Ask the device for its name, model, OS version, storage and other facts."
    parameters = (
        Parameter(
            key="Queries",
            type=ParameterType.ARRAY,
            label="Queries",
            help="What to ask for. Empty asks for everything an inventory needs.",
            max_length=len(QUERIES),
            item=Parameter(
                key="Query",
                type=ParameterType.STRING,
                label="Query",
                choices=tuple(QUERIES),
            ),
        ),
        Parameter(
            key="DeviceAttestationNonce",
            type=ParameterType.DATA,
            label="Attestation nonce",
            help="Up to 32 bytes that a fresh DevicePropertiesAttestation will contain.",
            max_length=32,
            limits={Platform.IOS: "16.0", Platform.MACOS: "14.0", Platform.TVOS: "16.0"},
        ),
    )
    support = {
        Platform.IOS: Support(min_version="4.0", user_enrollment=True, shared_ipad=DEVICE_AND_USER),
        Platform.MACOS: Support(min_version="10.7", user_enrollment=True, channels=DEVICE_AND_USER),
        Platform.TVOS: Support(min_version="9.0"),
        Platform.VISIONOS: Support(min_version="1.1", user_enrollment=True),
        Platform.WATCHOS: Support(min_version="10.0"),
    }
    priority = Priority.INVENTORY
    effect = Effect.READS
    coalesce = True
    never_not_now = frozenset({Platform.IOS})

    def build(
        self,
        params: Mapping[str, object],
        facts: Facts = UNKNOWN,
        extras: Extras = NO_EXTRAS,
    ) -> dict[str, object]:
        command = super().build(params, facts, extras)
        return {**command, "Queries": answerable(_wanted(params), facts)}

    def _why_not_with(self, facts: Facts, params: Mapping[str, object]) -> str | None:
        if answerable(_wanted(params), facts):
            return None
        return "This device answers none of the queries asked for."

    def _changes(
        self, content: Mapping[str, object], command: Mapping[str, object]
    ) -> list[Change]:
        answers = content.get("QueryResponses")
        if not isinstance(answers, Mapping):
            return []
        data = sections.dictionary(answers)
        changes: list[Change] = [_section(data, command)]
        columns = device_columns(data)
        return [DeviceFacts(columns), *changes] if columns else changes


def device_columns(answers: Mapping[str, object]) -> dict[str, str | bool | float]:
    """The device columns that these answers set; what has the wrong type or is empty sets none.

    Text is at most 255 characters long, 64 for versions, IMEI, MEID and phone number.

    The serial number and UDID are not among them: they say who a device is, and only its
    enrollment may.
    """
    columns: dict[str, str | bool | float] = {}
    for query, column in _TEXT_COLUMNS.items():
        text = _text(answers.get(query), column)
        if text:
            columns[column] = text
    for query, column in _BOOLEAN_COLUMNS.items():
        value = answers.get(query)
        if isinstance(value, bool):
            columns[column] = value
    for query, column in _NUMBER_COLUMNS.items():
        number = _number(answers.get(query))
        if number is not None:
            columns[column] = number
    return _subscription_columns(answers.get("ServiceSubscriptions")) | columns


def _section(
    data: dict[str, object], command: Mapping[str, object]
) -> ReplaceSection | UpdateSection:
    asked = command.get("Queries")
    if not isinstance(asked, list):
        return ReplaceSection(SECTION, data)
    unanswered = tuple(name for name in asked if isinstance(name, str) and name not in data)
    return UpdateSection(SECTION, data, forget=unanswered)


def _wanted(params: Mapping[str, object]) -> list[str]:
    queries = params.get("Queries")
    chosen = (
        [name for name in queries if isinstance(name, str)] if isinstance(queries, list) else []
    )
    return list(dict.fromkeys(chosen)) or list(DEFAULT_QUERIES)


def _subscription_columns(subscriptions: object) -> dict[str, str | bool | float]:
    """What iOS 16 and later say per SIM slot in place of IMEI, MEID and PhoneNumber."""
    columns: dict[str, str | bool | float] = {}
    for slot in subscriptions if isinstance(subscriptions, list) else []:
        if not isinstance(slot, Mapping):
            continue
        for query in ("IMEI", "MEID", "PhoneNumber"):
            column = _TEXT_COLUMNS[query]
            text = _text(slot.get(query), column)
            if text:
                columns.setdefault(column, text)
    return columns


def _text(value: object, column: str) -> str:
    if not isinstance(value, str):
        return ""
    return _CONTROL.sub("", value)[: _SHORT if column in _SHORT_COLUMNS else _LONG].strip()


def _number(value: object) -> float | None:
    # -1 is how a device says that it does not know (BatteryLevel).
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _LARGEST else None


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LONG = 255
_SHORT = 64
_SHORT_COLUMNS = frozenset(
    {
        "os_version",
        "supplemental_os_version_extra",
        "build_version",
        "supplemental_build_version",
        "imei",
        "meid",
        "phone_number",
    }
)
_LARGEST = 1e9

_TEXT_COLUMNS = {
    "DeviceName": "device_name",
    "OSVersion": "os_version",
    "SupplementalOSVersionExtra": "supplemental_os_version_extra",
    "BuildVersion": "build_version",
    "SupplementalBuildVersion": "supplemental_build_version",
    "ModelName": "model_name",
    "Model": "model",
    "ModelNumber": "model_number",
    "ProductName": "product_name",
    "IMEI": "imei",
    "MEID": "meid",
    "PhoneNumber": "phone_number",
    "WiFiMAC": "wifi_mac",
    "BluetoothMAC": "bluetooth_mac",
    "EthernetMAC": "ethernet_mac",
    "TimeZone": "time_zone",
    "SoftwareUpdateDeviceID": "software_update_device_id",
}
_BOOLEAN_COLUMNS = {
    "IsSupervised": "supervised",
    "IsMultiUser": "shared_ipad",
    "IsAppleSilicon": "apple_silicon",
    "IsActivationLockEnabled": "activation_lock_enabled",
    "IsMDMLostModeEnabled": "lost_mode_enabled",
    "AwaitingConfiguration": "awaiting_configuration",
    "PINRequiredForDeviceLock": "pin_required_for_lock",
    "PINRequiredForEraseDevice": "pin_required_for_erase",
}
# Capacities are in gigabytes, the battery level from 0 to 1.
_NUMBER_COLUMNS = {
    "DeviceCapacity": "device_capacity",
    "AvailableDeviceCapacity": "available_device_capacity",
    "BatteryLevel": "battery_level",
}
COLUMNS = frozenset(
    {*_TEXT_COLUMNS.values(), *_BOOLEAN_COLUMNS.values(), *_NUMBER_COLUMNS.values()}
)
