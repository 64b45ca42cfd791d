"""The page behind a link, as people and their devices load it."""

from __future__ import annotations

import io
import logging
import plistlib
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from asn1crypto import cms
from django.test import Client
from django.utils import timezone
from structlog.stdlib import ProcessorFormatter

from enrollment import links, scep
from enrollment.models import Challenge, EnrollmentLink
from enrollment.wire.authority import Authority
from mdm.audit.actor import Actor
from mdm.models import PushCertificate
from tests.enrollment.scep_client import Client as ScepClient
from tests.enrollment.scep_client import build_csr, rsa_key
from tests.machines import TOPIC

pytestmark = pytest.mark.django_db


@pytest.fixture
def address(link: EnrollmentLink, ca: Authority, push_certificate: PushCertificate) -> str:
    return urlsplit(links.url(link)).path


def profile_at(client: Client, address: str) -> dict[str, Any]:
    response = client.get(f"{address}enroll.mobileconfig")
    assert response.status_code == 200
    signed = cms.ContentInfo.load(response.content)["content"]
    return dict(plistlib.loads(bytes(signed["encap_content_info"]["content"])))


def payload(profile: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(dict(p) for p in profile["PayloadContent"] if p["PayloadType"] == kind)


def test_the_page_explains_and_offers_the_profile(client: Client, address: str) -> None:
    response = client.get(address)
    assert response.status_code == 200
    page = response.content.decode()
    assert "Enroll this device" in page
    assert re.findall(r'href="([^"]+\.mobileconfig)"', page) == [f"{address}enroll.mobileconfig"]


def test_a_mac_is_shown_the_steps_on_a_mac(client: Client, address: str) -> None:
    user_agent = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Safari"
    page = client.get(address, headers={"User-Agent": user_agent}).content.decode()
    opened = re.findall(r"<details (\w*)>\s*<summary>([^<]+)", page)
    assert opened == [("", "iPhone and iPad"), ("open", "Mac")]


def test_the_profile_comes_as_apples_devices_want_it(client: Client, address: str) -> None:
    response = client.get(f"{address}enroll.mobileconfig")
    assert response["Content-Type"] == "application/x-apple-aspen-config"
    assert response["Content-Disposition"] == 'attachment; filename="enroll.mobileconfig"'
    assert "no-store" in response["Cache-Control"]


def test_the_profile_leads_to_this_server(client: Client, address: str) -> None:
    profile = profile_at(client, address)
    mdm = payload(profile, "com.apple.mdm")
    assert mdm["Topic"] == TOPIC
    assert mdm["ServerURL"] == "https://localhost:8443/mdm/connect"
    assert mdm["CheckInURL"] == "https://localhost:8443/mdm/checkin"
    assert payload(profile, "com.apple.security.scep")["PayloadContent"]["URL"] == (
        "https://localhost:8443/scep"
    )


def test_the_profile_brings_a_challenge_that_gets_an_identity(
    client: Client, address: str, ca: Authority
) -> None:
    content = payload(profile_at(client, address), "com.apple.security.scep")["PayloadContent"]
    device = ScepClient(ca.certificate, rsa_key(), build_csr(rsa_key(), content["Challenge"]))
    assert device.read(scep.answer(device.message()).body).certificate is not None


def test_every_download_has_a_challenge_of_its_own(client: Client, address: str) -> None:
    first, second = (
        payload(profile_at(client, address), "com.apple.security.scep")["PayloadContent"]
        for _ in range(2)
    )
    assert first["Challenge"] != second["Challenge"]


def test_looking_at_the_page_or_the_profile_uses_nothing_up(
    client: Client, address: str, link: EnrollmentLink
) -> None:
    for _ in range(5):
        client.get(address)
        profile_at(client, address)
    link.refresh_from_db()
    assert link.uses == 0


def test_asking_only_for_headers_makes_no_challenge(client: Client, address: str) -> None:
    response = client.head(f"{address}enroll.mobileconfig")
    assert response["Content-Type"] == "application/x-apple-aspen-config"
    assert not Challenge.objects.exists()


@pytest.mark.parametrize("suffix", ["", "enroll.mobileconfig"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"expires_at": timezone.now() - timedelta(days=1)}, "has expired"),
        ({"revoked_at": timezone.now()}, "was closed"),
        ({"uses": 3}, "used as often"),
    ],
    ids=["expired", "revoked", "used up"],
)
def test_a_closed_link_says_why(
    client: Client, address: str, change: dict[str, Any], words: str, suffix: str
) -> None:
    EnrollmentLink.objects.update(**change)
    response = client.get(address + suffix)
    assert response.status_code == 410
    assert words in response.content.decode()
    assert not Challenge.objects.exists()


@pytest.mark.parametrize("path", ["/enroll/unknown/", "/enroll/unknown/enroll.mobileconfig"])
def test_an_unknown_link_is_not_found(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert "does not exist" in response.content.decode()


@pytest.mark.parametrize("suffix", ["", "enroll.mobileconfig"])
def test_without_a_push_certificate_nobody_is_let_in(
    client: Client, address: str, suffix: str
) -> None:
    PushCertificate.objects.all().delete()
    response = client.get(address + suffix)
    assert response.status_code == 503
    assert "push certificate" in response.content.decode()
    assert not Challenge.objects.exists()


def test_the_page_takes_no_posts(client: Client, address: str) -> None:
    assert client.post(address).status_code == 405


def test_the_page_shows_nothing_of_the_links_name(
    client: Client, admin: Actor, address: str
) -> None:
    EnrollmentLink.objects.update(name="Layoffs March")
    assert "Layoffs" not in client.get(address).content.decode()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Every line that the server logs, formatted as settings say."""
    root, written = logging.getLogger(), io.StringIO()
    ours = (h.formatter for h in root.handlers if isinstance(h.formatter, ProcessorFormatter))
    handler = logging.StreamHandler(written)
    handler.setFormatter(next(ours))
    root.addHandler(handler)
    yield written
    root.removeHandler(handler)


def test_no_log_line_holds_a_links_address(client: Client, address: str, log: io.StringIO) -> None:
    PushCertificate.objects.all().delete()
    client.get(address)
    client.get(f"{address}enroll.mobileconfig")
    lines = log.getvalue()
    assert "/enroll/***/enroll.mobileconfig" in lines
    assert address.split("/")[2] not in lines
