"""The whole story, with nothing made up but the traffic: detect pages, a person finds the worst
cluster in a browser, understands it, dismisses it; detect runs over the same data again beside
people who read without a pause, and it stays quiet; the person undoes it, and is paged again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from playwright.sync_api import Browser, expect

from tests.pipelines.conftest import SmallRun
from tests.support.browser import page_of
from tests.support.commands import query, result
from tests.support.receivers import HOOK_SECRET, Receiver, heard, hook_file, receiver, signed
from tests.support.triage import served
from transforms.alerts.paging import PACKAGED
from transforms.alerts.wording import dollars

pytestmark = [pytest.mark.browser, pytest.mark.slow]
READERS = 4


@dataclass(frozen=True)
class House:
    """A small run's traffic and bundle, tables of its own, and a receiver of pages."""

    small: SmallRun
    folder: Path
    server: Receiver

    @property
    def database(self) -> Path:
        return self.folder / "out.duckdb"

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    def detect(self) -> dict[str, Any]:
        return result(
            "detect", "--input", self.small.inputs / "live.jsonl",
            "--bundle", self.small.made / "bundle", "--output", f"duckdb:///{self.database}",
            "--config", self.config, home=self.small.home,
        )  # fmt: skip

    def heard(self, after: int = 0) -> list[tuple[str, str]]:
        """Step and cluster of what the receiver took, after so many."""
        return heard(self.server)[after:]

    def message(self, step: str, cluster: str) -> dict[str, Any]:
        """The message of a step, as the receiver took it."""
        sent = [request.json["data"] for request in self.server.taken()]
        found: dict[str, Any]
        (found,) = (m for m in sent if (m["step"], m["cluster_id"]) == (step, cluster))
        return found


def _without_storms(folder: Path) -> Path:
    """The policies that come with distilwatch, with room for every alert of this hour."""
    folder.mkdir()
    for path in PACKAGED.glob("*.yaml"):
        policy = yaml.safe_load(path.read_text())
        policy["budget"] = {"alerts_per_day": 1_000, "storm_alerts": 1_000}
        (folder / path.name).write_text(yaml.safe_dump(policy))
    return folder


@pytest.fixture
def house(small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("HOOK_SECRET", HOOK_SECRET)
    with receiver(signed) as server:
        made = House(small_run, tmp_path, server)
        settings = {
            "alerts": {
                "policies": str(_without_storms(tmp_path / "policies")),
                "channels": str(hook_file(tmp_path, server)),
                "case_url": "http://127.0.0.1/case/{cluster_id}",
            },
            "triage": {"pages_per_minute": 100_000, "refresh": "1 s"},
        }  # fmt: skip
        made.config.write_text(yaml.safe_dump(settings))
        yield made


@contextmanager
def crowd(url: str, cases: list[str]) -> Iterator[list[int]]:
    """People who ask for page after page, without a pause; how many cases each has seen."""
    stop, seen, wrong = threading.Event(), [0] * READERS, list[BaseException]()

    def person(number: int) -> None:
        try:
            with httpx.Client(base_url=url, timeout=120) as client:
                while not stop.is_set():
                    name = cases[(number + seen[number]) % len(cases)]
                    # What was told of a case is kept; this page opens the file each time.
                    for path in ("/policies", f"/case/{name}", "/"):
                        client.get(path).raise_for_status()
                    seen[number] += 1
        except BaseException as problem:  # told below
            wrong.append(problem)

    threads = [threading.Thread(target=person, args=(i,)) for i in range(READERS)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_person_is_paged_decides_and_is_left_in_peace_until_they_change_their_mind(
    browser: Browser, house: House
) -> None:
    house.detect()
    told = house.heard()
    clusters = [
        name for (name,) in query(house.database, "SELECT cluster_id FROM current_clusters")
    ]
    with served(house.database, house.config) as url:
        page, wrong = page_of(browser)
        page.goto(url)
        names = page.locator("a.case").all_inner_texts()
        worst = names[0]
        assert set(names) == set(clusters)
        assert ("opened", worst) in told

        page.locator("a.case").first.click()
        sentence = page.locator(".sentence").inner_text()
        [(accounts, requests, exposure)] = query(
            house.database,
            "SELECT account_count, request_count, exposure_usd FROM current_clusters "
            f"WHERE cluster_id = '{worst}'",
        )
        for said in (f"{accounts} accounts", f"{requests:,} requests"):
            assert said in sentence
        # The page says how sure it is and what it costs in the words of the message.
        message = house.message("opened", worst)
        assert message["title"].partition(": ")[2] in sentence
        sure, cost = page.locator(".sure").all_inner_texts()
        assert sure.startswith(f"How sure: {message['sure']}")
        assert cost == f"Cost: {message['cost']}"
        assert dollars(exposure) in cost
        expect(page.locator("svg.map")).to_be_visible()
        expect(page.locator("table.members tbody tr")).to_have_count(accounts)

        page.get_by_label("Why", exact=True).fill("a load test of team Nile")
        page.get_by_role("button", name="Dismiss").click()
        expect(page.get_by_role("status")).to_contain_text("Dismissed")

        rows = query(house.database, "SELECT * FROM current_clusters ORDER BY ALL")
        with crowd(url, clusters) as seen:
            done = house.detect()
        assert min(seen) > 0
        assert done["rows"]["flagged_clusters"] == len(rows)
        assert query(house.database, "SELECT * FROM current_clusters ORDER BY ALL") == rows
        assert house.heard(len(told)) == [("resolved", worst)]
        page.goto(url)
        expect(page.locator("a.case", has_text=worst)).to_have_count(0)
        expect(page.locator("a.case")).to_have_count(len(names) - 1)

        page.goto(f"{url}/?state=dismissed")
        page.locator("a.case", has_text=worst).click()
        expect(page.locator(".stands")).to_contain_text("a load test of team Nile")
        page.locator(".history").get_by_role("button", name="Undo").click()
        expect(page.get_by_role("status")).to_contain_text("Taken back")
        house.detect()
        assert house.heard(len(told)) == [("resolved", worst), ("opened", worst)]
        page.goto(url)
        expect(page.locator("a.case").first).to_have_text(worst)
        expect(page.locator("a.case")).to_have_count(len(names))
        assert wrong == []
    steps = query(
        house.database,
        "SELECT step, disposition_id IS NOT NULL FROM alerts "
        f"WHERE cluster_id = '{worst}' ORDER BY changed_at",
    )
    assert steps == [("opened", False), ("resolved", True), ("opened", False)]
