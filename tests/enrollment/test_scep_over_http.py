"""/scep as devices reach it, through the whole WSGI application."""

from __future__ import annotations

import base64
from urllib.parse import quote, urlencode

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from enrollment.models import EnrollmentLink
from enrollment.wire.authority import Authority
from mdm.models import Identity, Refusal
from mdm.refusals import tally
from mdm.wsgi import application
from tests import machines
from tests.enrollment.conftest import MakeClient
from tests.enrollment.scep_client import Answer, Client
from tests.machines import Answered

OPERATION = "operation=PKIOperation"


def call(method: str, path: str, query: str = "", body: bytes = b"") -> Answered:
    return machines.call(application, method, f"{path}?{query}", body)


def certificate_of(client: Client, response: Answered) -> Answer:
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/x-pki-message"
    return client.read(response.body)


def test_the_server_says_what_it_can_do(db: None) -> None:
    response = call("GET", "/scep", "operation=GetCACaps")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/plain")
    assert set(response.body.decode().split()) == {
        "AES",
        "POSTPKIOperation",
        "Renewal",
        "SCEPStandard",
        "SHA-256",
        "SHA-512",
    }


@pytest.mark.parametrize("query", ["operation=GetCACert", "operation=GetCACert&message=any%20name"])
def test_the_server_gives_its_certificate(ca: Authority, query: str) -> None:
    response = call("GET", "/scep", query)
    assert response.headers["Content-Type"] == "application/x-x509-ca-cert"
    assert response.body == ca.certificate.public_bytes(Encoding.DER)


def test_a_request_by_post_gets_a_certificate(make_client: MakeClient) -> None:
    client = make_client()
    answer = certificate_of(client, call("POST", "/scep", OPERATION, client.message()))
    assert answer.certificate is not None


@pytest.mark.parametrize("safe", ["", "+/="], ids=["escaped", "plus signs left as they are"])
def test_a_request_by_get_gets_a_certificate(make_client: MakeClient, safe: str) -> None:
    client = make_client()
    text = base64.b64encode(client.message())
    response = call("GET", "/scep", f"{OPERATION}&message={quote(text, safe=safe)}")
    assert certificate_of(client, response).certificate is not None


def test_a_post_that_repeats_its_message_in_the_query_is_answered(make_client: MakeClient) -> None:
    client = make_client()
    query = urlencode({"operation": "PKIOperation", "message": base64.b64encode(client.message())})
    answer = certificate_of(client, call("POST", "/scep", query, client.message()))
    assert answer.certificate is not None


def test_a_refusal_is_an_answer_of_scep_and_is_counted(make_client: MakeClient) -> None:
    client = make_client("guessed")
    response = call("POST", "/scep", OPERATION, client.message())
    answer = certificate_of(client, response)
    assert (answer.status, answer.fail_info) == ("2", "2")
    tally.write()
    assert Refusal.objects.get(reason="scep_bad_request").count >= 1


@pytest.mark.parametrize(
    ("method", "query", "body", "status"),
    [
        ("GET", "", b"", 400),
        ("GET", "operation=GetNextCACert", b"", 400),
        ("GET", "operation=%ff", b"", 400),
        ("GET", "operation=GetCACaps" + "&x=1" * 100, b"", 400),
        ("GET", OPERATION, b"", 400),
        ("GET", OPERATION + "&message=not~base64", b"", 400),
        ("POST", OPERATION, b"", 400),
        ("POST", OPERATION, b"\x30\x80" * 30_000, 400),
        ("POST", OPERATION, bytes(64 * 1024 + 1), 413),
        ("PUT", OPERATION, b"x", 405),
    ],
)
def test_what_cannot_be_read_is_a_clean_4xx(
    ca: Authority, link: EnrollmentLink, method: str, query: str, body: bytes, status: int
) -> None:
    response = call(method, "/scep", query, body)
    assert (response.status, response.body) == (status, b"")


def test_scep_sets_no_cookie_and_goes_round_the_middleware(ca: Authority) -> None:
    response = call("POST", "/scep", "operation=GetCACaps", b"x")
    assert response.status == 200
    assert set(response.headers) == {"Content-Length", "Content-Type"}


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    method=st.sampled_from(["GET", "POST"]),
    query=st.one_of(
        st.text(st.characters(max_codepoint=255), max_size=200),
        st.binary(max_size=200).map(
            lambda data: f"{OPERATION}&message={quote(base64.b64encode(data))}"
        ),
    ),
    body=st.binary(max_size=400),
)
def test_rubbish_gets_a_clean_4xx_and_changes_nothing(
    ca: Authority, method: str, query: str, body: bytes
) -> None:
    operations = "GetCACaps", "GetCACert"
    assume(not any(f"operation={operation}" in query for operation in operations))
    assert call(method, "/scep", query, body).status == 400
    assert not Identity.objects.exists()
