"""An admin at a real Chromium, signed in to the world's dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

from tests.e2e.world import World
