"""Apple's own copy of a profile that we defined, fetched by a worker when someone wants to compare:
no page waits for Apple.
"""

from __future__ import annotations

import json
from datetime import timedelta

import structlog
from celery import current_app
from django.utils import timezone

from abm import conversation, state
from abm.assignment import PURPOSE
from abm.client import AbmError, Patience
from abm.conversation import Busy
from abm.models import Definition
from mdm import secrets
from mdm.audit.actor import Actor
from mdm.audit.record import allow

FETCH = "abm.tasks.fetch_copy"
_EXPIRES = 60
# After so long nobody is at it any more.
_PATIENCE = timedelta(minutes=2)

_log = structlog.get_logger(__name__)


def ask(actor: Actor, definition: Definition) -> None:
    """Have the copy fetched. Raises NotAllowed."""
    allow(actor, "profile.compare")
    now = timezone.now()
    Definition.objects.filter(pk=definition.pk).update(copy_asked_at=now, copy_problem="")
    try:
        current_app.send_task(
            FETCH, [definition.pk], expires=_EXPIRES, retry=False, ignore_result=True
        )
    except Exception as error:
        _log.warning("The broker does not take tasks", error=str(error))
        _note(definition, "No worker could be called. Try again in a moment.")


def waits(definition: Definition) -> bool:
    """Whether the copy was asked for and may still come."""
    asked, came = definition.copy_asked_at, definition.copied_at
    if asked is None or definition.copy_problem or (came is not None and came >= asked):
        return False
    return timezone.now() - asked < _PATIENCE


def fetch(definition_id: int, patience: Patience | None = None) -> int:
    """Ask Apple for it, and keep what it says; returns the server's id."""
    definition = Definition.objects.select_related("server").get(pk=definition_id)
    server = definition.server
    stands = state.of(server)
    if not stands.syncs:
        _note(definition, f"Apple cannot be asked for {server}: {stands.why} {stands.fix}")
        return server.pk
    if server.retry_at is not None and server.retry_at > timezone.now():
        _note(
            definition,
            f"Apple asked for a pause. Try again after {server.retry_at:%H:%M} UTC.",
        )
        return server.pk
    try:
        with (
            conversation.alone(server.pk),
            conversation.with_apple(server, patience or Patience(attempts=2)) as client,
        ):
            copy = client.profile(definition.profile_uuid)
    except Busy:
        _note(definition, "A sync or an assignment talks with Apple now. Try again in a moment.")
    except AbmError as error:
        _note(definition, f"Apple did not give its copy: {error or type(error).__name__}")
    else:
        sealed = secrets.seal(PURPOSE, json.dumps(copy).encode())
        Definition.objects.filter(pk=definition.pk).update(
            sealed_copy=sealed, copied_at=timezone.now(), copy_problem=""
        )
    return server.pk


def _note(definition: Definition, problem: str) -> None:
    Definition.objects.filter(pk=definition.pk).update(copy_problem=problem[:500])
