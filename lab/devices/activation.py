"""Setup Assistant's part of Automated Device Enrollment: a device proves by its certificate from
the factory which one it is, and gets the enrollment profile at the address that Apple gave it. What
it gave is `lab.dep.portal.Portal.activate`. Source: Apple's "MachineInfo" and the errors beside it.
"""

from __future__ import annotations

import base64
import json
import plistlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from lab import cms
from lab.devices import web_view
from lab.devices.faults import DeviceFault
from lab.devices.hardware import Model
from lab.devices.profile import MIME, Profile, read_profile
from lab.devices.web_view import Person
from lab.errors import EnrollmentFailed, ServerRefused

if TYPE_CHECKING:
    from lab.devices.device import Device

# What of an ADE profile no device tells anybody.
SECRET = frozenset({"url", "configuration_web_url"})
_CONTENT_TYPE = "application/pkcs7-signature"
_UPDATE = "com.apple.softwareupdate.required"
_MOST_UPDATES = 3
# From these on a server may ask for an update during enrollment.
_ASKS_FOR_UPDATES = {Model.IPHONE: 17, Model.IPAD: 17, Model.MAC: 14, Model.VISION: 26}

Issue = Callable[[str, rsa.RSAPrivateKey], tuple[x509.Certificate, list[x509.Certificate]]]


@dataclass(frozen=True, slots=True)
class Factory:
    """Where devices get their certificate. `issue` gives it with its chain; `foreign` does so
    under a root that nobody knows.
    """

    key: Callable[[int], Awaitable[rsa.RSAPrivateKey]]
    issue: Issue
    foreign: Issue


def anchors(profile: Mapping[str, Any]) -> bytes:
    """The certificates that the ADE profile has the device trust for TLS, as PEM."""
    found = (base64.b64decode(each) for each in profile.get("anchor_certs") or [])
    return b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in found)


def machine_info(device: Device) -> dict[str, Any]:
    """What the device says of itself."""
    machine = device.hardware
    version = device.memory.os_version or machine.os_version
    said: dict[str, Any] = {
        "UDID": machine.udid,
        "SERIAL": machine.serial,
        "PRODUCT": machine.product,
        "VERSION": machine.build,
        "OS_VERSION": version,
        "LANGUAGE": "en-US",
    }
    if machine.imei:
        said["IMEI"] = machine.imei
    least = _ASKS_FOR_UPDATES.get(machine.kind)
    if least is not None and int(version.partition(".")[0]) >= least:
        said["MDM_CAN_REQUEST_SOFTWARE_UPDATE"] = True
        said["SOFTWARE_UPDATE_DEVICE_ID"] = machine.product
    return said


async def message(device: Device) -> bytes:
    """The same, signed: or not, or by somebody else, where that was ordered."""
    content = plistlib.dumps(machine_info(device))
    if device.faults.take(DeviceFault.UNSIGNED):
        return content
    factory = device.surroundings.factory
    if factory is None:
        raise EnrollmentFailed("This device has no certificate from the factory.")
    issue = factory.foreign if device.faults.take(DeviceFault.FOREIGN) else factory.issue
    key = await factory.key(2048)
    certificate, chain = issue(device.hardware.udid, key)
    return cms.sign(content, cms.Signer(certificate, key), detached=False, chain=chain)


async def obtain(
    device: Device, profile: Mapping[str, Any], trusted: bytes, person: Person | None
) -> Profile:
    """The enrollment profile that the server gives this device; it updates first where it is told
    to. `trusted` are PEM certificates for TLS, `person` signs in where that is wanted. Raises
    EnrollmentFailed, ServerRefused, ServerUnreachable.
    """
    for _ in range(_MOST_UPDATES):
        try:
            return read_profile(await _ask(device, profile, trusted, person))
        except ServerRefused as refused:
            wanted = _update_wanted(refused.status, refused.body)
            if not wanted:
                raise
        device.memory.os_version = wanted
        device.save()
    raise EnrollmentFailed("The server wants one update after the other.")


async def _ask(
    device: Device, profile: Mapping[str, Any], trusted: bytes, person: Person | None
) -> bytes:
    page = profile.get("configuration_web_url")
    # Apple TV has no web view.
    if page and device.hardware.kind is not Model.APPLE_TV:
        if person is None:
            raise EnrollmentFailed("Its ADE profile wants someone to sign in. Nobody is there.")
        return await web_view.sign_in(
            page, await message(device), trusted, person, device.user_agent
        )
    headers = {"Content-Type": _CONTENT_TYPE, "User-Agent": device.user_agent}
    web = device.surroundings.webs.trusting(trusted)
    answer = await web.ask("POST", profile["url"], await message(device), headers)
    if answer.status != 200 or answer.content_type != MIME:
        raise ServerRefused(answer.status, answer.body)
    return answer.body


def _update_wanted(status: int, body: bytes) -> str:
    if status != 403:
        return ""
    try:
        said = json.loads(body)
        return str(said["details"]["OSVersion"]) if said["code"] == _UPDATE else ""
    except (ValueError, KeyError, TypeError):
        return ""
