"""What devices ask for at check-in: tokens, declarations, how to come back.

Other apps answer for what they know by `answer_with`; these are the answers without them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from mdm.audit.actor import Actor, Kind
from mdm.audit.models import AuditEvent
from mdm.audit.record import record
from mdm.checkin.answer import Answer
from mdm.checkin.secrets import BOOTSTRAP_TOKEN
from mdm.checkin.speaker import Speaker
from mdm.models import Escrow
from mdm.protocol import checkin as messages
from mdm.protocol.checkin import CheckinMessage
from mdm.secrets import seal, unseal

Responder = Callable[[Speaker, Any], Answer | None]


def answer_with(kind: type[CheckinMessage], responder: Responder) -> None:
    """Let another app answer messages of `kind` (GetToken, ReturnToService,
    DeclarativeManagement); the first responder that does not return None answers."""
    _responders.setdefault(kind, []).append(responder)


def user_authenticate(speaker: Speaker, message: messages.UserAuthenticate) -> Answer:
    """Directory users are not managed: 410 says so for this login session."""
    return Answer(status=410)


def set_bootstrap_token(speaker: Speaker, message: messages.SetBootstrapToken) -> Answer:
    """Escrow the machine's bootstrap token; a message without one withdraws it."""
    escrow = {"enrollment_id": speaker.device["id"], "kind": Escrow.Kind.BOOTSTRAP_TOKEN}
    if message.bootstrap_token:
        sealed = seal(BOOTSTRAP_TOKEN, message.bootstrap_token)
        Escrow.objects.update_or_create(
            **escrow, defaults={"sealed": sealed, "received_at": speaker.at}
        )
    else:
        Escrow.objects.filter(**escrow).delete()
    return Answer()


def get_bootstrap_token(speaker: Speaker, message: messages.GetBootstrapToken) -> Answer:
    """The escrowed token, or an empty dictionary. That it was handed out is in the audit log."""
    row = Escrow.objects.filter(
        enrollment_id=speaker.device["id"], kind=Escrow.Kind.BOOTSTRAP_TOKEN
    ).first()
    if row is None:
        return Answer.plist({})
    _note_hourly(speaker, "bootstrap_token.read")
    return Answer.plist({"BootstrapToken": unseal(BOOTSTRAP_TOKEN, row.sealed)})


def get_token(speaker: Speaker, message: messages.GetToken) -> Answer:
    """A token for one of Apple's services; 400 where nobody here makes them for that service."""
    return _respond(speaker, message) or Answer(status=400)


def return_to_service(speaker: Speaker, message: messages.ReturnToService) -> Answer:
    """How the device shall come back after erasing itself: not by itself, unless an app says so."""
    return _respond(speaker, message) or Answer.plist({"ReturnToService": {"Enabled": False}})


def declarative_management(speaker: Speaker, message: messages.DeclarativeManagement) -> Answer:
    """Answer as the protocol wants when nothing is declared, unless an app declares something."""
    return _respond(speaker, message) or _nothing_declared(speaker, message.endpoint)


def _note_hourly(speaker: Speaker, action: str) -> None:
    """Record that a secret was given back to its device, once an hour for each: rows of the audit
    log stay for good, and a device could ask all day. Its own row is locked, so it counts once.
    """
    actor = Actor.device(speaker.device["key"])
    noted = AuditEvent.objects.filter(
        actor_kind=Kind.DEVICE, actor_id=actor.id, at__gt=speaker.at - _HOUR, action=action
    )
    if not noted.exists():
        record(actor, action, subject_kind="device", subject_id=speaker.device["device_id"])


_HOUR = timedelta(hours=1)

# The token of the empty set of declarations.
_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _nothing_declared(speaker: Speaker, endpoint: str) -> Answer:
    if endpoint == "status":
        return Answer()
    if endpoint == "tokens":
        since = speaker.enrollment["enrolled_at"] or speaker.at
        stamp = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        return Answer.json({"SyncTokens": {"DeclarationsToken": _NOTHING, "Timestamp": stamp}})
    if endpoint == "declaration-items":
        kinds = ("Activations", "Assets", "Configurations", "Management")
        return Answer.json(
            {"Declarations": {kind: [] for kind in kinds}, "DeclarationsToken": _NOTHING}
        )
    return Answer(status=404)


_responders: dict[type[Any], list[Responder]] = {}


def _respond(speaker: Speaker, message: CheckinMessage) -> Answer | None:
    for responder in _responders.get(type(message), []):
        answer = responder(speaker, message)
        if answer is not None:
            return answer
    return None
