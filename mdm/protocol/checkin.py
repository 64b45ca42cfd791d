"""The check-in messages and how they are read; what each one changes is `mdm.checkin`.

Fields and types: Apple's device-management schema, mdm/checkin/*.yaml. Secrets are left out of
every repr, so that a logged message gives none away.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from plistlib import UID

from mdm.protocol.errors import BadMessage
from mdm.protocol.fields import (
    Message,
    display_text,
    flag,
    optional_data,
    optional_text,
    required_data,
    required_text,
)
from mdm.protocol.ids import EnrollmentID
from mdm.protocol.plist import plist_dumps, safe_plist_loads, xml_text

REDACTED = "(redacted)"

_SECRETS = frozenset(
    {
        "AuthToken",
        "BootstrapToken",
        "Challenge",
        "DigestResponse",
        "PushMagic",
        "SecurityToken",
        "Token",
        "UnlockToken",
    }
)
_PUSH_TOKEN_LENGTH = 255
_SECRET_LENGTH = 64 * 1024
_PARAMETERS = 16


@dataclass(frozen=True, slots=True)
class Authenticate:
    """A new enrollment begins; the only message that brings hardware facts."""

    id: EnrollmentID
    topic: str
    serial_number: str | None
    device_name: str | None
    model: str | None
    model_name: str | None
    product_name: str | None
    os_version: str | None
    build_version: str | None
    imei: str | None
    meid: str | None


@dataclass(frozen=True, slots=True)
class TokenUpdate:
    """Where and how to wake the device or user; the first one completes the enrollment.

    `unlock_token` is None when this message brings none: a stored one stays valid.
    """

    id: EnrollmentID
    topic: str
    token: bytes = field(repr=False)
    push_magic: str = field(repr=False)
    unlock_token: bytes | None = field(repr=False)
    awaiting_configuration: bool
    not_on_console: bool


@dataclass(frozen=True, slots=True)
class CheckOut:
    """The enrollment profile is gone; sent once at best."""

    id: EnrollmentID
    topic: str | None


@dataclass(frozen=True, slots=True)
class UserAuthenticate:
    """A directory user logs in to a Mac; `digest_response` only in the second message."""

    id: EnrollmentID
    digest_response: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class SetBootstrapToken:
    """The device escrows its bootstrap token; None means that it withdraws it."""

    id: EnrollmentID
    bootstrap_token: bytes | None = field(repr=False)
    awaiting_configuration: bool


@dataclass(frozen=True, slots=True)
class GetBootstrapToken:
    """The device asks for the bootstrap token that it escrowed."""

    id: EnrollmentID
    awaiting_configuration: bool


@dataclass(frozen=True, slots=True)
class GetToken:
    """The device asks for a token of a service; the parameters are as sent, not yet checked."""

    id: EnrollmentID
    token_service_type: str
    token_parameters: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeclarativeManagement:
    """A declarative request; `data` is JSON, not yet parsed."""

    id: EnrollmentID
    endpoint: str
    data: bytes | None


@dataclass(frozen=True, slots=True)
class ReturnToService:
    """The device is about to erase itself and asks how to come back."""

    id: EnrollmentID


CheckinMessage = (
    Authenticate
    | TokenUpdate
    | CheckOut
    | UserAuthenticate
    | SetBootstrapToken
    | GetBootstrapToken
    | GetToken
    | DeclarativeManagement
    | ReturnToService
)


def parse_checkin(body: bytes) -> CheckinMessage:
    """The message in a request body; raises BadPlist or BadMessage."""
    return read_checkin(safe_plist_loads(body))


def read_checkin(content: Message) -> CheckinMessage:
    """The message in a dictionary that `safe_plist_loads` gave; raises BadMessage."""
    message_type = content.get("MessageType")
    reader = _READERS.get(message_type) if isinstance(message_type, str) else None
    if reader is None:
        raise BadMessage("message-type", "The MessageType is missing or unknown.")
    return reader(EnrollmentID.from_message(content), content)


def redacted(body: bytes) -> bytes:
    """The message in a request body as an XML property list without its secrets.

    Raises BadPlist.
    """
    return plist_dumps(redacted_content(safe_plist_loads(body)))


def redacted_content(content: Message) -> dict[str, object]:
    """The dictionary with every value under a secret's name replaced, however deep it lies.

    What a binary property list may hold and an XML one may not is left out or written as text.
    """
    return {
        xml_text(key): REDACTED if xml_text(key) in _SECRETS else _redacted_value(value)
        for key, value in content.items()
    }


def _redacted_value(value: object) -> object:
    if isinstance(value, Mapping):
        return redacted_content(value)
    if isinstance(value, list):
        return [_redacted_value(item) for item in value]
    if isinstance(value, UID):
        return str(value.data)
    return xml_text(value) if isinstance(value, str) else value


def _authenticate(speaker: EnrollmentID, message: Message) -> Authenticate:
    # Only devices enroll: with a user's id, one device could begin a channel under another.
    if speaker.channel != "device":
        raise BadMessage("user-id", "Authenticate names a user.")
    return Authenticate(
        id=speaker,
        topic=required_text(message, "Topic"),
        serial_number=optional_text(message, "SerialNumber"),
        device_name=display_text(message, "DeviceName"),
        model=display_text(message, "Model"),
        model_name=display_text(message, "ModelName"),
        product_name=display_text(message, "ProductName"),
        os_version=display_text(message, "OSVersion"),
        build_version=display_text(message, "BuildVersion"),
        imei=display_text(message, "IMEI"),
        meid=display_text(message, "MEID"),
    )


def _token_update(speaker: EnrollmentID, message: Message) -> TokenUpdate:
    return TokenUpdate(
        id=speaker,
        topic=required_text(message, "Topic"),
        token=required_data(message, "Token", _PUSH_TOKEN_LENGTH),
        push_magic=required_text(message, "PushMagic"),
        unlock_token=optional_data(message, "UnlockToken", _SECRET_LENGTH),
        awaiting_configuration=flag(message, "AwaitingConfiguration"),
        not_on_console=flag(message, "NotOnConsole"),
    )


def _check_out(speaker: EnrollmentID, message: Message) -> CheckOut:
    return CheckOut(speaker, optional_text(message, "Topic"))


def _user_authenticate(speaker: EnrollmentID, message: Message) -> UserAuthenticate:
    if speaker.channel != "user":
        raise BadMessage("user-id", "UserAuthenticate names no user.")
    return UserAuthenticate(speaker, optional_text(message, "DigestResponse", 4096))


def _set_bootstrap_token(speaker: EnrollmentID, message: Message) -> SetBootstrapToken:
    token = optional_data(message, "BootstrapToken", _SECRET_LENGTH)
    return SetBootstrapToken(speaker, token, flag(message, "AwaitingConfiguration"))


def _get_bootstrap_token(speaker: EnrollmentID, message: Message) -> GetBootstrapToken:
    return GetBootstrapToken(speaker, flag(message, "AwaitingConfiguration"))


def _get_token(speaker: EnrollmentID, message: Message) -> GetToken:
    parameters = message.get("TokenParameters", {})
    if not isinstance(parameters, dict) or len(parameters) > _PARAMETERS:
        raise BadMessage("field", "TokenParameters is not a small dictionary.")
    return GetToken(speaker, required_text(message, "TokenServiceType"), parameters)


def _declarative_management(speaker: EnrollmentID, message: Message) -> DeclarativeManagement:
    data = message.get("Data")
    if data is not None and not isinstance(data, bytes):
        raise BadMessage("field", "Data is not data.")
    return DeclarativeManagement(speaker, required_text(message, "Endpoint", 1024), data)


def _return_to_service(speaker: EnrollmentID, _: Message) -> ReturnToService:
    return ReturnToService(speaker)


_READERS: dict[str, Callable[[EnrollmentID, Message], CheckinMessage]] = {
    "Authenticate": _authenticate,
    "TokenUpdate": _token_update,
    "CheckOut": _check_out,
    "UserAuthenticate": _user_authenticate,
    "SetBootstrapToken": _set_bootstrap_token,
    "GetBootstrapToken": _get_bootstrap_token,
    "GetToken": _get_token,
    "DeclarativeManagement": _declarative_management,
    "ReturnToService": _return_to_service,
}
