"""A renewed push certificate goes in through the API, and its key never comes out."""

from __future__ import annotations

import base64

import pytest
from rest_framework.test import APIClient

from lab.authority import Authority
from mdm.models import PushCertificate
from tests.mdm.push.conftest import apple

__all__ = ["apple"]

pytestmark = pytest.mark.django_db

ADDRESS = "/api/v1/push-certificates/"


def test_a_certificate_is_put_to_use_and_its_key_stays_inside(
    api: APIClient, apple: Authority
) -> None:
    files = {
        "certificate": apple.push.certificate.read_text(),
        "key": apple.push.key.read_text(),
    }

    made = api.post(ADDRESS, files, format="json")
    again = api.post(ADDRESS, files, format="json")

    assert made.status_code == again.status_code == 201
    assert made.json()["topic"] == apple.topic
    shown = api.get(ADDRESS)
    assert [each["active"] for each in shown.json()["results"]] == [True, False]
    assert "PRIVATE" not in shown.text + made.text


@pytest.mark.parametrize("text", ["nonsense!", base64.b64encode(b"no certificate").decode()])
def test_what_is_no_certificate_is_refused_with_the_reason(api: APIClient, text: str) -> None:
    refused = api.post(ADDRESS, {"certificate": text}, format="json")

    assert refused.status_code == 400
    assert refused.json()["errors"][0]["attr"] == "certificate"
    assert not PushCertificate.objects.exists()
