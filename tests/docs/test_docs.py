"""The documentation: its examples run, its pages are as the code is, and it builds as a site."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import sync_playwright

from pipelines import reference
from pipelines.commands.group import cli
from tests.docs import imports
from tests.support.browser import CHROMIUM, PHONE, chromium, page_of

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_tutorial_works_as_it_is_written(tmp_path: Path) -> None:
    names = tmp_path / "bin"
    names.mkdir()
    command = names / "distilwatch"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -W ignore -m pipelines.cli "$@"\n')
    command.chmod(0o755)
    surroundings = os.environ | {
        "PATH": f"{names}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "DISTILWATCH_HOME": str(tmp_path / "home"),
    }
    for block in blocks(DOCS / "tutorial.md", "sh"):
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", block], cwd=tmp_path, env=surroundings, text=True,
            capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    assert "c-" in done.stdout or (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("page", reference.pages(), ids=lambda p: p.name)
def test_reference_pages_are_as_the_code_is(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == reference.pages()[page], "make generate"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_and_options_in_examples_exist(page: Path) -> None:
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.split("#")[0].split()
            if words[:1] != ["distilwatch"] or len(words) < 2 or re.search(r"\w\|\w", line):
                continue  # "list|show" stands for two commands
            command, rest = cli, words[1:]
            while rest and hasattr(command, "commands") and rest[0] in command.commands:
                command, rest = command.commands[rest[0]], rest[1:]
            if command is cli:
                assert rest[0].startswith("-"), line
                continue
            known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
            if "--" in rest:
                rest = rest[: rest.index("--")]
            for word in rest:
                if re.match(r"--[a-z]", word):
                    assert word.split("=")[0] in known, f"{word} in: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_settings_in_examples_are_settings(page: Path, tmp_path: Path) -> None:
    from pipelines.config import load_config
    from pipelines.settings import Config

    for block in blocks(page, "yaml"):
        block = block.replace("sha256:…", f"sha256:{'0' * 64}")
        raw = yaml.safe_load(block)
        if not isinstance(raw, dict) or not set(raw) <= set(Config.model_fields):
            continue
        (tmp_path / "settings.yaml").write_text(block, encoding="utf-8")
        load_config(tmp_path / "settings.yaml")


def test_every_page_has_its_place_in_the_site() -> None:
    class Loader(yaml.SafeLoader):
        pass

    site = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)
    named = set(re.findall(r"[\w/]+\.md", str(site["nav"])))
    assert named == {str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md")}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages, built where there is no network; a broken link fails."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, text=True, capture_output=True, check=False,
        env=os.environ | {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_pages_of_the_site_fetch_nothing(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES) - 1
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loads = re.findall(r"<(?:script|img|iframe|link)\b[^>]*>", text)
        assert [tag for tag in loads if "://" in tag and "canonical" not in tag] == [], page.name
    assert (site / "images" / "campaign.png").is_file()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("page", ["index.html", "reference/settings.html"])
def test_the_site_is_searched_from_its_folder_without_a_network(site: Path, page: str) -> None:
    found = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(CHROMIUM))
        tab, wrong = page_of(browser)
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto((site / page).as_uri())
        tab.click(".md-search__input")
        tab.keyboard.type("watermark", delay=20)
        results = tab.locator(".md-search-result__item a")
        results.first.wait_for(state="attached")
        assert "streaming.html" in " ".join(results.evaluate_all("all => all.map(a => a.href)"))
        assert [url for url in asked if not url.startswith("file:")] == []
        assert wrong == []
        browser.close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("page", ["performance.html", "reference/settings.html"])
def test_on_a_phone_no_cell_of_a_table_is_out_of_sight_or_without_its_head(
    site: Path, page: str
) -> None:
    found = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(CHROMIUM))
        tab, wrong = page_of(browser, viewport=PHONE)
        tab.goto((site / page).as_uri())
        cells = tab.locator(".md-typeset tr:has(td:nth-child(4)) > td:nth-child(2):not(:empty)")
        shown = cells.evaluate_all(
            "all => all.map(cell => [cell.getBoundingClientRect().right, "
            "getComputedStyle(cell, '::before').content])"
        )
        assert len(shown) > 10
        assert max(right for right, _ in shown) <= PHONE["width"]
        assert {content for _, content in shown} & {'""', "none", "normal"} == set()
        assert wrong == []
        browser.close()


def test_the_drawing_of_the_architecture_is_what_is_imported() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert imports.table() in page, "python -m tests.docs.imports"
