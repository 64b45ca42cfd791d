"""A token is put to use once the file, its age and Apple have nothing against it."""

from __future__ import annotations

import shutil
from datetime import timedelta

import pytest
from django.utils import timezone

from abm import conversation, servers, state, tokens
from abm.models import Server, TokenUpload
from abm.tokens import OldToken, OtherServer
from abm.wire.server_token import WrongKey
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.webhooks.models import Event
from tests.abm.patience import PATIENT
from tests.abm.wire.files import a_year_from, content, sealed, words

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]

ADA = Actor.system("Ada")
SESSION = {"auth_session_token": "s"}


def account(uuid: str = "U1", name: str = "Office in ABM") -> dict:
    return {"server_uuid": uuid, "server_name": name, "org_name": "Acme"}


def file(server: Server, name: str = "1", days: int = 0) -> bytes:
    expiry = a_year_from(timezone.now()) + timedelta(days=days)
    pair = servers.current_key_pair(server)
    return sealed(pair.certificate.encode(), content(words(name, expiry)), "-aes256")


@pytest.fixture
def server() -> Server:
    return servers.create(ADA, "Office")


def put(script, server: Server, data: bytes, said: dict | None = None) -> TokenUpload:
    """Upload and have the worker's part done."""
    script.answers.clear()
    script.say(200, SESSION)
    script.say(200, said or account())
    kept = tokens.upload(ADA, server, data)
    decided = tokens.check(kept.pk, PATIENT)
    assert decided is not None
    server.refresh_from_db()
    return decided


def test_the_exchange_connects_the_server(script, server):
    assert state.of(server).slug == "awaiting"

    decided = put(script, server, file(server))

    assert decided.state == TokenUpload.State.ACCEPTED
    assert (server.server_uuid, server.org_name) == ("U1", "Acme")
    assert state.of(server).slug == "connected"
    assert Event.objects.filter(kind="abm.token.accepted").exists()
    assert AuditEvent.objects.filter(action="abm.token.upload").exists()


def test_secrets_are_kept_sealed_and_the_key_stays_here(script, server):
    put(script, server, file(server))

    pair = servers.current_key_pair(server)
    assert b"CS_1" not in bytes(server.sealed_token)
    assert b"PRIVATE" not in bytes(pair.sealed_key)
    assert "PRIVATE" not in pair.certificate
    assert not TokenUpload.objects.filter(sealed_token__isnull=False).exists()


def test_a_renewal_keeps_the_place_of_the_sync(script, server):
    put(script, server, file(server))
    Server.objects.update(cursor="here", phase=Server.Phase.FEED, problem="rejected")

    put(script, server, file(server, "2", days=1))

    assert (server.cursor, server.phase, server.problem) == ("here", Server.Phase.FEED, "")
    assert conversation.token_of(server).access_token == "AT_2"
    assert Event.objects.filter(kind="abm.token.renewed").exists()


def test_the_token_in_use_stays_when_the_new_one_is_refused_by_apple(script, server):
    put(script, server, file(server))
    kept = tokens.upload(ADA, server, file(server, "2", days=1))
    script.answers.clear()
    script.say(401, b"token_rejected")

    decided = tokens.check(kept.pk, PATIENT)

    assert decided.state == TokenUpload.State.REFUSED
    assert "newer one was probably downloaded" in decided.sentence
    server.refresh_from_db()
    assert conversation.token_of(server).access_token == "AT_1"


def test_while_apple_does_not_answer_the_upload_waits(script, server):
    kept = tokens.upload(ADA, server, file(server))
    script.say(503, b"")

    assert tokens.check_again(ADA, server) == kept
    waiting = tokens.check(kept.pk, PATIENT)

    assert waiting.state == TokenUpload.State.CHECKING
    assert "tried again" in waiting.sentence
    assert put_again(script, kept).state == TokenUpload.State.ACCEPTED


def put_again(script, kept: TokenUpload) -> TokenUpload:
    script.answers.clear()
    script.say(200, SESSION)
    script.say(200, account())
    decided = tokens.check(kept.pk, PATIENT)
    assert decided is not None
    return decided


def test_a_token_of_another_server_in_abm_is_refused(script, server):
    put(script, server, file(server))

    decided = put(script, server, file(server, "2", days=1), account("U2", "School in ABM"))

    assert decided.state == TokenUpload.State.REFUSED
    assert "School in ABM" in decided.sentence
    assert server.server_uuid == "U1"


def test_a_server_of_abm_is_connected_once(script, server):
    put(script, server, file(server))
    twin = servers.create(ADA, "Twin")

    decided = put(script, twin, file(twin, "2"))

    assert decided.state == TokenUpload.State.REFUSED
    assert "as “Office”" in decided.sentence
    assert twin.sealed_token is None


def test_a_token_for_another_servers_certificate_names_that_server(server):
    other = servers.create(ADA, "School")

    with pytest.raises(OtherServer, match="School"):
        tokens.upload(ADA, server, file(other))


def test_a_token_for_a_certificate_that_nobody_has_is_refused(server):
    data = file(server)
    servers.current_key_pair(server).delete()
    servers.new_key_pair(ADA, server)

    with pytest.raises(WrongKey, match="another certificate"):
        tokens.upload(ADA, server, data)


def test_tokens_for_an_earlier_certificate_are_still_read(script, server):
    data = file(server)
    servers.new_key_pair(ADA, server)

    assert put(script, server, data).state == TokenUpload.State.ACCEPTED


def test_old_tokens_are_refused_by_their_age(script, server):
    put(script, server, file(server, days=10))

    with pytest.raises(OldToken, match="in use already"):
        tokens.upload(ADA, server, file(server, days=10))
    with pytest.raises(OldToken, match="older than the one in use"):
        tokens.upload(ADA, server, file(server, "0"))
    with pytest.raises(OldToken, match="expired"):
        tokens.upload(ADA, server, file(server, "2", days=-800))


def test_a_later_upload_replaces_one_that_is_not_decided(server):
    first = tokens.upload(ADA, server, file(server))
    tokens.upload(ADA, server, file(server, "2", days=1))

    first.refresh_from_db()
    assert first.state == TokenUpload.State.REFUSED
    assert tokens.check(first.pk, PATIENT) is None


@pytest.mark.parametrize(
    ("days", "told"), [(40, []), (29, [30]), (6.5, [7]), (0.5, [1]), (-1, [0])]
)
def test_the_end_of_a_token_is_told_at_its_thresholds_once_each(script, server, days, told):
    put(script, server, file(server))
    now = server.token_expires_at - timedelta(days=days)

    state.remind(now)
    state.remind(now)

    events = Event.objects.filter(kind__startswith="abm.token.exp")
    assert [event.data["days"] for event in events] == told


def test_disconnecting_forgets_the_secrets_and_keeps_the_devices(script, server):
    put(script, server, file(server))

    servers.disconnect(ADA, server)

    server.refresh_from_db()
    assert server.sealed_token is None
    assert not server.key_pairs.exists()
    assert state.of(server).slug == "disconnected"
