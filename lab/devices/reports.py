"""What a simulated device says of itself: the contents of its answers to queries. Which query is
answered, and when, is decided in `lab.devices.commands`."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from lab.devices.hardware import Hardware, Model
from lab.devices.profile import read_profile

if TYPE_CHECKING:
    from lab.devices.device import Device

QUERY_RIGHTS = {
    "WiFiMAC": 32,
    "BluetoothMAC": 32,
    "EthernetMAC": 32,
    "DataRoamingEnabled": 32,
    "IsNetworkTethered": 32,
    "PersonalHotspotEnabled": 32,
    "IsRoaming": 32,
    "ServiceSubscriptions": 32,
    "iTunesStoreAccountIsActive": 4096,
    "UDID": 0,
    "ProvisioningUDID": 0,
    "AwaitingConfiguration": 0,
    "MDMOptions": 0,
    "OrganizationInfo": 0,
}
"""The access right that a DeviceInformation query needs; 16 for every name that is not here."""


def device_information(device: Device) -> dict[str, Any]:
    """Every name this device can answer, with its value."""
    machine = device.hardware
    common = {
        "UDID": machine.udid,
        "DeviceName": device.memory.name or machine.name,
        "OSVersion": device.memory.os_version or machine.os_version,
        "BuildVersion": machine.build,
        "ModelName": machine.model_name,
        "Model": machine.model,
        "ModelNumber": f"{machine.model}LL/A" if machine.kind is not Model.MAC else machine.model,
        "ProductName": machine.product,
        "SerialNumber": machine.serial,
        "DeviceCapacity": machine.capacity,
        "AvailableDeviceCapacity": round(machine.capacity * _share(machine), 3),
        "BatteryLevel": round(0.2 + 0.8 * _share(machine), 2),
        "IsSupervised": device.memory.supervised,
        "AwaitingConfiguration": device.memory.awaiting,
        "MDMOptions": {},
        "WiFiMAC": machine.wifi_mac,
        "BluetoothMAC": machine.wifi_mac[:-2] + "00",
        "iTunesStoreAccountIsActive": True,
        "TimeZone": "Europe/Berlin",
    }
    return common | (
        _mac_information(device) if machine.kind is Model.MAC else _ios_information(device)
    )


def security_info(device: Device) -> dict[str, Any]:
    """The SecurityInfo dictionary of this platform."""
    if device.hardware.kind is Model.MAC:
        return _mac_security(device)
    return {
        "HardwareEncryptionCaps": 3,
        "PasscodePresent": device.memory.passcode,
        "PasscodeCompliant": True,
        "PasscodeCompliantWithProfiles": True,
        "PasscodeLockGracePeriod": 0,
        "PasscodeLockGracePeriodEnforced": 0,
        "ManagementStatus": {
            "EnrolledViaDEP": device.memory.ade is not None,
            "IsUserEnrollment": False,
        },
    }


def profile_list(device: Device) -> list[dict[str, Any]]:
    """Every installed profile; they all came through management."""
    summaries = []
    for identifier in sorted(device.memory.profiles):
        data = device.memory.profile(identifier)
        assert data is not None
        summary = read_profile(data).summary()
        if device.hardware.kind is not Model.MAC:
            summary["IsManaged"] = True
        summaries.append(summary)
    return summaries


def certificate_list(device: Device) -> list[dict[str, Any]]:
    """The certificates that profiles brought, and the identity."""
    found: list[tuple[x509.Certificate, bool]] = []
    if device.memory.management is not None:
        found.append((device.memory.management.x509, True))
    for identifier in sorted(device.memory.profiles):
        data = device.memory.profile(identifier)
        assert data is not None
        found += [(certificate, False) for certificate in read_profile(data).certificates()]
    return [
        {
            "CommonName": _common_name(certificate),
            "IsIdentity": identity,
            "Data": certificate.public_bytes(Encoding.DER),
        }
        for certificate, identity in found
    ]


def _ios_information(device: Device) -> dict[str, Any]:
    machine = device.hardware
    return {
        "CellularTechnology": 1 if machine.imei else 0,
        "DataRoamingEnabled": False,
        "IsRoaming": False,
        "IsNetworkTethered": False,
        "PersonalHotspotEnabled": False,
        "IsMultiUser": device.memory.shared,
        "IsDeviceLocatorServiceEnabled": True,
        "IsDoNotDisturbInEffect": False,
        "IsCloudBackupEnabled": True,
        "IsMDMLostModeEnabled": False,
        "IsActivationLockEnabled": True,
        "DiagnosticSubmissionEnabled": False,
        "AppAnalyticsEnabled": False,
        "EASDeviceIdentifier": machine.udid.replace("-", "")[:24],
        "ServiceSubscriptions": _subscriptions(machine),
    } | ({"IMEI": machine.imei, "ModemFirmwareVersion": "3.00.00"} if machine.imei else {})


def _subscriptions(machine: Hardware) -> list[dict[str, Any]]:
    if machine.imei is None:
        return []
    return [
        {
            "CarrierSettingsVersion": "62.0",
            "CurrentCarrierNetwork": "Telekom.de",
            "IMEI": machine.imei,
            "IsDataPreferred": True,
            "IsRoaming": False,
            "IsVoicePreferred": True,
            "Label": "Primary",
            "Slot": "CTSubscriptionSlotOne",
        }
    ]


def _mac_information(device: Device) -> dict[str, Any]:
    machine = device.hardware
    host = machine.name.replace("’s ", "s-").replace(" ", "-")
    return {
        "IsAppleSilicon": True,
        "HasBattery": "MacBook" in machine.model_name,
        "HostName": f"{host}.local",
        "LocalHostName": host,
        "EthernetMAC": machine.wifi_mac[:-2] + "01",
        "ProvisioningUDID": f"00008112-{int(_share(machine) * 2**53):016X}",
        "ActiveManagedUsers": [machine.owner.user_id],
        "AutoSetupAdminAccounts": [],
        "IsActivationLockEnabled": False,
        "IsActivationLockSupported": True,
        "SystemIntegrityProtectionEnabled": True,
        "SupportsLOMDevice": False,
        "SupportsiOSAppInstalls": True,
        "PINRequiredForEraseDevice": False,
        "PINRequiredForDeviceLock": True,
        "SoftwareUpdateDeviceID": f"J{int(_share(machine) * 900) + 100}AP",
    }


def _mac_security(device: Device) -> dict[str, Any]:
    encrypted = _share(device.hardware) > 0.3
    return {
        "AuthenticatedRootVolumeEnabled": True,
        "BootstrapTokenAllowedForAuthentication": "allowed",
        "BootstrapTokenRequiredForKernelExtensionApproval": True,
        "BootstrapTokenRequiredForSoftwareUpdate": True,
        "FDE_Enabled": encrypted,
        "FDE_HasInstitutionalRecoveryKey": False,
        "FDE_HasPersonalRecoveryKey": encrypted,
        "FirewallSettings": {
            "AllowSigned": True,
            "AllowSignedApp": True,
            "Applications": [],
            "BlockAllIncoming": False,
            "FirewallEnabled": _share(device.hardware) > 0.5,
            "LoggingEnabled": True,
            "LoggingOption": "throttled",
            "StealthMode": False,
        },
        "IsRecoveryLockEnabled": False,
        "ManagementStatus": {
            "EnrolledViaDEP": device.memory.ade is not None,
            "IsActivationLockManageable": True,
            "IsUserEnrollment": False,
            "UserApprovedEnrollment": True,
        },
        "RemoteDesktopEnabled": False,
        "SecureBoot": {
            "ExternalBootLevel": "allowed",
            "SecureBootLevel": "full",
            "WindowsBootLevel": "not supported",
        },
        "SystemIntegrityProtectionEnabled": True,
    }


def _share(machine: Hardware) -> float:
    """A number between 0 and 1 that belongs to this machine."""
    return random.Random(f"share/{machine.serial}").random()


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
