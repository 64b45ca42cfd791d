"""The wizards in Chromium, on a desk and on a phone, in the order of a first day: the push
certificate, Apple Business Manager, an ADE profile and its default, a link; and the question that
follows it: why has this device no profile.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from playwright.sync_api import Page, expect

from abm import sync, tokens
from abm.models import Server, TokenUpload, Wish
from lab.authority import Pair, ensure_authority
from lab.dep.portal import MdmServer
from mdm.accounts.models import User
from mdm.models import PushCertificate
from profiles import following
from tests.abm.apple import Apple, apple
from tests.abm.patience import PATIENT
from tests.mdm.dashboard.test_in_browser import _faults
from tests.mdm.dashboard.test_walks import SIZES, Open, browse

pytestmark = pytest.mark.django_db(transaction=True)

TOPIC = "com.apple.mgmt.External.7c1f3b52-6a53-4a7b-9c9e-3a4d9d7f1c11"


@SIZES
def test_from_nothing_to_why_a_device_has_no_profile(
    browse: Open, admin: User, settings: Any, tmp_path: Path, width: int
) -> None:
    page = browse(width, "ada")
    _push_certificate(page, tmp_path)
    with apple() as played:
        settings.ENV = replace(django_settings.ENV, dep_url=played.url)
        _abm(page, played, tmp_path)
        serial = played.portal.buy(1)[0]
        played.portal.assign([serial], "Head office")
        sync.sync(Server.objects.get().pk, PATIENT)
        following.follow()
        _why_it_has_none(page, serial, "It is Unassigned")
        _profile(page)
        following.follow()
        assert Wish.objects.get().definition is not None
        _why_it_has_none(page, serial, "Office")
    _link(page)


def _push_certificate(page: Page, tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    pair = ensure_authority(tmp_path).issue_push_certificate(
        TOPIC,
        not_before=now - dt.timedelta(days=1),
        not_after=now + dt.timedelta(days=365),
        into=Pair(tmp_path / "new.pem", tmp_path / "new.key"),
    )
    page.goto("/settings/push-certificate/")
    page.get_by_label("Certificate").set_input_files(pair.certificate)
    page.get_by_role("button", name="Check and put to use").click()
    expect(page.get_by_role("alert").filter(has_text="key").first).to_be_visible()
    assert _faults(page, "push certificate, without its key") == []
    page.get_by_label("Certificate").set_input_files(pair.certificate)
    page.get_by_label("Private key").set_input_files(pair.key)
    page.get_by_role("button", name="Check and put to use").click()
    expect(page.get_by_text(TOPIC)).to_be_visible()
    assert PushCertificate.objects.get().topic == TOPIC


def _abm(page: Page, played: Apple, tmp_path: Path) -> None:
    page.goto("/abm/servers/")
    page.get_by_role("link", name="Generate token").first.click()
    page.get_by_label("Name").fill("Head office")
    page.get_by_role("button", name="Generate").click()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile(r"Certificate \(\.pem\)")).click()
    remote: MdmServer = played.portal.add_server(
        "Head office", Path(download.value.path()).read_bytes()
    )
    (tmp_path / "wrong.p7m").write_text("nothing")
    page.set_input_files("#token-file", tmp_path / "wrong.p7m")
    page.get_by_role("button", name="Check and put to use").click()
    expect(page.get_by_role("alert").first).to_be_visible()
    assert _faults(page, "ABM, a wrong token") == []
    (tmp_path / "token.p7m").write_bytes(played.portal.download_token(remote.name))
    page.set_input_files("#token-file", tmp_path / "token.p7m")
    page.get_by_role("button", name="Check and put to use").click()
    expect(page.get_by_text("is being checked with Apple")).to_be_visible()
    # What the worker does.
    tokens.check(TokenUpload.objects.latest("pk").pk, PATIENT)
    expect(page.get_by_text("What Apple says of it")).to_be_visible()


def _why_it_has_none(page: Page, serial: str, why: str) -> None:
    page.goto("/")
    search = page.get_by_role("searchbox").first
    search.fill(serial)
    search.press("Enter")
    page.wait_for_url("**/devices/*/")
    page.locator("main").get_by_role("link", name="Profile", exact=True).first.click()
    expect(page.locator("main")).to_contain_text(why)
    assert _faults(page, "why") == []


def _profile(page: Page) -> None:
    page.goto("/ade-profiles/new/")
    page.get_by_role("button", name="Make the profile").click()
    expect(page.get_by_text("to be corrected first")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("Office")
    page.get_by_role("button", name="Make the profile").click()
    expect(page.get_by_role("heading", name="Office", level=1)).to_be_visible()
    page.goto("/ade-profiles/defaults/")
    for choice in page.get_by_label(re.compile("any server$")).all():
        choice.select_option(label="Office")
    page.get_by_role("button", name="See what it changes").click()
    assert _faults(page, "defaults, previewed") == []
    page.get_by_role("button", name="Set the defaults").click()
    expect(page.get_by_text("The defaults are set.")).to_be_visible()


def _link(page: Page) -> None:
    page.goto("/enrollment/links/")
    page.get_by_role("link", name="Make a link").first.click()
    page.get_by_label("Name").fill("Class 7b")
    page.get_by_role("button", name="Make the link").click()
    expect(page.get_by_label("Address to open on the device")).to_have_value(
        re.compile("^https://.+/enroll/")
    )
    assert _faults(page, "a link") == []


__all__ = ["browse"]
