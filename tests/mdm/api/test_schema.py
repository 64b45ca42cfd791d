"""The schema is whole, and its page loads nothing from elsewhere and runs nothing inline."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client

from mdm.accounts.models import User


def test_the_schema_is_valid_and_raises_no_warning():
    call_command(
        "spectacular", "--validate", "--fail-on-warn", "--api-version=1", stdout=StringIO()
    )


@pytest.mark.django_db
def test_the_schema_names_every_resource_and_every_error(api):
    schema = api.get("/api/v1/schema/").json()

    assert schema["openapi"].startswith("3.1")
    resources = {path.split("/")[3] for path in schema["paths"]}
    assert resources == {
        "abm-devices",
        "abm-disown-devices",
        "abm-disowns",
        "abm-ledger",
        "abm-runs",
        "abm-servers",
        "ade-defaults",
        "ade-devices",
        "ade-profiles",
        "apple-certificates",
        "approvals",
        "arrivals",
        "backups",
        "audit-events",
        "destructive-pauses",
        "devices",
        "enrollments",
        "commands",
        "command-types",
        "entries",
        "group-members",
        "groups",
        "identities",
        "links",
        "minimum-os",
        "push-certificates",
        "search",
        "sessions",
        "overview",
        "work",
        "refused-arrivals",
        "refused-requests",
        "quarantine",
        "tokens",
        "webhook-deliveries",
        "webhook-kinds",
        "webhooks",
        "people",
        "grants",
        "health",
        "health-checks",
        "rights",
    }
    paths = schema["paths"]
    assert set(paths["/api/v1/commands/"]["post"]["responses"]) == {
        *("201", "400", "401", "403", "409", "413", "415", "422", "429", "503")
    }
    group = paths["/api/v1/groups/{id}/"]
    assert set(group["get"]["responses"]) == {"200", "304", "400", "401", "403", "404", "429"}
    assert "412" in group["patch"]["responses"]
    assert "412" in group["delete"]["responses"]
    assert "412" in paths["/api/v1/devices/{id}/retire/"]["post"]["responses"]


@pytest.mark.django_db
def test_the_docs_stay_on_this_server_and_hold_no_inline_code(admin: User, static_files: None):
    client = Client()
    client.force_login(admin)

    response = client.get("/api/v1/docs/")

    page = response.text
    assert response.status_code == 200
    assert "style-src 'self'" in response["Content-Security-Policy"]
    assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|//", page)
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert all(source.startswith("/") for source in sources)
    script = client.get(next(source for source in sources if "script" in source))
    assert script["Content-Type"].startswith("application/javascript")
    assert "/api/v1/schema/" in script.text


@pytest.mark.django_db
def test_the_schema_is_not_for_strangers(client):
    assert client.get("/api/v1/schema/").status_code == 401
