"""Settings > ABM Integration leads from nothing to a connected server, and says how it stands."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from abm import servers
from abm.models import Server, TokenUpload
from mdm.accounts.models import User
from tests.abm.connected import connect

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _static_files(settings) -> None:
    storage = "django.contrib.staticfiles.storage.StaticFilesStorage"
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": storage}}


@pytest.fixture
def person(client, db):
    client.force_login(User.objects.create_superuser("ada", "ada@example.com"))
    return client


def test_without_a_server_the_page_says_what_connecting_is_good_for(person):
    page = person.get("/abm/servers/").text

    assert "Not connected yet" in page
    assert "/abm/servers/new/" in page


def test_generating_a_token_offers_the_certificate_and_no_key(person):
    answer = person.post("/abm/servers/new/", {"name": " Head  office "}, follow=True)

    server = Server.objects.get()
    assert server.name == "Head office"
    assert "certificate.pem" in answer.text
    pem = person.get(f"/abm/servers/{server.pk}/certificate.pem")
    assert pem.content.startswith(b"-----BEGIN CERTIFICATE-----")
    assert b"PRIVATE" not in pem.content
    assert pem["Content-Disposition"] == 'attachment; filename="guardmdm-head-office.pem"'


def test_a_name_is_asked_for(person):
    answer = person.post("/abm/servers/new/", {"name": "  "})

    assert answer.status_code == 422
    assert "Give the server a name" in answer.text


def test_a_wrong_file_is_answered_on_the_page_and_nothing_is_kept(person):
    server = connect()
    file = SimpleUploadedFile("x.p7m", b"hello")

    answer = person.post(f"/abm/servers/{server.pk}/upload", {"token": file})

    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert not TokenUpload.objects.exists()


def test_a_token_that_is_being_checked_is_watched(person):
    server = connect()
    TokenUpload.objects.create(server=server, expires_at=timezone.now(), uploaded_by="ada")

    page = person.get(f"/abm/servers/{server.pk}/").text

    assert 'id="token-check"' in page
    assert "being checked with Apple" in page


def test_why_a_token_was_refused_stays_on_the_page(person):
    server = connect()
    TokenUpload.objects.create(
        server=server,
        expires_at=timezone.now(),
        uploaded_by="ada",
        state=TokenUpload.State.REFUSED,
        sentence="Of <another> server.",
    )

    page = person.get(f"/abm/servers/{server.pk}/").text

    assert "Of &lt;another&gt; server." in page
    assert "The token before it stays in use." in page


@pytest.mark.parametrize("where", ["/", "/abm/servers/", "/abm/servers/{pk}/"])
def test_an_expired_token_is_told_with_what_stops_and_what_does_not(person, where):
    server = connect(token_expires_at=timezone.now() - timedelta(days=1))

    page = person.get(where.format(pk=server.pk)).text

    assert "oken expired" in page
    assert "not affected" in page


def test_the_overview_lists_when_tokens_end(person):
    connect("School")

    page = person.get("/").text

    assert "What ends when" in page
    assert "Server token of School" in page


def test_the_page_size_is_bounded_by_what_apple_allows(person):
    server = connect(
        account={"urls": [{"uri": "/devices/sync", "limit": {"default": 100, "maximum": 500}}]}
    )

    person.post(f"/abm/servers/{server.pk}/change", {"name": "Office", "page_size": "501"})
    server.refresh_from_db()
    assert server.page_size == 100
    person.post(f"/abm/servers/{server.pk}/change", {"name": "Office", "page_size": "500"})
    server.refresh_from_db()
    assert server.page_size == 500


def test_disconnecting_asks_for_the_name(person):
    server = connect()

    person.post(f"/abm/servers/{server.pk}/disconnect/", {"confirmation": "no"})
    assert servers.connected().exists()
    person.post(f"/abm/servers/{server.pk}/disconnect/", {"confirmation": "office"})
    assert not servers.connected().exists()


def test_pages_are_for_people_who_are_signed_in(client):
    assert client.get("/abm/servers/").status_code == 302
