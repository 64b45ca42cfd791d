"""Apple's own copy of a profile, from the lab's Apple."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from abm import assignment, conversation, copies, disowns, runs, tasks
from abm.models import Definition, Server, SyncRun
from lab.dep.faults import FaultKind
from mdm import secrets
from tests.abm.apple import ADMIN, Apple
from tests.abm.connected import somebody_talks
from tests.abm.patience import PATIENT

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def called(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Which workers were called: the task and the server."""
    found: list[tuple[str, int]] = []
    for module, word in ((disowns, "disown"), (runs, "sync"), (assignment, "assign")):
        monkeypatch.setattr(module, "publish", lambda pk, word=word: found.append((word, pk)))
    return found


@pytest.fixture
def defined(lab_apple: Apple) -> Definition:
    """A profile that Apple has."""
    server, _ = lab_apple.link("Office")
    document = {"profile_name": "Phones", "url": "https://mdm.example.com/x", "department": "IT"}
    with conversation.with_apple(server, PATIENT) as client:
        uuid, _ = client.define_profile(document)
    return Definition.objects.create(
        server=server,
        reference=1,
        name="Phones",
        state=Definition.State.DEFINED,
        profile_uuid=uuid,
        defined_at=timezone.now(),
        sealed_document=secrets.seal(assignment.PURPOSE, json.dumps(document).encode()),
    )


def asked(definition: Definition) -> Definition:
    copies.ask(ADMIN, definition)
    definition.refresh_from_db()
    assert copies.waits(definition)
    return definition


def fetched(definition: Definition) -> Definition:
    copies.fetch(definition.pk, PATIENT)
    definition.refresh_from_db()
    assert not copies.waits(definition)
    return definition


def test_what_apple_has_is_kept_sealed(defined: Definition) -> None:
    found = fetched(asked(defined))
    assert found.sealed_copy is not None
    assert b"department" not in bytes(found.sealed_copy)
    copy = json.loads(secrets.unseal(assignment.PURPOSE, found.sealed_copy))
    assert (copy["profile_name"], copy["department"]) == ("Phones", "IT")
    assert found.copy_problem == ""


def test_what_apple_does_not_know_is_said(defined: Definition) -> None:
    Definition.objects.update(profile_uuid="0" * 32)
    found = fetched(asked(defined))
    assert found.copy_problem.startswith("Apple did not give its copy")
    assert found.copied_at is None


def test_a_pause_that_apple_asks_for_is_said(lab_apple: Apple, defined: Definition) -> None:
    lab_apple.order(FaultKind.TOO_MANY_REQUESTS, seconds=600, count=9)
    assert "did not give its copy" in fetched(asked(defined)).copy_problem


def test_a_server_that_cannot_be_asked_is_named(defined: Definition) -> None:
    Server.objects.update(token_expires_at=timezone.now() - timedelta(days=1))
    assert "Apple cannot be asked for Office" in fetched(asked(defined)).copy_problem


def test_while_others_talk_with_apple_it_says_so(defined: Definition) -> None:
    with somebody_talks(defined.server_id):
        found = fetched(asked(defined))
    assert found.copy_problem.endswith("Try again in a moment.")


def test_what_found_apple_taken_meanwhile_is_called_again(
    defined: Definition, called: list[tuple[str, int]]
) -> None:
    runs.want(defined.server, "someone")
    called.clear()
    tasks.fetch_copy(defined.pk)
    assert called == [("sync", defined.server_id)]
    SyncRun.objects.all().delete()
    tasks.fetch_copy(defined.pk)
    assert len(called) == 1


def test_a_pause_that_apple_asked_for_is_kept(defined: Definition, lab_apple: Apple) -> None:
    Server.objects.update(retry_at=timezone.now() + timedelta(hours=1))
    asked(defined)
    before = lab_apple.answered
    found = fetched(defined)
    assert found.copy_problem.startswith("Apple asked for a pause. Try again after")
    assert lab_apple.answered == before
