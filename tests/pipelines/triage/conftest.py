from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from bench.triage_tables import make_tables
from tests.support.browser import CHROMIUM, chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser."""
    found = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(CHROMIUM))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def made_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up tables of 300 clusters; not to be written to."""
    path = tmp_path_factory.mktemp("triage") / "made.duckdb"
    make_tables(path, 300)
    return path


@pytest.fixture
def tables(made_tables: Path, tmp_path: Path) -> Path:
    """A copy of one's own."""
    path = tmp_path / "out.duckdb"
    shutil.copy(made_tables, path)
    return path
