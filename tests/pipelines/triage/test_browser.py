"""The pages in a real browser: the story of a case, by mouse, keyboard and on a phone; axe."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from pipelines.triage.duckdb_store import DuckDBStore
from pipelines.triage.queue import Queue
from pipelines.triage.queue_page import QueueFilter
from tests.pipelines.triage.test_alert_steps import add, step
from tests.support.browser import PHONE, WIDE, page_of
from tests.support.triage import served
from transforms.alerts.book import Book
from transforms.alerts.decision_store import DispositionStore
from transforms.alerts.dispositions import decide
from transforms.alerts.outbox import Backoff

pytestmark = pytest.mark.browser
T0, LATE = 1_780_272_000_000, 4_102_444_800_000  # 2026-06-01, 2100-01-01


@pytest.fixture(scope="module")
def tables_(made_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an alert that could not be told, and a cluster that stays quiet."""
    path = tmp_path_factory.mktemp("browser") / "out.duckdb"
    shutil.copy(made_tables, path)
    queue = Queue(DuckDBStore(path), 0)
    queue.refresh()
    rows = queue.page(QueueFilter(), 500).rows
    worst, last = rows[0].cluster_id, rows[-1].cluster_id
    add(path, step(worst, 1, "opened", policy="coordinated-campaign", changed_at=T0))
    said = {"by": "somebody.with.a.long.name@department.example.org", "why": "w" * 200, "at_ms": T0}
    store = DispositionStore(path)
    store.append(decide({"cluster_id": last}, ["a"], "permitted", until_ms=LATE, **said))
    fifth, sixth = {"cluster_id": rows[5].cluster_id}, rows[6].cluster_id
    store.append(decide(fifth, ["a"], "merge", merge_with=[sixth], **said))
    with Book(path.with_name(f"{path.name}.alerts")) as book:
        with book.writing():
            for channel in ("pager", "room", "mail"):
                title = "High: 30 accounts may be copying the model; they share a payment method"
                notice = {"alert_id": f"a-{worst}", "cluster_id": worst, "title": title}
                book.outbox.post(f"k/{channel}", channel, notice, T0, T0)
        pager, room, _ = book.outbox.messages()[::-1]
        book.outbox.failed(
            pager, "the-name-of-a-host-that-is-far-too-long " * 5, T0, Backoff(1, 1, 1)
        )
        book.outbox.sent(room, None, T0)
    return path


@pytest.fixture(scope="module")
def url(tables_: Path) -> Iterator[str]:
    with served(tables_) as url:
        yield url


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_find_the_worst_understand_it_dismiss_it_and_undo_it(
    browser: Browser, url: str, tables_: Path, scripts: bool
) -> None:
    page, wrong = page_of(browser, java_script_enabled=scripts)
    page.goto(url)
    worst = page.locator("a.case").first
    name = worst.inner_text()
    before = page.locator("#list").inner_text()
    worst.click()

    expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    expect(page.locator(".sentence")).to_contain_text("requests within")
    for title in ("Why it was flagged", "What it covered", "What to check next", "Decisions"):
        expect(page.get_by_role("heading", name=title)).to_be_visible()
    expect(page.locator("svg.map")).to_be_visible()

    page.get_by_label("Why", exact=True).fill("our own red team, asked them")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("status")).to_contain_text("Dismissed")
    expect(page.locator(".history li.holds")).to_contain_text("our own red team")

    page.get_by_role("link", name="Queue", exact=True).click()
    expect(page.locator("a.case", has_text=name)).to_have_count(0)
    _detect_again(tables_, name)
    page.reload()
    expect(page.locator("a.case", has_text=name)).to_have_count(0)

    page.goto(f"{url}/?state=dismissed")
    page.locator("a.case", has_text=name).click()
    page.locator(".history").get_by_role("button", name="Undo").click()
    expect(page.get_by_role("status")).to_contain_text("Taken back")
    page.goto(url)
    expect(page.locator("a.case").first).to_have_text(name)
    expect(page.locator("#list")).to_have_text(before)
    decided = [d.decision for d in DispositionStore(tables_).history(name)]
    assert decided[-2:] == ["dismiss", "withdraw"]
    assert wrong == []


def _detect_again(tables: Path, cluster: str) -> None:
    """What a run over more of the same traffic writes: the cluster has grown, and is flagged."""
    grown = threading.Thread(target=_grow, args=(tables, cluster))
    grown.start()
    grown.join()


def _grow(tables: Path, cluster: str) -> None:
    for _ in range(200):
        try:
            with duckdb.connect(str(tables)) as connection:
                connection.execute(
                    "INSERT OR REPLACE INTO flagged_clusters BY NAME SELECT * REPLACE "
                    "(revision + 1 AS revision, 'growing' AS status) FROM flagged_clusters "
                    "WHERE cluster_id = ? QUALIFY revision = max(revision) OVER ()", [cluster]
                )  # fmt: skip
                connection.execute(
                    "INSERT OR REPLACE INTO cluster_members BY NAME SELECT * REPLACE "
                    "(revision + 1 AS revision) FROM cluster_members WHERE cluster_id = ? "
                    "QUALIFY revision = max(revision) OVER ()", [cluster]
                )  # fmt: skip
            return
        except duckdb.Error:
            threading.Event().wait(0.05)
    raise AssertionError("the pages never let go of the file")


def test_from_the_page_to_a_decision_a_phone_needs_one_tab(browser: Browser, url: str) -> None:
    page, wrong = page_of(browser, viewport=PHONE, has_touch=True, is_mobile=True)
    page.goto(url)
    page.locator("a.case").nth(1).tap()
    expect(page.locator(".sentence")).to_be_visible()
    assert not page.locator("a[target]").all()
    away = "as => as.map(a => a.href).filter(h => !h.startsWith(location.origin))"
    assert page.locator("a").evaluate_all(away) == []
    page.locator("details.runbook summary").tap()
    expect(page.locator("details.runbook .prose")).to_contain_text("confirm")
    page.get_by_role("link", name="Decide", exact=True).tap()
    expect(page.get_by_label("Why", exact=True)).to_be_in_viewport()
    page.get_by_label("Why", exact=True).fill("looking, from bed")
    page.get_by_role("button", name="Watch").tap()
    expect(page.get_by_role("status")).to_contain_text("Watched")
    page.get_by_role("status").get_by_role("button", name="Undo").tap()
    expect(page.get_by_role("status")).to_contain_text("Taken back")
    assert len(page.context.pages) == 1
    assert wrong == []


def test_keys_alone_are_enough(browser: Browser, url: str) -> None:
    page, wrong = page_of(browser)
    page.goto(url)
    page.keyboard.press("j")
    page.keyboard.press("j")
    second = page.locator("a.case").nth(1)
    expect(second).to_be_focused()
    assert second.evaluate("e => getComputedStyle(e).outlineStyle") != "none"
    name = second.inner_text()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(name)
    page.keyboard.press("w")
    expect(page.get_by_label("Why", exact=True)).to_be_focused()
    page.keyboard.type("jk q? are letters here")
    expect(page.get_by_label("Why", exact=True)).to_have_value("jk q? are letters here")
    page.keyboard.press("Tab")
    for _ in range(12):  # parts of the date, which are the browser's own
        if page.evaluate("document.activeElement.value") == "watch":
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Watched")
    page.keyboard.press("q")
    page.wait_for_url(f"{url}/")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type(name[4:12])
    page.keyboard.press("Enter")
    expect(page.locator("a.case")).to_have_text([name])
    assert wrong == []


def test_single_keys_can_be_switched_off(browser: Browser, url: str) -> None:
    page, _ = page_of(browser)
    page.goto(f"{url}/keys")
    page.get_by_label("Single keys are on").uncheck()
    page.goto(url)
    page.keyboard.press("j")
    expect(page.locator("a.case").first).not_to_be_focused()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing_serious_and_nothing_scrolls_sideways(
    browser: Browser, url: str, theme: str, viewport: dict[str, int], tmp_path: Path
) -> None:
    page, wrong = page_of(browser, color_scheme=theme, viewport=viewport)
    page.goto(url)  # the first is the one of the alert
    case = page.locator("a.case").first.get_attribute("href")
    download = tmp_path / "case.html"
    download.write_text(page.request.get(f"{url}{case}/file").text(), encoding="utf-8")
    for path in (
        "/",
        "/?text=nothing-fits",
        str(case),
        "/quiet",
        "/messages",
        "/policies",
        "/runbook",
        "/audit",
        "/keys",
        "/case/none",
    ):
        page.goto(url + path)
        _check(page, path)
    wrong.clear()  # the last one is a page that is not there, and the browser says so
    page.goto(download.as_uri())
    _check(page, "case file")
    assert wrong == []


def _check(page: Page, path: str) -> None:
    found = Axe().run(page).response["violations"]
    grave = [
        (v["id"], v["impact"], [n["html"][:160] for n in v["nodes"][:3]])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert not grave, f"{path}: {grave}"
    across = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert across <= 0, f"{path} is {across} pixels too wide"


# Links in the midst of a sentence are as high as its lines.
_SMALL = """() => [...document.querySelectorAll('a,button,input,select,textarea,summary')]
  .map(e => e.closest('label.pick, label.check') || e)
  .map(e => [e, e.getBoundingClientRect()])
  .filter(([e, box]) => box.width > 1 && (box.height < 43.5 || box.width < 43.5))
  .filter(([e]) => !(e.tagName == 'A' && getComputedStyle(e).display == 'inline' &&
    e.parentElement.innerText.trim().length > e.innerText.trim().length + 20))
  .map(([e, box]) => `${e.outerHTML.slice(0, 90)} ${box.width} x ${box.height}`)"""


def test_a_thumb_finds_whatever_can_be_touched(browser: Browser, url: str) -> None:
    page, _ = page_of(browser, viewport=PHONE, has_touch=True, is_mobile=True)
    page.goto(url)
    case = page.locator("a.case").first.get_attribute("href")
    other = page.locator("a.case").nth(3).get_attribute("href")
    token = page.locator("input[name=csrf]").first.get_attribute("value")
    form = {"csrf": str(token), "decision": "watch", "why": "looking", "seen": ""}
    page.request.post(f"{url}{other}/decide", form=form)
    for path in (
        "/", "/?text=nothing-fits", str(case), f"{other}", "/quiet", "/messages", "/policies",
        "/runbook", "/audit", "/keys", "/case/none",
    ):  # fmt: skip
        page.goto(url + path)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.evaluate(_SMALL) == [], path
        across = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert across <= 0, f"{path} is {across} pixels too wide"


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_enter_in_a_field_decides_nothing(
    browser: Browser, url: str, tables_: Path, scripts: bool
) -> None:
    """Whoever types a cluster's id and presses Enter has not said what to do with it."""
    page, _ = page_of(browser, java_script_enabled=scripts)
    page.goto(url)
    link = page.locator("a.case").nth(2)
    name = link.inner_text()
    link.click()
    for field in ("The same campaign as cluster", "Until which day"):
        page.get_by_label("Why", exact=True).fill("one crew")
        if not page.get_by_label("The same campaign as cluster").is_visible():
            page.get_by_text("Split or merge").click()
        page.get_by_label("The same campaign as cluster").fill("c-1")
        page.get_by_label(field).press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("Nothing was decided.")
        expect(page.get_by_label("The same campaign as cluster")).to_have_value("c-1")
        expect(page.get_by_label("Why", exact=True)).to_have_value("one crew")
        page.goto(page.url.replace("/decide", ""))
    assert DispositionStore(tables_).history(name) == []


def test_the_theme_can_be_chosen(browser: Browser, url: str) -> None:
    page, wrong = page_of(browser, color_scheme="light")
    page.goto(url)

    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = ground()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert ground() != light
    page.get_by_role("button", name="As the system").click()
    expect(page.locator("html")).not_to_have_attribute("data-theme", "dark")
    assert ground() == light
    assert wrong == []
