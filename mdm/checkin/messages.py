"""Takes each check-in message to its function, in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction

from mdm import identity
from mdm.checkin import requests
from mdm.checkin.answer import Answer
from mdm.checkin.authenticate import authenticate
from mdm.checkin.ending import check_out
from mdm.checkin.speaker import Speaker, speaker_of
from mdm.checkin.token_update import token_update
from mdm.protocol import checkin as messages
from mdm.protocol.errors import BadMessage
from mdm.protocol.plist import plist_dumps, safe_plist_loads

# Messages that are kept are a few kilobytes long without their secrets.
_RECORD_AT_MOST = 64 * 1024


def handle(body: bytes, signer: identity.SignerCertificate) -> Answer:
    """Carry out one check-in message.

    Raises ProtocolError where it cannot be read and Refused where this identity may not send it;
    then nothing has changed, but for the quarantine.
    """
    content = safe_plist_loads(body)
    message = messages.read_checkin(content)
    if isinstance(message, messages.Authenticate):
        return authenticate(message, signer, _record(content))
    if isinstance(message, messages.TokenUpdate):
        return token_update(message, signer, _record(content))
    with transaction.atomic():
        speaker = speaker_of(message, signer)
        if isinstance(message, messages.CheckOut):
            return check_out(speaker, message, _record(content))
        return _HANDLERS[type(message)](speaker, message)


_HANDLERS: dict[type[Any], Callable[[Speaker, Any], Answer]] = {
    messages.UserAuthenticate: requests.user_authenticate,
    messages.SetBootstrapToken: requests.set_bootstrap_token,
    messages.GetBootstrapToken: requests.get_bootstrap_token,
    messages.GetToken: requests.get_token,
    messages.ReturnToService: requests.return_to_service,
    messages.DeclarativeManagement: requests.declarative_management,
}


def _record(content: dict[str, object]) -> bytes:
    """The message as it is kept, without its secrets. Raises BadMessage where it is too large."""
    record = plist_dumps(messages.redacted_content(content))
    if len(record) > _RECORD_AT_MOST:
        raise BadMessage("too-large", "The message holds more than such messages do.")
    return record
