"""A real browser, the distribution's Chromium, without a window."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

# What Chromium needs to start as root and without a network.
CHROMIUM = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE_MS = 120_000  # on a busy machine
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

expect.set_options(timeout=PATIENCE_MS)


def chromium() -> str:
    """Where the browser is; skips without one."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no Chromium: run `make services` (infra/local/install.sh)")
    return found


def page_of(browser: Browser, **options: Any) -> tuple[Page, list[str]]:
    """A page, and everything that went wrong in it: refused loads and errors of scripts."""
    page = browser.new_context(**({"viewport": WIDE} | options)).new_page()
    page.set_default_timeout(PATIENCE_MS)
    wrong: list[str] = []
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: wrong.append(str(e)))
    return page, wrong
