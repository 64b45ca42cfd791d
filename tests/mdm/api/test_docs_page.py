"""Swagger's page works under our Content-Security-Policy, in a real browser."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import Client

from mdm.accounts.models import User
from tests.chromium import chromium

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def page(live_server, static_files):
    """A page of someone who is signed in."""
    client = Client()
    client.force_login(User.objects.create_superuser("ada", "ada@example.com"))
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    with chromium() as browser:
        context = browser.new_context()
        context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": live_server.url}]
        )
        yield context.new_page()


def test_the_docs_list_every_operation_and_complain_of_nothing(page, live_server):
    complaints: list[str] = []
    hosts: set[str] = set()
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))

    page.goto(f"{live_server.url}/api/v1/docs/")
    page.wait_for_selector(".opblock")

    assert complaints == []
    assert hosts - {""} == {urlsplit(live_server.url).netloc}
