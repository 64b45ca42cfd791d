"""What the schema promises holds: schemathesis makes requests out of it, sensible ones and others,
and every answer is one of those that it describes. What it gives as an example works.

Each request is undone, so that all of them meet the same server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import schemathesis
from allauth.usersessions.models import UserSession
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi import checks

from mdm.accounts.models import User
from tests.abm.pages.conftest import connect, listed, noted
from tests.mdm.dashboard.conftest import enroll, machine
from tests.mdm.dashboard.test_offers import world

__all__ = ["connect", "enroll", "listed", "machine", "noted", "world"]

pytestmark = pytest.mark.django_db

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
EXAMPLES = settings(
    max_examples=4,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
# What stands in an address for a thing that is there; the rest is looked up.
PLACES = {"number": 1, "definition": 1, "section": "DeviceInformation"}
NAMES = ("id", "uuid", "serial_number", "token_key", "request_type", "name")
# What examples call a device, and what it is called here.
SERIAL_NUMBER = ("C02XK1ABJG5H", "S1")


@pytest.fixture
def browser(admin: User, token: str, world: Any, settings: Any, static_files: None) -> Client:
    """Someone who may do everything, as often as they like: what takes a person a token may not."""
    settings.ENV = replace(settings.ENV, api_rate=1_000_000)
    client = Client()
    client.force_login(admin)
    UserSession.objects.create(
        user=admin, session_key=client.session.session_key, ip="10.0.0.1", user_agent="A browser"
    )
    client.cookies["csrftoken"] = "a" * 32
    return client


def test_every_answer_is_one_that_the_schema_describes(browser: Client) -> None:
    document = browser.get("/api/v1/schema/").json()
    there = _there(browser, document)
    api = schemathesis.openapi.from_dict(_without_security(document))
    api.app = get_wsgi_application()
    wrong, good = {}, 0

    for found in api.get_all_operations():
        operation = found.ok()
        cases = st.one_of(
            operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
            operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
        )

        @EXAMPLES
        @given(case=cases, real=st.booleans())
        def run(case: Any, real: bool) -> None:
            nonlocal good
            if real and case.path_parameters:
                resource = case.path.split("/")[3]
                case.path_parameters = {**case.path_parameters, **there.get(resource, {})}
            # With it, what is always there otherwise is not: see test_resources.py.
            (case.query or {}).pop("fields", None)
            answer = _undone(browser, case)
            good += answer.status_code < 300
            case.validate_response(answer, checks=CHECKS)

        try:
            run()
        except (FailureGroup, Exception) as failed:
            wrong[operation.label] = str(failed)

    assert not wrong, "\n\n".join(f"{label}\n{said}" for label, said in wrong.items())
    # Lest it all ends at one refusal.
    assert good > 150


def test_the_examples_work(browser: Client) -> None:
    document = browser.get("/api/v1/schema/").json()
    there = _there(browser, document)
    refused, tried = {}, 0

    for path, methods in document["paths"].items():
        place = path.format(**{**PLACES, **there.get(path.split("/")[3], {})})
        for method, operation in methods.items():
            body = operation.get("requestBody", {"content": {"application/json": {}}})
            for example in body["content"]["application/json"].get("examples", {}).values():
                sent = json.dumps(example["value"]).replace(*SERIAL_NUMBER)
                sid = transaction.savepoint()
                answer = browser.generic(
                    method.upper(),
                    place,
                    sent,
                    content_type="application/json",
                    headers={"X-CSRFToken": "a" * 32},
                )
                transaction.savepoint_rollback(sid)
                tried += 1
                if answer.status_code >= 300:
                    refused[method, path] = answer.content

    assert not refused
    assert tried > 10


def _undone(browser: Client, case: Any) -> Any:
    cookies = {name: morsel.value for name, morsel in browser.cookies.items()}
    with _open_connection(), transaction.atomic():
        answer = case.call(headers={"X-CSRFToken": "a" * 32}, cookies=cookies)
        transaction.set_rollback(True)
    return answer


@contextmanager
def _open_connection() -> Iterator[None]:
    """The application is in this test's transaction: it must not close its connection."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    try:
        yield
    finally:
        for signal in (request_started, request_finished):
            signal.connect(close_old_connections)


def _without_security(document: dict[str, Any]) -> dict[str, Any]:
    """Otherwise most requests would show a token that is none, and all be answered alike."""
    del document["components"]["securitySchemes"]
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    return document


def _there(browser: Client, document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What names one thing of each resource in its addresses."""
    found = {}
    for path, methods in document["paths"].items():
        if path.count("/") == 4 and "get" in methods:
            body = browser.get(path).json()
            rows = body.get("results") if isinstance(body, dict) else body
            first = rows[0] if rows else {}
            found[path.split("/")[3]] = {
                **PLACES,
                **{name: first[name] for name in NAMES if name in first},
            }
    return found
