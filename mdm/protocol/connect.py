"""The connect messages: what a device reports, and the command it is given in return.

Which command is next is the queue's business (`commands.queue`). Source: Apple's "Handling MDM
commands" and mdm/commands/*.yaml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mdm.protocol.errors import BadMessage
from mdm.protocol.fields import display_text, integer, optional_text
from mdm.protocol.ids import EnrollmentID
from mdm.protocol.plist import plist_dumps, safe_plist_loads

CHECKIN_TYPE = "application/x-apple-aspen-mdm-checkin"
CONNECT_TYPE = "application/x-apple-aspen-mdm"

_ERROR_CHAIN_LENGTH = 16
_DESCRIPTION_LENGTH = 2000


class Status(StrEnum):
    """What a device says about the command it was given."""

    IDLE = "Idle"
    ACKNOWLEDGED = "Acknowledged"
    ERROR = "Error"
    COMMAND_FORMAT_ERROR = "CommandFormatError"
    NOT_NOW = "NotNow"


_STATUSES = {status.value: status for status in Status}


@dataclass(frozen=True, slots=True)
class ErrorChainItem:
    """One error; codes and domains are for people, they change between releases."""

    code: int
    domain: str
    localized_description: str
    us_english_description: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """One connect of a device; `command_uuid` is None only when it is Idle.

    `content` is the whole message, the command's own answer included. The outermost error comes
    first, at most 16 of them.
    """

    id: EnrollmentID
    status: Status
    command_uuid: str | None
    error_chain: tuple[ErrorChainItem, ...]
    request_type: str | None
    content: dict[str, object]


def parse_report(body: bytes) -> Report:
    """The report in a request body; raises BadPlist or BadMessage."""
    content = safe_plist_loads(body)
    status = _status(content)
    command_uuid = optional_text(content, "CommandUUID")
    if command_uuid is None and status is not Status.IDLE:
        raise BadMessage("command-uuid", "The report does not say which command it answers.")
    return Report(
        id=EnrollmentID.from_message(content),
        status=status,
        command_uuid=None if status is Status.IDLE else command_uuid,
        error_chain=_error_chain(content),
        request_type=display_text(content, "RequestType"),
        content=content,
    )


def command_plist(uuid: str, command: Mapping[str, object]) -> bytes:
    """The body that hands out a command; `command` holds RequestType and the payload's keys.

    Raises BadPlist where a value has no property list form.
    """
    return plist_dumps({"CommandUUID": uuid, "Command": command})


def is_checkin(content_type: str | None, body: bytes) -> bool:
    """Whether a request is a check-in rather than a connect.

    The Content-Type decides; where it is missing or generic, the body does: every check-in has a
    MessageType, every report but Idle a CommandUUID, and no message has both of its own.
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind == CHECKIN_TYPE:
        return True
    if kind == CONNECT_TYPE:
        return False
    return b"MessageType" in body and b"CommandUUID" not in body


def _status(content: Mapping[str, object]) -> Status:
    status = content.get("Status")
    if not isinstance(status, str) or status not in _STATUSES:
        raise BadMessage("status", "The Status is missing or unknown.")
    return _STATUSES[status]


def _error_chain(content: Mapping[str, object]) -> tuple[ErrorChainItem, ...]:
    chain = content.get("ErrorChain")
    if chain is None:
        return ()
    if not isinstance(chain, list):
        raise BadMessage("error-chain", "The ErrorChain is not a list.")
    return tuple(_error(item) for item in chain[:_ERROR_CHAIN_LENGTH])


def _error(item: object) -> ErrorChainItem:
    if not isinstance(item, dict):
        raise BadMessage("error-chain", "The ErrorChain holds something that is not an error.")
    return ErrorChainItem(
        code=integer(item, "ErrorCode"),
        domain=display_text(item, "ErrorDomain") or "",
        localized_description=display_text(item, "LocalizedDescription", _DESCRIPTION_LENGTH) or "",
        us_english_description=display_text(item, "USEnglishDescription", _DESCRIPTION_LENGTH),
    )
