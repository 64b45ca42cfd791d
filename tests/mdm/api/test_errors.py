"""Whatever goes wrong under /api/ is told in one shape, and never in the database's words."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from rest_framework.test import APIClient

from mdm.accounts.models import User

pytestmark = pytest.mark.django_db


def error(response) -> dict:
    """The only error of a response, which has the one shape."""
    assert response["Content-Type"] == "application/json"
    body = response.json()
    assert set(body) == {"type", "errors"}
    (only,) = body["errors"]
    assert set(only) == {"code", "detail", "attr"}
    return only


@pytest.mark.parametrize("address", ["/api/v1/nothing/", "/api/v1/devices", "/api/", "/api/v2/x"])
def test_an_unknown_address_answers_404_in_json_to_anybody(client, address):
    response = client.get(address)

    assert response.status_code == 404
    assert error(response)["code"] == "not_found"


def test_no_sign_in_answers_401(client):
    response = client.get("/api/v1/devices/")

    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert error(response)["code"] == "not_authenticated"


@pytest.mark.parametrize("method", ["put", "patch", "delete", "options", "trace"])
def test_a_wrong_method_answers_405(api: APIClient, method):
    response = api.generic(method.upper(), "/api/v1/devices/")

    assert response.status_code == 405
    assert error(response)["code"] == "method_not_allowed"


def test_another_content_type_answers_415(api: APIClient):
    response = api.post("/api/v1/commands/", "<a/>", content_type="text/xml")

    assert response.status_code == 415
    assert error(response)["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"request_type": ' + "9" * 5000 + "}",
        '{"a": NaN}',
        b'\xff\xfe{"a"',
    ],
    ids=["cut", "empty", "deep lists", "deep objects", "long number", "NaN", "no UTF-8"],
)
def test_malformed_json_answers_400(api: APIClient, body):
    response = api.post("/api/v1/commands/", body, content_type="application/json")

    assert response.status_code == 400
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize("body", ["[]", "1", '"x"', "null"])
def test_json_that_is_no_object_answers_400(api: APIClient, body):
    response = api.post("/api/v1/links/", body, content_type="application/json")

    assert response.status_code == 400


def test_a_body_that_is_too_large_is_not_read(api: APIClient):
    body = json.dumps({"request_type": "x" * (8 * 1024 * 1024)})

    response = api.post("/api/v1/commands/", body, content_type="application/json")

    assert response.status_code == 413
    assert error(response)["code"] == "too_large"


def test_an_error_of_the_database_is_not_told(api: APIClient):
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE mdm_device RENAME COLUMN imei TO gone")

    response = api.get("/api/v1/devices/")

    assert response.status_code == 500
    assert error(response)["detail"] == "Server Error (500)"
    assert "imei" not in response.text


def test_whoever_lost_to_another_request_is_told_to_try_again(api: APIClient):
    def deadlock(execute, sql, params, many, context):
        if sql.startswith("UPDATE") and "accounts_user" in sql:
            sql, params = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$", None
        return execute(sql, params, many, context)

    person = User.objects.create(username="grace")
    with connection.execute_wrapper(deadlock):
        response = api.post(f"/api/v1/people/{person.pk}/deactivate/")

    assert (response.status_code, response["Retry-After"]) == (503, "1")
    assert error(response)["code"] == "try_again"


@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/devices/999999999999999999999999999999/",
        "/api/v1/devices/" + "9" * 5000 + "/",
        "/api/v1/devices/-1/",
        "/api/v1/enrollments/99999999999999999999/inventory/",
        "/api/v1/enrollments/1/inventory/%00/",
        "/api/v1/commands/no-uuid/",
        "/api/v1/entries/18446744073709551616/request/",
        "/api/v1/command-types/%00/",
        "/api/v1/tokens/%00/",
    ],
)
def test_an_id_that_cannot_be_answers_404(api: APIClient, address):
    assert api.get(address).status_code in {404, 405}


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/api/v1/devices/?search=%00", 400),
        ("/api/v1/devices/?serial_number=%00", 400),
        ("/api/v1/devices/?state=Nonsense", 400),
        ("/api/v1/devices/?last_seen_after=yesterday", 400),
        ("/api/v1/entries/?command=1", 400),
        ("/api/v1/entries/?enrollment=99999999999999999999", 400),
        ("/api/v1/entries/?enrollment=NaN", 400),
        ("/api/v1/enrollments/?device=1e400", 400),
        ("/api/v1/devices/?page_size=999999999999", 200),
        ("/api/v1/devices/?page_size=-1", 200),
    ],
)
def test_a_filter_that_cannot_be_is_told_of_and_never_breaks(api: APIClient, address, status):
    assert api.get(address).status_code == status
