"""Chromium for the tests that look at pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connections
from playwright.sync_api import Browser, sync_playwright

# The same engine; the first is without the windows that nobody sees, and costs half.
_PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")
_OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser for the length of a `with`; skips the test where it is not installed.

    Meanwhile Playwright's event loop stands in this thread. Django would refuse the database beside
    it, and has other connections inside than outside: they end here, as nobody sees them later.
    """
    path = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if path is None:
        pytest.skip("Chromium is not installed")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=path, args=list(_OPTIONS))
        try:
            yield browser
        finally:
            browser.close()
            connections.close_all()
