"""Signing in with an identity provider in Chromium, which holds forms to our policy on the way."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from django.conf import LazySettings
from playwright.sync_api import Browser, expect

from mdm.accounts.models import User
from mdm.providers import RoleRule
from tests.mdm.dashboard.conftest import PASSWORD
from tests.mdm.dashboard.test_in_browser import _faults
from tests.oidc import Idp

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_button_leads_to_the_provider_and_back(
    chromium: Browser, live_server: Any, admin: User, settings: LazySettings
) -> None:
    with Idp() as idp:
        provider = idp.provider(RoleRule(claim_group="it-viewers", role="viewer"))
        env = dataclasses.replace(settings.ENV, oidc=(provider,), dashboard_url=live_server.url)
        settings.ENV = env
        context = chromium.new_context(base_url=live_server.url)
        page = context.new_page()
        trouble: list[str] = []
        page.on("console", lambda message: trouble.append(message.text))

        page.goto("/accounts/login/?next=/devices/")
        assert _faults(page, page.url) == []
        page.get_by_role("button", name="Sign in with Entra").click()
        page.wait_for_url(f"{live_server.url}/devices/")
        assert trouble == []

        # And an account that is connected.
        context.clear_cookies()
        idp.person |= {"sub": "0002", "email": "ada@example.com"}
        page.goto("/accounts/login/")
        page.get_by_role("button", name="Sign in with Entra").click()
        expect(page.get_by_text("connect Entra under your name")).to_be_visible()
        page.get_by_role("link", name="Back to the sign-in").click()
        page.get_by_label("Login").fill("ada")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.goto("/accounts/3rdparty/")
        assert _faults(page, page.url) == []
        page.get_by_role("button", name="Connect Entra").click()
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Confirm").click()
        expect(page.get_by_role("button", name="Disconnect")).to_be_visible()
        assert _faults(page, page.url) == []
        context.close()
