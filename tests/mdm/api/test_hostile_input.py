"""Whatever JSON a client sends, the API answers it and never breaks."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands import catalog
from commands.models import Command
from enrollment.models import EnrollmentLink

pytestmark = pytest.mark.django_db

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["\0", "\ud800", "‮", "' OR 1=1 --", "{{ 7*7 }}", "9" * 400])
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
known = {
    "request_type": st.sampled_from([one.request_type for one in catalog.all_types()]),
    "serial_numbers": st.just(["AAA"]),
}


def bodies(*keys: str) -> st.SearchStrategy:
    """Objects with these keys, each well-formed, of any other form, or missing."""
    return st.fixed_dictionaries(
        {}, optional={key: known.get(key, anything) | anything for key in keys}
    )


fuzzed = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def post(api, address: str, body: object):
    response = api.post(address, json.dumps(body), content_type="application/json")
    assert response.status_code in {200, 201, 400}, response.text
    assert response["Content-Type"] == "application/json"
    return response


@fuzzed
@given(
    body=bodies(
        "request_type",
        "parameters",
        "enrollments",
        "devices",
        "serial_numbers",
        "udids",
        "expires_in_seconds",
    )
)
def test_a_command_of_any_form_is_answered(api, enroll_once, body):
    made_before = Command.objects.count()

    response = post(api, "/api/v1/commands/", body)

    made = Command.objects.count() - made_before
    assert made == (1 if response.status_code == 201 else 0)


@fuzzed
@given(body=bodies("name", "max_uses", "expires_at", "serial_number"))
def test_a_link_of_any_form_is_answered(api, body):
    made_before = EnrollmentLink.objects.count()

    response = post(api, "/api/v1/links/", body)

    made = EnrollmentLink.objects.count() - made_before
    assert made == (1 if response.status_code == 201 else 0)


@fuzzed
@given(body=anything)
def test_a_body_of_any_form_is_answered(api, body):
    for address in ("/api/v1/commands/", "/api/v1/links/"):
        assert post(api, address, body).status_code == 400


@fuzzed
@given(body=bodies("name", "role", "group", "expires_in_days"))
def test_a_token_of_any_form_is_answered(admin, client, body):
    client.force_login(admin)

    post(client, "/api/v1/tokens/", body)


@pytest.fixture
def enroll_once(enroll):
    return enroll("AAA", platform="macOS", os_version="15.1", supervised=True)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\0", "\x1b[2J"])
def test_text_that_a_database_cannot_hold_is_told_of(admin, api, client, text):
    client.force_login(admin)

    for key in ("serial_numbers", "udids", "enrollments", "devices"):
        refused = post(api, "/api/v1/commands/", {"request_type": "RestartDevice", key: [text]})
        assert refused.status_code == 400
    unknown = {"request_type": text, "serial_numbers": ["AAA"]}
    assert post(api, "/api/v1/commands/", unknown).status_code == 400
    assert post(api, "/api/v1/links/", {"name": text}).status_code == 400
    assert post(client, "/api/v1/tokens/", {"name": text, "role": "viewer"}).status_code == 400
