"""Finds a command by its RequestType; a new command is one module and one line here."""

from __future__ import annotations

from collections.abc import Mapping

from commands.catalog.base import CommandType
from commands.catalog.certificate_list import CertificateList
from commands.catalog.clear_passcode import ClearPasscode
from commands.catalog.device_configured import DeviceConfigured
from commands.catalog.device_information import DeviceInformation
from commands.catalog.device_lock import DeviceLock
from commands.catalog.erase_device import EraseDevice
from commands.catalog.errors import InvalidParameters, UnknownRequestType
from commands.catalog.install_profile import InstallProfile
from commands.catalog.installed_application_list import InstalledApplicationList
from commands.catalog.profile_list import ProfileList
from commands.catalog.raw import PastedCommand, Raw
from commands.catalog.remove_profile import RemoveProfile
from commands.catalog.restart_device import RestartDevice
from commands.catalog.security_info import SecurityInfo
from commands.catalog.shut_down_device import ShutDownDevice


def all_types() -> tuple[CommandType, ...]:
    """Every command that can be chosen, Raw last, in the order a menu shows them."""
    return tuple(_TYPES.values())


def get(request_type: str) -> CommandType:
    """The command of this RequestType (or Raw). Raises UnknownRequestType."""
    try:
        return _TYPES[request_type]
    except KeyError:
        raise UnknownRequestType(request_type) from None


def find(request_type: str) -> CommandType:
    """The command of a RequestType that was sent, also where it was pasted and is not known."""
    return _TYPES.get(request_type) or PastedCommand(request_type)


def prepare(request_type: str, raw: object) -> tuple[CommandType, dict[str, object]]:
    """The command and its parameters, checked; the one way from an edge's input to a command.

    For Raw the result is a PastedCommand, whose request_type is the pasted one. Raises
    UnknownRequestType and InvalidParameters.
    """
    chosen = get(request_type)
    params = chosen.clean(raw)
    if not isinstance(chosen, Raw):
        return chosen, params
    pasted = str(params["RequestType"])
    return PastedCommand(pasted, _known(pasted)), params


def _known(pasted: str) -> CommandType | None:
    if pasted in _SENDABLE:
        return _SENDABLE[pasted]
    # A device might be more lenient than we are: no spelling of a known name goes past its rules.
    meant = _BY_FOLDED_NAME.get(pasted.casefold())
    if meant is not None:
        raise InvalidParameters({"Plist": f"The RequestType is written {meant}."})
    return None


_RAW = Raw()
_SENDABLE: Mapping[str, CommandType] = {
    command.request_type: command
    for command in (
        DeviceInformation(),
        SecurityInfo(),
        ProfileList(),
        InstalledApplicationList(),
        CertificateList(),
        InstallProfile(),
        RemoveProfile(),
        RestartDevice(),
        ShutDownDevice(),
        DeviceConfigured(),
        DeviceLock(),
        ClearPasscode(),
        EraseDevice(),
    )
}
_TYPES: Mapping[str, CommandType] = {**_SENDABLE, _RAW.request_type: _RAW}
_BY_FOLDED_NAME = {name.casefold(): name for name in _TYPES}
