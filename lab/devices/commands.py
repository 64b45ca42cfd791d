"""How a simulated device answers each command; what it says of itself is in `lab.devices.reports`,
what only one platform does in that platform's class."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lab.devices import reports
from lab.devices.apps import apps
from lab.devices.hardware import Model
from lab.devices.profile import Profile, read_profile
from lab.errors import BadCms, LabError

if TYPE_CHECKING:
    from lab.devices.device import Device

Command = dict[str, Any]
Then = Callable[[], Awaitable[None]]


@dataclass
class Reply:
    """`then` happens once the reply was said, and the conversation ends with it. `silent`: there
    is nobody left to reply, because obeying ended the management."""

    status: str = "Acknowledged"
    content: dict[str, Any] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)
    then: Then | None = None
    silent: bool = False


Handler = Callable[["Device", str, Command], Awaitable[Reply]]

FORMAT_ERROR = Reply("CommandFormatError")
NOT_NOW = Reply("NotNow")
NEVER_DEFERRED_ON_IOS = frozenset(
    {
        "DeviceInformation",
        "ProfileList",
        "DeviceLock",
        "EraseDevice",
        "ClearPasscode",
        "CertificateList",
        "ProvisioningProfileList",
        "InstalledApplicationList",
        "Restrictions",
    }
)
NEVER_DEFERRED_ON_MAC = frozenset({"DeviceLock", "EraseDevice"})
RIGHTS = {
    "ProfileList": 1,
    "CertificateList": 1,
    "InstallProfile": 3,
    "RemoveProfile": 3,
    "DeviceLock": 4,
    "ClearPasscode": 4,
    "RestartDevice": 4,
    "ShutDownDevice": 4,
    "EraseDevice": 8,
    "InstalledApplicationList": 256,
    "SecurityInfo": 1024,
}
"""Access rights that a command needs (sum of bits)."""


def failed(domain: str, code: int, text: str, *inner: dict[str, Any]) -> Reply:
    """An Error with its chain, outermost first."""
    return Reply("Error", errors=[_link(domain, code, text), *inner])


async def obey(device: Device, channel: str, command: Command) -> Reply:
    """Answer a command whose receiver is able and allowed to look at it."""
    request = command["RequestType"]
    needed = RIGHTS.get(request, 0)
    assert device.memory.management is not None
    if device.memory.management.access_rights & needed != needed:
        return failed("MCMDMErrorDomain", 12007, f"Not authorized to perform {request}.")
    handler = device.commands(channel).get(request)
    if handler is None:
        return device.unknown_command(request)
    return await handler(device, channel, command)


async def device_information(device: Device, channel: str, command: Command) -> Reply:
    queries = command.get("Queries")
    if not isinstance(queries, list):
        return FORMAT_ERROR
    assert device.memory.management is not None
    rights = device.memory.management.access_rights
    known = reports.device_information(device)
    responses = {}
    for name in queries:
        needed = reports.QUERY_RIGHTS.get(name, 16)
        if name in known and rights & needed == needed:
            responses[name] = known[name]
    return Reply(content={"QueryResponses": responses})


async def security_info(device: Device, channel: str, command: Command) -> Reply:
    return Reply(content={"SecurityInfo": reports.security_info(device)})


async def profile_list(device: Device, channel: str, command: Command) -> Reply:
    return Reply(content={"ProfileList": reports.profile_list(device)})


async def certificate_list(device: Device, channel: str, command: Command) -> Reply:
    return Reply(content={"CertificateList": reports.certificate_list(device)})


async def installed_application_list(device: Device, channel: str, command: Command) -> Reply:
    found = [] if command.get("ManagedAppsOnly") else apps(device.hardware, device.large)
    identifiers, items = command.get("Identifiers"), command.get("Items")
    if identifiers:
        found = [app for app in found if app["Identifier"] in identifiers]
    if items and device.hardware.kind is not Model.MAC:
        found = [{k: v for k, v in app.items() if k in items} for app in found]
    return Reply(content={"InstalledApplicationList": found})


async def install_profile(device: Device, channel: str, command: Command) -> Reply:
    data = command.get("Payload")
    if not isinstance(data, bytes):
        return FORMAT_ERROR
    try:
        profile = read_profile(data)
    except BadCms as error:
        inner = _link("MCProfileErrorDomain", 1000, str(error))
        return failed("MCInstallationErrorDomain", 4001, "Profile Failed to Install", inner)
    if profile.payloads("com.apple.mdm"):
        return await _replace_management(device, profile)
    device.memory.profiles[profile.identifier] = base64.b64encode(data).decode("ascii")
    device.save()
    return Reply()


async def remove_profile(device: Device, channel: str, command: Command) -> Reply:
    identifier = command.get("Identifier")
    if not isinstance(identifier, str):
        return device.missing_key("RemoveProfile", "Identifier")
    management = device.memory.management
    if management is not None and identifier == management.profile_identifier:
        await device.remove_management()
        return Reply(silent=True)
    if identifier not in device.memory.profiles:
        text = f"The profile “{identifier}” is not installed."
        return failed("MCMDMErrorDomain", 12013, text)
    del device.memory.profiles[identifier]
    device.save()
    return Reply()


async def device_configured(device: Device, channel: str, command: Command) -> Reply:
    if not device.memory.awaiting:
        text = "The device is not awaiting its configuration."
        return failed("MCMDMErrorDomain", 12066, text)
    device.memory.awaiting = False
    device.save()
    return Reply()


async def erase_device(device: Device, channel: str, command: Command) -> Reply:
    return Reply(then=device.erase)


async def _replace_management(device: Device, profile: Profile) -> Reply:
    """The enrollment profile again means a renewed identity; another one is refused."""
    management = device.memory.management
    assert management is not None
    if profile.identifier != management.profile_identifier:
        text = "The new MDM payload does not match the old payload."
        return failed("MCMDMErrorDomain", 12012, text)
    try:
        await device.renew(profile)
    except LabError as error:
        inner = _link("MCSCEPErrorDomain", 22013, str(error))
        return failed("MCInstallationErrorDomain", 4001, "Profile Failed to Install", inner)
    return Reply()


def _link(domain: str, code: int, text: str) -> dict[str, Any]:
    return {
        "ErrorCode": code,
        "ErrorDomain": domain,
        "LocalizedDescription": text,
        "USEnglishDescription": text,
    }


EVERYWHERE: dict[str, Handler] = {
    "DeviceInformation": device_information,
    "SecurityInfo": security_info,
    "ProfileList": profile_list,
    "CertificateList": certificate_list,
    "InstalledApplicationList": installed_application_list,
    "InstallProfile": install_profile,
    "RemoveProfile": remove_profile,
    "DeviceConfigured": device_configured,
}
