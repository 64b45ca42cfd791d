"""Server tokens: taking in the file that Apple Business Manager offers for download, trying it out,
and only then putting it to use. How the file is read is `wire/server_token.py`.

    TokenRefused
    ├── OtherServer   for another server's certificate, or of another server in ABM
    └── OldToken      expired, in use already, or older than the one in use

and the errors of the file itself (`ServerTokenError`). Whatever happens, the token in use stays in
use until a new one has proved itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import structlog
from celery import current_app
from django.db import transaction
from django.utils import timezone

from abm import client as apple
from abm import conversation, runs, servers
from abm.client import AbmError, Patience
from abm.models import KeyPair, Server, TokenUpload
from abm.wire.records import Account
from abm.wire.server_token import (
    Envelope,
    ServerToken,
    ServerTokenError,
    WrongKey,
    made_for,
    open_envelope,
    read_envelope,
)
from mdm import secrets
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.webhooks.outbox import emit

CHECK = "abm.tasks.check_token"
LARGEST_FILE = 1_000_000
# An upload that Apple could not be asked about is tried again until then.
_PATIENT_FOR = timedelta(hours=24)

_log = structlog.get_logger(__name__)
_State = TokenUpload.State

__all__ = ["OldToken", "OtherServer", "ServerTokenError", "TokenRefused", "check", "upload"]


class TokenRefused(Exception):
    """Why this token was not put to use, and what to do; the message is for people."""


class OtherServer(TokenRefused):
    pass


class OldToken(TokenRefused):
    pass


def upload(actor: Actor, server: Server, data: bytes) -> TokenUpload:
    """Take in a server token's file: what can be seen in the file is checked here, the rest with
    Apple, by a worker. Raises NotAllowed, TokenRefused, ServerTokenError; then nothing was kept.
    """
    allow(actor, "abm.connect")
    token = _opened(server, read_envelope(data))
    _check_age(server, token)
    with transaction.atomic():
        waiting = server.uploads.filter(state=_State.CHECKING)
        waiting.update(
            state=_State.REFUSED,
            sealed_token=None,
            decided_at=timezone.now(),
            sentence="Another token was uploaded before this one was checked.",
        )
        kept = TokenUpload.objects.create(
            server=server,
            sealed_token=secrets.seal("server_token", token.to_json()),
            expires_at=token.access_token_expiry,
            uploaded_by=actor.name,
        )
        record(
            actor,
            "abm.token.upload",
            subject_kind="abm_server",
            subject_id=server.pk,
            after={"upload": kept.pk, "expires_at": token.access_token_expiry.isoformat()},
        )
        transaction.on_commit(lambda: publish(kept.pk))
    return kept


def check_again(actor: Actor, server: Server) -> TokenUpload | None:
    """Have a worker ask Apple now about the token that waits for it; None where none does. Raises
    NotAllowed.
    """
    allow(actor, "abm.sync")
    waiting = server.uploads.filter(state=_State.CHECKING).first()
    if waiting is not None:
        publish(waiting.pk)
    return waiting


def publish(upload_id: int) -> None:
    """Call a worker to an upload. A broker that is down delays it: the beat finds it."""
    try:
        current_app.send_task(CHECK, [upload_id], expires=290, retry=False, ignore_result=True)
    except Exception as error:
        _log.warning("The broker does not take tasks; the beat will check", error=str(error))


def publish_waiting() -> None:
    """Call workers to the uploads that are not decided."""
    for upload_id in TokenUpload.objects.filter(state=_State.CHECKING).values_list("pk", flat=True):
        publish(upload_id)


def check(upload_id: int, patience: Patience | None = None) -> TokenUpload | None:
    """Try an uploaded token with Apple and put it to use; None where that was decided already."""
    found = TokenUpload.objects.select_related("server").filter(pk=upload_id).first()
    if found is None or found.state != _State.CHECKING or found.sealed_token is None:
        return None
    token = ServerToken.from_json(secrets.unseal("server_token", found.sealed_token))
    try:
        with conversation.client_for(token, patience or Patience(attempts=2)) as client:
            account = client.account()
    except (apple.Unavailable, apple.Throttled) as error:
        return _put_off(found, error)
    except AbmError as error:
        return _refuse(found, _why(error))
    try:
        return _put_to_use(found, token, account)
    except TokenRefused as refused:
        return _refuse(found, str(refused))


# --- The file ------------------------------------------------------------------------------------


def _opened(server: Server, envelope: Envelope) -> ServerToken:
    pair = _fitting(server.key_pairs.order_by("-pk"), envelope)
    if pair is None:
        raise _for_another(server, envelope)
    key = secrets.unseal("server_token_key", pair.sealed_key)
    return open_envelope(envelope, pair.certificate.encode(), key)


def _fitting(pairs: Iterable[KeyPair], envelope: Envelope) -> KeyPair | None:
    return next((pair for pair in pairs if made_for(envelope, pair.certificate.encode())), None)


def _for_another(server: Server, envelope: Envelope) -> Exception:
    others = KeyPair.objects.exclude(server=server).filter(server__disconnected_at=None)
    other = _fitting(others.select_related("server"), envelope)
    if other is not None:
        return OtherServer(
            f"This token was made for the certificate of “{other.server}”, not of “{server}”."
            f" Upload it at “{other.server}”, or download the token of the right server in ABM."
        )
    return WrongKey(
        "This token was made for another certificate than the one of this page, so it cannot be"
        " opened here. In ABM, open the server, upload the certificate from this page, save, and"
        " download the token again."
    )


def _check_age(server: Server, token: ServerToken) -> None:
    expires = token.access_token_expiry
    if expires <= timezone.now():
        raise OldToken(
            f"This token expired on {expires:%B %d, %Y}. Download a new one in ABM and upload that."
        )
    if server.sealed_token is None:
        return
    if conversation.token_of(server).access_token == token.access_token:
        raise OldToken(
            "This very token is in use already; nothing had to change. To renew it, download a new"
            " token in ABM."
        )
    if server.token_expires_at is not None and expires < server.token_expires_at:
        raise OldToken(
            f"This token is older than the one in use: it ends on {expires:%B %d, %Y}, the one in"
            f" use on {server.token_expires_at:%B %d, %Y}. Look for the file that was downloaded"
            " last, or download a new one in ABM."
        )


# --- What Apple says -----------------------------------------------------------------------------


def _put_to_use(found: TokenUpload, token: ServerToken, account: Account) -> TokenUpload | None:
    now = timezone.now()
    with transaction.atomic():
        server = Server.objects.select_for_update().get(pk=found.server_id)
        upload = TokenUpload.objects.select_for_update().get(pk=found.pk)
        if upload.state != _State.CHECKING or server.disconnected_at is not None:
            return None
        _check_server(server, account)
        first = server.sealed_token is None
        for key, value in servers.facts_of(account).items():
            setattr(server, key, value)
        server.sealed_token = secrets.seal("server_token", token.to_json())
        server.token_expires_at, server.token_accepted_at = token.access_token_expiry, now
        server.reminded_days = None
        server.problem, server.problem_said, server.problem_at, server.retry_at = "", "", None, None
        server.save()
        upload.state, upload.sealed_token, upload.decided_at = _State.ACCEPTED, None, now
        upload.sentence = (
            f"Connected to “{server.server_name}” of {server.org_name or 'your organization'}."
        )
        upload.save()
        _tell(server, upload, first)
        transaction.on_commit(lambda: runs.publish(server.pk))
    return upload


def _check_server(server: Server, account: Account) -> None:
    """Raises OtherServer where the token is not this server's."""
    named = f"“{account.server_name}” of {account.org_name or 'its organization'}"
    if server.server_uuid and server.server_uuid != account.server_uuid:
        raise OtherServer(
            f"This token belongs to {named} in ABM (UUID {account.server_uuid}), but this page is"
            f" for “{server.server_name}” (UUID {server.server_uuid}). Download the token of"
            f" “{server.server_name}”. To connect {named} too, generate a token for a new server."
        )
    twin = servers.connected().filter(server_uuid=account.server_uuid).exclude(pk=server.pk).first()
    if twin is not None:
        raise OtherServer(
            f"{named} is connected already, as “{twin}”. To renew its token, upload it there."
        )


def _tell(server: Server, upload: TokenUpload, first: bool) -> None:
    facts = {
        "name": str(server),
        "server_uuid": server.server_uuid,
        "org_name": server.org_name,
        "expires_at": upload.expires_at.isoformat(),
    }
    record(
        Actor.system("token check"),
        "abm.token.accept",
        subject_kind="abm_server",
        subject_id=server.pk,
        after={"upload": upload.pk, **facts},
    )
    emit("abm.token.accepted" if first else "abm.token.renewed", str(server.pk), facts)


def _put_off(found: TokenUpload, error: AbmError) -> TokenUpload:
    if timezone.now() - found.uploaded_at > _PATIENT_FOR:
        return _refuse(found, f"Apple did not answer for a day ({error}). Upload the token again.")
    found.sentence = f"{error} It is tried again within 5 minutes."[:500]
    found.save(update_fields=["sentence"])
    return found


def _refuse(found: TokenUpload, sentence: str) -> TokenUpload:
    with transaction.atomic():
        upload = TokenUpload.objects.select_for_update().get(pk=found.pk)
        if upload.state == _State.CHECKING:
            upload.state, upload.sealed_token = _State.REFUSED, None
            upload.decided_at, upload.sentence = timezone.now(), sentence[:500]
            upload.save()
            emit("abm.token.refused", str(upload.server_id), {"why": upload.sentence})
    return upload


def _why(error: AbmError) -> str:
    for kind, sentence in _WHY.items():
        if isinstance(error, kind):
            return sentence
    return f"Apple refused to work with this token: {error}. Download a new one in ABM."


_WHY: dict[type[AbmError], str] = {
    apple.TermsNotSigned: "Apple has new terms and conditions, and your organization has not"
    " accepted them. An administrator accepts them at business.apple.com; then upload this file"
    " again.",
    apple.TokenExpired: "Apple says that this token has expired. Download a new one in ABM.",
    apple.TokenInvalid: "Apple does not accept this token. A newer one was probably downloaded in"
    " ABM since: upload that, or download another one and upload it right away.",
    apple.AccessDenied: "Apple says that this token may not be used for device enrollment. Check"
    " in ABM that it belongs to an MDM server, and download it again.",
}
